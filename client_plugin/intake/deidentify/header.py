"""What an instance says about itself: file meta information, and that and how it was de-identified."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import version

from pydicom import Dataset
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from client_plugin.intake.deidentify.codes import Action, Done, Option, Quarantine, Reason, Rule
from client_plugin.intake.deidentify.profile import VERSION, Profile

#: A UUID-derived UID that was drawn once for this implementation (PS3.7 D.3.3.2).
IMPLEMENTATION_CLASS_UID = "2.25.242474007082992931692118598094482900616"
IMPLEMENTATION_VERSION_NAME = "FEDPACS"

_ADDED = (0x00120062, 0x00120063, 0x00120064, 0x00280303)
ADDED = [Action((), tag, Done.ADDED, Rule.METHOD) for tag in _ADDED]


#: (implicit VR, little endian), as the data set was read, for one that came without file meta information.
_TRANSFER_SYNTAXES = {(True, True): ImplicitVRLittleEndian, (False, False): ExplicitVRBigEndian}


def file_meta(ds: Dataset, sop_class: str, uid: Callable[[str], str]) -> FileMetaDataset:
    """A new File Meta Information group: no AE titles, no private information, this implementation's name.

    Raises
    ------
    Quarantine
        No SOP Instance UID, in the data set or in its file meta information.
    """
    old = getattr(ds, "file_meta", Dataset())
    instance = str(ds.get("SOPInstanceUID") or old.get("MediaStorageSOPInstanceUID") or "")
    if not instance:
        raise Quarantine(Reason.MISSING_UID)
    meta = FileMetaDataset()
    meta.FileMetaInformationVersion = b"\0\1"
    meta.MediaStorageSOPClassUID = sop_class
    meta.MediaStorageSOPInstanceUID = uid(instance)
    meta.TransferSyntaxUID = old.get("TransferSyntaxUID") or _TRANSFER_SYNTAXES.get(
        ds.original_encoding, ExplicitVRLittleEndian
    )
    meta.ImplementationClassUID = IMPLEMENTATION_CLASS_UID
    meta.ImplementationVersionName = IMPLEMENTATION_VERSION_NAME
    return meta


def identify(dataset: FileDataset, meta: FileMetaDataset, profile: Profile) -> None:
    """Write what PS3.15 E.2 and PS3.3 C.12.1.1.11 ask for."""
    dataset.SOPClassUID = meta.MediaStorageSOPClassUID
    dataset.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    dataset.PatientIdentityRemoved = "YES"
    dataset.DeidentificationMethod = [f"fedpacs {version('fedpacs')} profile {VERSION}", f"rules {profile.digest}"]
    dataset.DeidentificationMethodCodeSequence = [
        code_item(option.code, "DCM", option.meaning) for option in Option if option in profile.options
    ]
    dataset.LongitudinalTemporalInformationModified = (
        "MODIFIED" if Option.RETAIN_MODIFIED_DATES in profile.options else "REMOVED"
    )


def code_item(value: str, scheme: str, meaning: str) -> Dataset:
    """An item of a code sequence (PS3.3 8.8)."""
    item = Dataset()
    item.CodeValue = value
    item.CodingSchemeDesignator = scheme
    item.CodeMeaning = meaning
    return item
