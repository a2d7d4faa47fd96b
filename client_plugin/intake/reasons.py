"""Why an instance was set aside: a closed list, so that a reason can be a metric's label and never quotes data."""

from __future__ import annotations

from enum import StrEnum


class IntakeReason(StrEnum):
    """Reasons of the intake; those of de-identification are `client_plugin.intake.deidentify`'s."""

    UNREADABLE = "unreadable"
    """No DICOM data set in the transfer syntax that was negotiated."""
    UIDS_MISSING = "uids-missing"
    """The data set does not name its SOP class or instance."""
    UIDS_DIFFER = "uids-differ"
    """The data set names another SOP class or instance than the C-STORE command."""
    UID_INVALID = "uid-invalid"
    """The command's SOP Instance UID is none: other characters than digits and dots."""
    SOP_CLASS_DIFFERS = "sop-class-differs"
    """The command's SOP class is not that of its presentation context."""
    SPOOL_BROKEN = "spool-broken"
    """The sealed file was changed."""
    SPOOL_GONE = "spool-gone"
    """The sealed file is not there. It is taken again if its peer sends it again."""
    TOO_LARGE = "too-large"
    """A worker cannot hold it: see ``intake.worker_memory_bytes``."""
    NOT_ARCHIVABLE = "not-archivable"
    """De-identified, but without what the archive files an instance under."""
    PROCESSING_FAILED = "processing-failed"
    """Something else failed, each time it was tried."""
