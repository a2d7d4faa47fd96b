"""Whose a sealed raw copy in quarantine is: asked when a patient is to be forgotten.

A copy is there because something was wrong with it, so its patient may not have been known when it was set aside. By
then the node holds both halves: the copy, which it can open, and what the patient was called.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from enum import Enum
from io import BufferedIOBase

import pydicom
from pydicom.dataset import FileDataset, FileMetaDataset

from client_plugin.intake.deidentify.codes import Quarantine
from client_plugin.intake.deidentify.keyed import Keyed
from client_plugin.intake.deidentify.patient import Patient
from client_plugin.intake.deidentify.vault import Identity
from client_plugin.intake.peek import DEFLATED

_SHORTEST = 4  # characters of a name or number; shorter ones are in every file
_PIECE = 1 << 20
_TAGS = ["PatientID", "IssuerOfPatientID", "PatientName", "PatientBirthDate", "PatientSex", "StudyInstanceUID"]


class Whose(Enum):
    """The answer for one copy and one patient."""

    THEIRS = "theirs"
    ANOTHERS = "another's"
    """It names another patient, or at least not this one."""
    UNKNOWN = "unknown"
    """Nobody can tell."""


def whose(file: BufferedIOBase, pseudonym: str, keyed: Keyed, identity: Identity | None) -> Whose:
    """Whose a raw copy is.

    Parameters
    ----------
    file
        The DICOM file as it was received, unsealed, seekable.
    keyed
        The site's keyed replacements: they make a pseudonym of what the copy says.
    identity
        Who the patient is, if the vault knows: searched for in the bytes, whatever state they are in.
    """
    dataset = _header(file)
    named = bool(dataset is not None and _named(dataset))
    if dataset is not None and named and _pseudonym(dataset, keyed) == pseudonym:
        return Whose.THEIRS
    tokens = _tokens(identity)
    try:
        if tokens and _found(_plain(file, dataset), tokens):
            return Whose.THEIRS
    except zlib.error:
        return Whose.UNKNOWN
    searchable = identity is not None and len(identity.patient_id) >= _SHORTEST
    return Whose.ANOTHERS if named or searchable else Whose.UNKNOWN


def _header(file: BufferedIOBase) -> FileDataset | None:
    """What can be read of the elements that name the patient; of a deflated one only its file meta information."""
    try:
        meta = _file_meta(file)
        if str(meta.get("TransferSyntaxUID", "")) in DEFLATED:
            return FileDataset("", {}, file_meta=meta)
        file.seek(0)
        return pydicom.dcmread(file, stop_before_pixels=True, specific_tags=[*_TAGS])
    except Exception:  # noqa: BLE001 - the parser raises anything on hostile bytes
        return None


def _named(dataset: FileDataset) -> bool:
    try:
        return bool(str(dataset.get("PatientID", None) or "").strip())
    except Exception:  # noqa: BLE001 - the same
        return False


def _pseudonym(dataset: FileDataset, keyed: Keyed) -> str | None:
    try:
        return Patient.of(dataset, keyed).pseudonym
    except (Quarantine, ValueError, TypeError, LookupError):
        return None


def _tokens(identity: Identity | None) -> list[bytes]:
    """What of a patient is searched for: the identifier, and the words of the name."""
    if identity is None:
        return []
    words = {identity.patient_id, *identity.name.replace("^", " ").replace("=", " ").split()}
    return [word.lower().encode() for word in words if len(word) >= _SHORTEST]


def _plain(file: BufferedIOBase, dataset: FileDataset | None) -> Iterator[bytes]:
    """The content in pieces, inflated if its transfer syntax deflates it. Bounded in memory."""
    if dataset is None or str(dataset.file_meta.get("TransferSyntaxUID", "")) not in DEFLATED:
        file.seek(0)
        while piece := file.read(_PIECE):
            yield piece
        return
    _file_meta(file)
    inflating = zlib.decompressobj(-zlib.MAX_WBITS)
    while piece := file.read(_PIECE):
        while piece:
            yield inflating.decompress(piece, _PIECE)
            piece = inflating.unconsumed_tail


def _file_meta(file: BufferedIOBase) -> FileMetaDataset:
    """The file meta information; the data set is what comes next."""
    file.seek(0)
    pydicom.filereader.read_preamble(file, force=False)
    return pydicom.filereader._read_file_meta_info(file)


def _found(pieces: Iterable[bytes], tokens: list[bytes]) -> bool:
    overlap = max(map(len, tokens)) - 1
    before = b""
    for piece in pieces:
        text = before + piece.lower()
        if any(token in text for token in tokens):
            return True
        before = text[-overlap:] if overlap else b""
    return False
