"""What an instance says about itself: file meta information, and that and how it was de-identified."""

from __future__ import annotations

from functools import lru_cache
from importlib.metadata import version
from typing import Any

from pydicom import Dataset
from pydicom.charset import default_encoding
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.tag import BaseTag
from pydicom.uid import UID, AllTransferSyntaxes, ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from client_plugin.archive import reading
from client_plugin.archive.reading import TAGS
from client_plugin.intake.deidentify.codes import Action, Done, Option, Quarantine, Reason, Rule
from client_plugin.intake.deidentify.encoding import raw
from client_plugin.intake.deidentify.profile import VERSION, Profile
from client_plugin.intake.deidentify.values import pad

#: A UUID-derived UID that was drawn once for this implementation (PS3.7 D.3.3.2).
IMPLEMENTATION_CLASS_UID = "2.25.242474007082992931692118598094482900616"
IMPLEMENTATION_VERSION_NAME = "FEDPACS"

_METHOD_CODES = 0x00120064
_ADDED = (0x00120062, 0x00120063, 0x00120064, 0x00280303)
ADDED = [Action((), tag, Done.ADDED, Rule.METHOD) for tag in _ADDED]


#: (implicit VR, little endian), as the data set was read, for one that came without file meta information.
_TRANSFER_SYNTAXES = {(True, True): ImplicitVRLittleEndian, (False, False): ExplicitVRBigEndian}


def file_meta(sop_class: str, instance: str, transfer_syntax: UID) -> FileMetaDataset:
    """A File Meta Information group: no AE titles, no private information, this implementation's name."""
    values = (
        (0x00020001, "OB", "\0\1"),  # File Meta Information Version
        (0x00020002, "UI", sop_class),
        (0x00020003, "UI", instance),
        (0x00020010, "UI", transfer_syntax),
        (0x00020012, "UI", IMPLEMENTATION_CLASS_UID),
        (0x00020013, "SH", IMPLEMENTATION_VERSION_NAME),
    )
    elements = {}
    for number, vr, value in values:
        tag, encoded = TAGS[number], pad(value.encode("ascii", "replace"), vr)
        elements[tag] = RawDataElement(tag, vr, len(encoded), encoded, 0, is_implicit_VR=False, is_little_endian=True)
    return FileMetaDataset(elements)


def sop_instance(ds: Dataset) -> str:
    """The original SOP Instance UID.

    Raises
    ------
    Quarantine
        None, in the data set or in its file meta information.
    """
    instance = reading.named(ds, "SOPInstanceUID")
    if not instance:
        raise Quarantine(Reason.MISSING_UID)
    return instance


def transfer_syntax(ds: Dataset) -> UID:
    """The transfer syntax that the data set is really in: some files state another one than they were written in.

    Raises
    ------
    Quarantine
        None that the standard knows, or one that it cannot be in.
    """
    stated = getattr(ds, "file_meta", Dataset()).get("TransferSyntaxUID")
    encoding = ds.original_encoding
    if stated is None:
        return _TRANSFER_SYNTAXES.get(encoding, ExplicitVRLittleEndian)
    if stated not in AllTransferSyntaxes:  # a maker's own, or none at all: nobody could read the pixels
        raise Quarantine(Reason.UNREADABLE)
    if None in encoding or encoding == (stated.is_implicit_VR, stated.is_little_endian):
        return stated
    if stated.is_compressed and not stated.is_deflated:
        raise Quarantine(Reason.UNREADABLE)
    return _TRANSFER_SYNTAXES.get(encoding, ExplicitVRLittleEndian)


@lru_cache(maxsize=64)
def statements(profile: Profile, implicit: bool, little: bool) -> dict[BaseTag, Any]:
    """What PS3.15 E.2 and PS3.3 C.12.1.1.11 ask an instance to say of itself, as encoded elements.

    Made once and shared by all instances: not to be changed.
    """
    ds = Dataset()
    ds.PatientIdentityRemoved = "YES"
    ds.DeidentificationMethod = [f"fedpacs {version('fedpacs')} profile {VERSION}", f"rules {profile.digest}"]
    dates = "MODIFIED" if Option.RETAIN_MODIFIED_DATES in profile.options else "REMOVED"
    ds.LongitudinalTemporalInformationModified = dates

    def encoded(source: Dataset) -> dict[BaseTag, Any]:
        return {e.tag: raw(e, implicit=implicit, little=little, charset=default_encoding) for e in source}

    codes = Sequence()
    for option in (o for o in Option if o in profile.options):
        item = Dataset(encoded(code_item(option.code, "DCM", option.meaning)))
        item.set_original_encoding(implicit, little, default_encoding)
        codes.append(item)
    return encoded(ds) | {BaseTag(_METHOD_CODES): DataElement(_METHOD_CODES, "SQ", codes)}


def code_item(value: str, scheme: str, meaning: str) -> Dataset:
    """An item of a code sequence (PS3.3 8.8)."""
    item = Dataset()
    item.CodeValue = value
    item.CodingSchemeDesignator = scheme
    item.CodeMeaning = meaning
    return item
