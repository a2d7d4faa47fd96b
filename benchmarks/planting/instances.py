"""Instances of every kind with an identifier in each attribute, and around them."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from io import BytesIO

from pydicom import Dataset
from pydicom.datadict import DicomDictionary, keyword_for_tag
from pydicom.dataelem import DataElement
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.filewriter import dcmwrite
from pydicom.sequence import Sequence
from pydicom.tag import Tag
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from benchmarks.planting.identifiers import SCRIPTS, Identifiers, Plant
from client_plugin.intake.deidentify import standard

MODALITIES = {
    "computed-radiography-image": "CR",
    "ct-image": "CT",
    "enhanced-ct-image": "CT",
    "mr-image": "MR",
    "enhanced-mr-image": "MR",
    "positron-emission-tomography-image": "PT",
    "nuclear-medicine-image": "NM",
    "digital-x-ray-image": "DX",
    "digital-mammography-x-ray-image": "MG",
    "breast-tomosynthesis-image": "MG",
    "x-ray-angiographic-image": "XA",
    "x-ray-radiofluoroscopic-image": "RF",
    "ultrasound-image": "US",
    "secondary-capture-image": "OT",
    "vl-whole-slide-microscopy-image": "SM",
    "segmentation": "SEG",
    "parametric-map": "MR",
    "rt-structure-set": "RTSTRUCT",
    "rt-dose": "RTDOSE",
    "rt-plan": "RTPLAN",
    "comprehensive-sr": "SR",
    "basic-text-sr": "SR",
    "x-ray-radiation-dose-sr": "SR",
    "key-object-selection-document": "KO",
    "grayscale-softcopy-presentation-state": "PR",
    "12-lead-ecg": "ECG",
    "spatial-registration": "REG",
    "real-world-value-mapping": "RWV",
}
"""The IODs that are planted, with a modality for each."""

_TRANSFER_SYNTAXES = (
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
)
#: Set by hand: identity, what the other attributes are read by, pixels, and what may not stand beside them.
_FIXED = frozenset(
    {0x00080005, 0x00080016, 0x00080018, 0x00080060, 0x00080008, 0x00100010, 0x00100020, 0x00101001, 0x00280301}
    | {0x00180015, 0x0040A730, 0x7FE00010, 0x00280302, 0x00120062, 0x00120063, 0x00120064, 0x00280303, 0x00880200}
)
#: Lookup tables and waveform samples: any bytes can be a value.
_BULK = frozenset(
    {0x00281201, 0x00281202, 0x00281203, 0x00281204, 0x00281221, 0x00281222, 0x00281223, 0x00281224, 0x00281408}
    | {0x54000110, 0x54000112, 0x5400100A, 0x54001010}
)
_CODES = frozenset({0x00080100, 0x00080102, 0x00080119})


@dataclass
class Planted:
    """An instance with its plants."""

    iod: str
    sop_class_uid: str
    script: str
    data: bytes
    plants: list[Plant] = field(default_factory=list)


def corpus(seed: int = 1, iods: tuple[str, ...] = tuple(MODALITIES)) -> Iterator[Planted]:
    """One planted instance for each IOD, with the character sets and transfer syntaxes in turn."""
    classes = {iod: uid for uid, iod in reversed(standard.sop_classes().items())}
    for index, iod in enumerate(iods):
        script = list(SCRIPTS)[index % len(SCRIPTS)]
        yield _Planter(random.Random(seed * 1000 + index), iod, classes[iod], script).plant(index)


class _Planter(Identifiers):
    def __init__(self, rng: random.Random, iod: str, sop_class_uid: str, script: str) -> None:
        super().__init__(rng, script)
        self.iod = iod
        self.attributes = standard.attributes(iod)
        self.out = Planted(iod, sop_class_uid, script, b"", self.plants)

    def fill(self, ds: Dataset, parent: int, path: str, depth: int) -> None:
        """A value for each attribute below ``parent``."""
        for tag, type_ in sorted(self.attributes.get(parent, {}).items()):
            vrs = standard.vrs(tag)
            keyword = keyword_for_tag(tag)
            if not vrs or tag >> 16 in (0, 2, 4) or not tag & 0xFFFF or tag in _FIXED or tag in ds:
                continue
            where = f"{path}{keyword}"
            if vrs == ("SQ",):
                if depth < 3 and (depth == 0 or self.rng.random() < 0.25):
                    item = Dataset()
                    self.fill(item, tag, f"{where}.", depth + 1)
                    ds.add(DataElement(tag, "SQ", Sequence([item])))
                continue
            vr = vrs[0]
            if keyword.endswith("SOPClassUID") or keyword in ("MappingResourceUID",):
                ds.add(DataElement(tag, "UI", "1.2.840.10008.5.1.4.1.1.2"))
            elif tag in _CODES:
                self.note(where, self.ascii_surname)
                ds.add(DataElement(tag, vr, self.ascii_surname.upper()))
            elif keyword.endswith("LUTDescriptor") or keyword.endswith("LookupTableDescriptor"):
                ds.add(DataElement(tag, "US", [5, 0, 16]))
            elif vr in ("OF", "OD", "OL", "OV"):
                ds.add(DataElement(tag, vr, bytes(8)))
            elif tag in _BULK or (vr in ("US", "SS") and "OW" in vrs):
                self.note(where, self.ascii_surname)
                ds.add(DataElement(tag, "OW", self.ascii_surname.encode().ljust(10)))
            else:
                ds.add(DataElement(tag, vr, self.value(vr, where, type_)))

    def plant(self, index: int) -> Planted:
        ds = FileDataset("", {}, file_meta=FileMetaDataset(), preamble=self.ascii_surname.encode().ljust(128))
        self.note("preamble", self.ascii_surname)
        transfer_syntax = _TRANSFER_SYNTAXES[index % len(_TRANSFER_SYNTAXES)]
        ds.SpecificCharacterSet = self.charset
        ds.SOPClassUID = self.out.sop_class_uid
        ds.Modality = MODALITIES[self.iod]
        ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
        ds.BurnedInAnnotation = "NO"
        ds.BodyPartExamined = "CHEST"
        ds.PatientName = f"{self.ascii_surname}^Erika"
        ds.PatientID = self.mrn
        ds.OtherPatientNames = f"{self.surname}^Maria"
        self.note("PatientName", self.ascii_surname)
        self.note("PatientID", self.mrn)
        self.note("OtherPatientNames", self.surname)
        if 0x0040A730 in self.attributes:
            ds.ContentSequence = [self.content(1) for _ in range(3)]
        self.fill(ds, standard.TOP, "", 0)
        self.pixels(ds)
        self.foreign(ds)
        self.private(ds)
        self.meta(ds, transfer_syntax)
        buffer = BytesIO()
        dcmwrite(buffer, ds, enforce_file_format=True)
        self.out.data = buffer.getvalue()
        return self.out

    def content(self, depth: int) -> Dataset:
        """A branch of an SR document with an item of each value type."""
        branch = _item(ValueType="CONTAINER", RelationshipType="CONTAINS", ContinuityOfContent="SEPARATE")
        branch.ConceptNameCodeSequence = [self.code(f"SR {depth} container")]
        where = f"SR depth {depth} "
        kinds = {
            "PNAME": ("PersonName", "PN"),
            "TEXT": ("TextValue", "UT"),
            "DATE": ("Date", "DA"),
            "DATETIME": ("DateTime", "DT"),
            "UIDREF": ("UID", "UI"),
        }
        branch.ContentSequence = []
        for kind, (keyword, vr) in kinds.items():
            leaf = _item(ValueType=kind, RelationshipType="HAS OBS CONTEXT")
            leaf.ConceptNameCodeSequence = [self.code(where + kind)]
            setattr(leaf, keyword, self.value(vr, where + keyword, "1"))
            branch.ContentSequence.append(leaf)
        if depth < 5:
            branch.ContentSequence.append(self.content(depth + 1))
        return branch

    def code(self, where: str) -> Dataset:
        name = self.word()
        self.note(f"{where} CodeMeaning", name)
        return _item(CodeValue="121071", CodingSchemeDesignator="DCM", CodeMeaning=f"Finding {name}")

    def pixels(self, ds: Dataset) -> None:
        pixels = self.attributes[standard.TOP]
        if 0x7FE00010 not in pixels:
            return
        ds.Rows = ds.Columns = 32
        ds.SamplesPerPixel = 1
        ds.PhotometricInterpretation = "MONOCHROME2"
        ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 12, 11, 0
        if "NumberOfFrames" in ds:
            ds.NumberOfFrames = 1
        for keyword in ("FloatPixelData", "DoubleFloatPixelData"):
            if keyword in ds:
                delattr(ds, keyword)
        padding = self.ascii_word()
        self.note("behind the last pixel", padding)
        ds.add(DataElement(0x7FE00010, "OW", bytes(32 * 32 * 2) + padding.encode()))

    def foreign(self, ds: Dataset) -> None:
        """Retired attributes, those of other IODs, overlays, curves, icons, group lengths and padding."""
        texts = [
            (tag, vr)
            for tag, (vr, *_) in DicomDictionary.items()
            if vr in ("LO", "SH", "ST", "LT", "PN", "DA", "DT", "AE", "UT")
            and tag not in self.attributes[standard.TOP]
            and tag >> 16 not in (0, 2, 4)
        ]
        for tag, vr in self.rng.sample(texts, 60):
            ds.add(DataElement(tag, vr, self.value(vr, f"foreign {Tag(tag)}", "3")))
        overlay, comment, curve, icon, padding = (self.ascii_word() for _ in range(5))
        ds.add(DataElement(0x60000010, "US", 8))
        ds.add(DataElement(0x60000011, "US", 8))
        ds.add(DataElement(0x60003000, "OW", overlay.encode()))
        ds.add(DataElement(0x60024000, "LT", comment))
        ds.add(DataElement(0x50003000, "OW", curve.encode()))
        ds.IconImageSequence = [_item(Rows=4, Columns=2, PixelData=icon.encode())]
        ds.IconImageSequence[0]["PixelData"].VR = "OB"
        ds.add(DataElement(0xFFFCFFFC, "OB", padding.encode()))
        for where, marker in (
            ("overlay data", overlay),
            ("overlay comments", comment),
            ("curve data", curve),
            ("icon", icon),
            ("data set trailing padding", padding),
        ):
            self.note(where, marker)

    def private(self, ds: Dataset) -> None:
        creator = self.ascii_word()
        self.note("private creator", creator)
        block = ds.private_block(0x0029, creator, create=True)
        for offset, vr in enumerate(("PN", "LO", "SH", "LT", "UT", "DA", "DT", "UI", "AE", "OB", "UN")):
            block.add_new(offset, vr, self.value(vr, f"private {vr}", "3"))
        name = self.word()
        self.note("private nested", name)
        block.add_new(0x20, "SQ", Sequence([_item(PatientName=name, PatientComments=name)]))

    def meta(self, ds: FileDataset, transfer_syntax: str) -> None:
        ds.SOPInstanceUID = self.value("UI", "SOPInstanceUID", "1")
        meta = ds.file_meta
        meta.TransferSyntaxUID = transfer_syntax
        meta.MediaStorageSOPClassUID = ds.SOPClassUID
        meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
        meta.SourceApplicationEntityTitle = self.value("AE", "file meta source AE", "3")
        meta.SendingApplicationEntityTitle = self.value("AE", "file meta sending AE", "3")
        meta.PrivateInformationCreatorUID = self.value("UI", "file meta private creator", "3")
        meta.PrivateInformation = self.value("OB", "file meta private information", "3")


def _item(**attributes: object) -> Dataset:
    ds = Dataset()
    for keyword, value in attributes.items():
        setattr(ds, keyword, value)
    return ds
