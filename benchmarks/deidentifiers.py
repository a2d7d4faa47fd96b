"""De-identifiers of others, behind one call: a DICOM file in, a DICOM file out."""

from __future__ import annotations

import contextlib
import hashlib
import io
import logging
from collections.abc import Callable
from io import BytesIO

from pydicom import Dataset, dcmread

from client_plugin.config import DeidentificationConfig
from client_plugin.intake import reader
from client_plugin.intake.deidentify import Deidentifier, Profile

Deidentify = Callable[[bytes], bytes]


class Keys:
    """Keys that are the same in every run."""

    def derive(self, purpose: str) -> bytes:
        return hashlib.sha256(b"benchmark " + purpose.encode()).digest()


def ours(config: DeidentificationConfig | None = None) -> Deidentify:
    """Our reader and engine as a worker uses them, in their default configuration."""
    deidentifier = Deidentifier(Profile.from_config(config or DeidentificationConfig()), Keys())

    def run(data: bytes) -> bytes:
        return deidentifier.apply(reader.read(data)).encoded()

    return run


def dicom_anonymizer() -> Deidentify:
    """dicom-anonymizer with its newest table, private attributes deleted (its default)."""
    from dicomanonymizer.simpledicomanonymizer import anonymize_dataset, initialize_actions

    def run(data: bytes) -> bytes:
        ds = dcmread(BytesIO(data))
        anonymize_dataset(ds, base_rules_gen=lambda: initialize_actions("dicomfields_2026c"))
        return _encoded(ds)

    return run


def dicognito() -> Deidentify:
    """dicognito with a fixed seed."""
    from dicognito.anonymizer import Anonymizer

    anonymizer = Anonymizer(seed="benchmark")

    def run(data: bytes) -> bytes:
        ds = dcmread(BytesIO(data))
        anonymizer.anonymize(ds)
        return _encoded(ds)

    return run


def deid() -> Deidentify:
    """deid with its default recipe, private attributes removed."""
    logging.getLogger("deid").setLevel(logging.CRITICAL)
    from deid.config import DeidRecipe
    from deid.dicom import replace_identifiers

    recipe = DeidRecipe()

    def run(data: bytes) -> bytes:
        ds = dcmread(BytesIO(data))
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            (cleaned,) = replace_identifiers([ds], deid=recipe, save=False, remove_private=True, strip_sequences=False)
        buffer = BytesIO()
        cleaned.save_as(buffer)  # the recipe removes what the file format requires
        return buffer.getvalue()

    return run


PEERS: dict[str, Callable[[], Deidentify]] = {
    "dicom-anonymizer": dicom_anonymizer,
    "dicognito": dicognito,
    "deid": deid,
}


def _encoded(ds: Dataset) -> bytes:
    buffer = BytesIO()
    ds.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()
