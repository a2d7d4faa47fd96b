"""Instances full of planted identifiers, and the search for those that a de-identifier has left.

Every attribute that PS3.3 allows in an IOD gets a value, to three levels of nesting, and every value that could
identify somebody is an identifier of its own that occurs nowhere else: a surname that no list has, a number, a date, a
UID. Where no de-identifier could tell an unknown identifier from a value (a number in an IS, a code string, a lookup
table), the patient's own name or number is planted instead. Private, retired and foreign attributes, overlays,
curves, icons, padding, the preamble and the file meta information get theirs besides.
"""

from __future__ import annotations

import random
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, timedelta
from io import BytesIO
from typing import Any

from pydicom import Dataset, dcmread
from pydicom.charset import python_encoding
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

_SCRIPTS: dict[str, tuple[str | list[str], str]] = {
    "ascii": ("ISO_IR 6", ""),
    "latin": ("ISO_IR 100", "äöüéèçñøå"),
    "cyrillic": ("ISO_IR 144", "абвгдежзиклмнопрстуфхцчшэюя"),
    "greek": ("ISO_IR 126", "αβγδεζηθικλμνξοπρστυφχψω"),
    "japanese": (["", "ISO 2022 IR 87"], "山田太郎鈴木佐藤高橋渡辺伊東中村小林加吉松井清水森池橋阿部石川前"),
    "korean": (["", "ISO 2022 IR 149"], "김이박최정강조윤장임한오서신권황안송류홍길동민준지훈현우성"),
    "gb18030": ("GB18030", "王李张刘陈杨赵黄周吴徐孙胡朱高林何郭马罗梁宋郑谢韩唐冯于董萧"),
    "utf8": ("ISO_IR 192", "عبدالرحمن王小明김철수Ωмир"),
}
_TRANSFER_SYNTAXES = (
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
)
_SEARCHED = sorted({codec for codec in python_encoding.values() if codec} | {"utf-16-le", "utf-16-be", "utf-32-le"})
_UID = re.compile(rb"\d+(?:\.\d+){2,}")
_LONGEST_MOVE = 20_000
_CONSONANTS, _VOWELS = "bdfgklmnprstvzjw", "aeiou"


@dataclass(frozen=True)
class Plant:
    """One planted identifier: where, and what to look for."""

    where: str
    marker: str


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
        script = list(_SCRIPTS)[index % len(_SCRIPTS)]
        yield _Planter(random.Random(seed * 1000 + index), iod, classes[iod], script).plant(index)


def survivors(planted: Planted, output: bytes) -> list[Plant]:
    """The plants that are still in ``output``, in any encoding, decoded or not, inflated if it is deflated."""
    ds = dcmread(BytesIO(output), force=True)
    haystack = output
    if ds.file_meta.get("TransferSyntaxUID") == DeflatedExplicitVRLittleEndian:
        start = output.index(b"DICM") + 4 + 12 + ds.file_meta.FileMetaInformationGroupLength
        haystack = output[:start] + zlib.decompress(output[start:], -zlib.MAX_WBITS)
    haystack = haystack.lower()
    without_uids = _UID.sub(b"", haystack)  # the digits of a new UID can be a date by chance
    text = "\0".join(_texts(ds)).casefold()
    moved = _moved_dates(planted, ds)
    found = []
    for plant in planted.plants:
        if plant.marker in moved:
            continue
        searched = without_uids if plant.marker.isdecimal() else haystack
        if plant.marker.casefold() in text or any(needle in searched for needle in _needles(plant.marker)):
            found.append(plant)
    return found


def _moved_dates(planted: Planted, output: Dataset) -> set[str]:
    """What the planted dates become if all of them move as the study's: one may fall on another."""
    before, after = (_day(str(ds.get("StudyDate"))) for ds in (dcmread(BytesIO(planted.data)), output))
    if before is None or after is None or before == after or abs((after - before).days) > _LONGEST_MOVE:
        return set()  # not moved but replaced
    days = (_day(plant.marker) for plant in planted.plants)
    return {f"{day + (after - before):%Y%m%d}" for day in days if day is not None}


def _day(text: str) -> date | None:
    try:
        return date(int(text[:4]), int(text[4:6]), int(text[6:])) if len(text) == 8 else None
    except ValueError:
        return None


def _needles(marker: str) -> set[bytes]:
    needles = set()
    for codec in _SEARCHED:
        try:
            needle = marker.encode(codec).lower()
        except (UnicodeEncodeError, LookupError):
            continue
        needles.add(needle)
        needles.add(needle.removesuffix(b"\x1b(b").removesuffix(b"\x1b(B"))
    return {needle for needle in needles if len(needle) > 3}


def _texts(ds: Dataset) -> Iterator[str]:
    for tag in list(ds.keys()):
        try:
            element = ds[tag]
        except (TypeError, ValueError, LookupError):  # a value that pydicom cannot decode: its bytes are searched
            continue
        if element.VR == "SQ":
            for item in element.value:
                yield from _texts(item)
        elif element.VR != "UI" and (isinstance(element.value, str | list) or hasattr(element.value, "components")):
            yield str(element.value)


class _Planter:
    def __init__(self, rng: random.Random, iod: str, sop_class_uid: str, script: str) -> None:
        self.rng = rng
        self.iod = iod
        self.script = script
        self.charset, self.letters = _SCRIPTS[script]
        self.attributes = standard.attributes(iod)
        self.plants: list[Plant] = []
        self.used: set[str] = set()
        self.noted: set[str] = set()
        self.out = Planted(iod, sop_class_uid, script, b"", self.plants)
        self.surname, self.mrn = self.word(), str(rng.randrange(10_000_000, 99_999_999))
        self.ascii_surname = self.ascii_word()

    # identifiers

    def ascii_word(self) -> str:
        while True:
            word = "".join(self.rng.choice(_CONSONANTS) + self.rng.choice(_VOWELS) for _ in range(4)).capitalize()
            if word not in self.used:
                self.used.add(word)
                return word

    def word(self) -> str:
        """A name in the instance's script."""
        if not self.letters:
            return self.ascii_word()
        while True:
            word = "".join(self.rng.choice(self.letters) for _ in range(5))
            if self.script == "latin":
                word = self.ascii_word()[:4] + word[:3]
            if word not in self.used:
                self.used.add(word)
                return word

    def number(self) -> str:
        while (number := str(self.rng.randrange(1_000_000, 9_999_999))) in self.used:
            pass
        self.used.add(number)
        return number

    def date(self) -> str:
        while (day := f"{date(1930, 1, 1) + timedelta(days=self.rng.randrange(25_000)):%Y%m%d}") in self.used:
            pass
        self.used.add(day)
        return day

    def uid(self) -> str:
        return f"1.2.826.0.1.3680043.9.7433.{self.number()}.{self.number()}"

    def note(self, where: str, marker: str) -> None:
        """Count a plant; the patient's own name and number once, however often they are planted."""
        if marker not in self.noted:
            self.noted.add(marker)
            self.plants.append(Plant(where, marker))

    # values

    def value(self, vr: str, where: str, type_: str) -> Any:
        if vr == "PN":
            name = self.word()
            self.note(where, name)
            if self.script in ("japanese", "korean", "gb18030", "utf8"):
                roman = self.ascii_word()
                self.note(f"{where} alphabetic", roman)
                return f"{roman}^Taro={name}^{name[:2]}"
            return f"{name}^{name[:3]}"
        if vr in ("LO", "SH"):
            name = self.word()
            self.note(where, name)
            return name[:16] if vr == "SH" else f"chest {name}"
        if vr in ("ST", "LT", "UT", "UC"):
            name, phone, day = self.word(), f"0171-{self.number()}", self.date()
            german = f"{day[6:]}.{day[4:6]}.{day[:4]}"
            self.note(f"{where} name", name)
            self.note(f"{where} telephone", phone)
            self.note(f"{where} date", german)
            return f"Discussed with Dr. {name} on {german}, call {phone}"
        if vr == "UI":
            uid = self.uid()
            self.note(where, uid)
            return uid
        if vr == "DA":
            day = self.date()
            self.note(where, day)
            return day
        if vr == "DT":
            day = self.date()
            self.note(where, day)
            return f"{day}101112.123456"
        if vr in ("AE", "UR"):
            name = self.ascii_word()
            self.note(where, name)
            return name if vr == "AE" else f"http://{name.lower()}.example/x"
        if vr in ("OB", "OW", "UN"):
            name = self.ascii_word()
            self.note(where, name)
            return name.encode().ljust(10)
        if vr == "CS" and type_ == "3" and self.rng.random() < 0.3:
            self.note(where, self.ascii_surname)
            return self.ascii_surname.upper()
        if vr in ("IS", "DS") and type_ == "3" and self.rng.random() < 0.3:
            self.note(where, self.mrn)
            return self.mrn
        return {"TM": "101112", "AS": "045Y", "CS": "OTHER", "IS": "1", "DS": "1.5", "AT": 0x00100010}.get(vr, 1)

    # data sets

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


def _item(**attributes: object) -> Dataset:
    ds = Dataset()
    for keyword, value in attributes.items():
        setattr(ds, keyword, value)
    return ds
