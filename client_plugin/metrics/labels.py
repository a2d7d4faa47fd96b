"""The closed sets that label values come from: every reason, outcome and state the node counts by.

An enumeration that belongs to another concept (quarantine reasons, de-identification actions) lives there.
"""

from __future__ import annotations

from enum import StrEnum


class Reject(StrEnum):
    """Why an association was rejected (A-ASSOCIATE-RJ) or cut before it was one."""

    UNKNOWN_ADDRESS = "unknown_address"
    UNKNOWN_CALLING_AE = "unknown_calling_ae"
    UNKNOWN_CALLED_AE = "unknown_called_ae"
    TLS = "tls"
    TOO_MANY = "too_many"
    DISK_LOW = "disk_low"
    STOPPING = "stopping"
    NO_CONTEXT = "no_context"
    PROTOCOL = "protocol"


class AssociationEnd(StrEnum):
    """How an accepted association ended."""

    RELEASED = "released"
    ABORTED = "aborted"
    TIMED_OUT = "timed_out"
    DRAINED = "drained"


class Received(StrEnum):
    """What a C-STORE request was answered with."""

    STORED = "stored"
    DUPLICATE = "duplicate"
    CONFLICT = "conflict"
    OUT_OF_RESOURCES = "out_of_resources"
    CANNOT_UNDERSTAND = "cannot_understand"
    NOT_AUTHORISED = "not_authorised"
    FAILED = "failed"


class Processed(StrEnum):
    """What became of a received instance in the intake worker."""

    ARCHIVED = "archived"
    QUARANTINED = "quarantined"
    RETRIED = "retried"


class IntakeStep(StrEnum):
    """The steps of the intake worker, for its seconds."""

    UNSEAL = "unseal"
    DEIDENTIFY = "deidentify"
    ARCHIVE = "archive"
    FINISH = "finish"


class PullState(StrEnum):
    """Where a pull (C-FIND, C-MOVE, C-GET, DICOMweb) of a study has got to."""

    STARTED = "started"
    COMPLETED = "completed"
    PARTIAL = "partial"
    FAILED = "failed"
    CANCELLED = "cancelled"


class JobState(StrEnum):
    """Changes of state of an NVFlare job at this site: its process, and what the site's policy said.

    How the job came out is the server's to say.
    """

    STARTED = "started"
    ACCEPTED = "accepted"
    REFUSED = "refused"
    ENDED = "ended"


class RoundEnd(StrEnum):
    """What this site did in a round."""

    CONTRIBUTED = "contributed"
    NOT_SENT = "not_sent"
    FAILED = "failed"


class Quality(StrEnum):
    """Validation metrics, on this hospital's own held-out data."""

    BALANCED_ACCURACY = "balanced_accuracy"
    ACCURACY = "accuracy"
    AUROC = "auroc"
    DICE = "dice"
    HAUSDORFF_95 = "hausdorff_95"


class SealingStep(StrEnum):
    """The steps of an encrypted update at the hospital, for seconds and bytes."""

    CLIP = "clip"
    NOISE = "noise"
    ENCODE = "encode"
    ENCRYPT = "encrypt"
    MASK = "mask"
    SERIALIZE = "serialize"
    UPLOAD = "upload"
    DOWNLOAD = "download"
    OPEN = "open"
