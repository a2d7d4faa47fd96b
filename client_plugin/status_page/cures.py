"""What to do about each reason of quarantine."""

from __future__ import annotations

from enum import StrEnum

from client_plugin.archive.received import CatalogueReason
from client_plugin.intake.deidentify import Reason
from client_plugin.intake.reasons import IntakeReason

_BY_REASON: dict[StrEnum, str] = {
    Reason.UNKNOWN_SOP_CLASS: "Its kind of object is not supported: stop the PACS from routing it here, or ask for it.",
    Reason.UNSUPPORTED_CONTENT: "It holds content that cannot be de-identified: stop the PACS from routing it here.",
    Reason.MISSING_UID: "The modality writes incomplete objects: report it to its vendor.",
    Reason.PIXELS_NOT_DECODABLE: "Its pixels may show text and cannot be decoded: send another transfer syntax.",
    Reason.BURNED_IN_TEXT: "Text in the pixels may name the patient: have the modality export without it.",
    Reason.RECOGNIZABLE_FACE: "A face could be reconstructed: have it defaced at the source, or leave it out.",
    Reason.POSSIBLE_FACE: "It may show a head: have the source name the body part, or see faceless_modalities.",
    Reason.UNREADABLE: "Its bytes are no DICOM that can be read: check the PACS' export, send it again.",
    IntakeReason.UNREADABLE: "Its bytes are no DICOM that can be read: check the PACS' export, send it again.",
    IntakeReason.UIDS_MISSING: "It does not name its own UIDs: the sending system is broken or converts badly.",
    IntakeReason.UIDS_DIFFER: "Its UIDs are not those it was announced with: check coercion rules of the PACS' router.",
    IntakeReason.UID_INVALID: "Its SOP Instance UID has forbidden characters: the modality or a converter is broken.",
    IntakeReason.SOP_CLASS_DIFFERS: "It was sent in the presentation context of another kind: check the PACS' router.",
    IntakeReason.SPOOL_BROKEN: "Its file in the spool was changed: check the disk, send the study again.",
    IntakeReason.SPOOL_GONE: "Its file has gone from the spool: check the disk, send the study again.",
    IntakeReason.NOT_ARCHIVABLE: "It lacks what the archive files by: complete it at the source, send it again.",
    IntakeReason.TOO_LARGE: "It needs more memory than a worker may have: raise the limit, or leave it out.",
    IntakeReason.PROCESSING_FAILED: "It failed each time for another cause: see worker.jsonl, then release it.",
    CatalogueReason.UID_CONFLICT: "Other content came under a known UID: find out which of the two is right.",
    CatalogueReason.TOO_MANY_TRIES: "A worker died on it each time: see worker.jsonl and report it.",
}
_CURES = {str(reason): text for reason, text in _BY_REASON.items()}


def cure(reason: str) -> str:
    """What to do about instances set aside for ``reason``, as the catalogue spells it."""
    return _CURES.get(reason, "This version of the page does not know the reason: see the release notes.")
