"""The archive: one sealed file per de-identified instance, under a key per patient, and its catalogue.

An object is durable before its catalogue row is written. So every row has its object, and an object without a row is
what a crash left: it is written again when the instance is processed again.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import shutil
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from client_plugin.archive.additions import Addition, NewInstance
from client_plugin.archive.catalogue import Catalogue
from client_plugin.archive.instance import ArchivedInstance, InstanceRow
from client_plugin.archive.keys import KEY_SIZE, SiteKeys, key_lock, sync_folder
from client_plugin.archive.received import ReceivedRow
from client_plugin.archive.sealing import SealedReader, SealedWriter, seal, unseal
from client_plugin.config import NodeConfig

SUFFIX = ".sealed"
_SETTLED = 3600.0  # seconds without a write after which a half-written file has no writer any more
_KEYS_KEPT = 256  # data keys in memory, unwrapped: the patients at hand


class NotInArchive(LookupError):  # noqa: N818 - it is the instance that is described
    """No such instance is archived here."""


@dataclass(frozen=True)
class Written:
    """An instance in a provisional file: sealed, but not yet durable and in no catalogue."""

    new: NewInstance
    part: Path
    file: BinaryIO = field(repr=False)

    def discard(self) -> None:
        """Close the file and forget it, unless it has got its final name."""
        self.file.close()
        self.part.unlink(missing_ok=True)


class Archive:
    """The archive of one node. Share it between threads, never across a fork.

    Parameters
    ----------
    objects
        Folder of the sealed files: ``<pseudonym>/<SOP Instance UID>.sealed``, both of them de-identified.
    catalogue
        The catalogue that names them.
    wrapping_key
        ``SiteKeys.derive("wrap")``.
    """

    def __init__(self, objects: Path, catalogue: Catalogue, wrapping_key: bytes) -> None:
        self.catalogue = catalogue
        self._objects = objects
        self._wrapping_key = wrapping_key
        self._data_keys: dict[str, bytes] = {}
        self._parts = objects / ".parts"
        self._held = ExitStack()

    @classmethod
    def open(cls, config: NodeConfig, keys: SiteKeys | None = None) -> Archive:
        """The archive of a node, made on first use. While it is open the site key is not replaced."""
        with ExitStack() as stack:
            stack.enter_context(key_lock(config, exclusive=False))
            keys = keys or SiteKeys.open(config)
            config.objects.mkdir(mode=0o700, parents=True, exist_ok=True)
            archive = cls(config.objects, Catalogue.open(config.catalogue_url), keys.derive("wrap"))
            archive._held = stack.pop_all()
        archive._sweep()
        return archive

    def close(self) -> None:
        self._data_keys.clear()
        self.catalogue.close()
        self._held.close()

    def add(
        self,
        dataset_bytes: bytes,
        meta: ArchivedInstance,
        received: ReceivedRow | None = None,
        target: bytes | None = None,
    ) -> bool:
        """Keep a de-identified instance; it survives a power cut when this returns.

        Parameters
        ----------
        dataset_bytes
            The de-identified DICOM file (PS3.10).
        meta
            Its index, from `ArchivedInstance.from_dataset`.
        received
            The row of the spool that it came from: finished in the same transaction.
        target
            What its PACS calls the study, sealed: see `NewInstance`.

        Returns
        -------
        bool
            False if it was here before; the first copy is kept.

        Raises
        ------
        PatientForgotten
            The patient was forgotten: discard the instance.
        NotArchivable
            Its study belongs to another patient here, or its series to another study.
        """
        (outcome,) = self.commit([self.write(dataset_bytes, meta, received, target)])
        return outcome.check()

    def write(
        self,
        dataset_bytes: bytes,
        meta: ArchivedInstance,
        received: ReceivedRow | None = None,
        target: bytes | None = None,
    ) -> Written:
        """The first half of `add`: seal an instance into a provisional file, which a crash leaves to be swept away.

        Raises
        ------
        PatientForgotten
            The patient was forgotten: discard the instance.
        """
        key = self._data_key(meta.pseudonym)
        sha256 = hashlib.sha256(dataset_bytes).hexdigest()
        part = self._parts / secrets.token_hex(16)
        new = NewInstance(meta=meta, size=len(dataset_bytes), sha256=sha256, received=received, target=target)
        try:
            file = part.open("xb")
        except FileNotFoundError:
            self._parts.mkdir(mode=0o700, exist_ok=True)
            file = part.open("xb")
        written = Written(new, part, file)
        try:
            _seal_into(written.file, dataset_bytes, key, meta.sop_instance_uid)
            written.file.flush()
        except BaseException:
            written.discard()
            raise
        return written

    def commit(self, batch: Sequence[Written]) -> list[Addition]:
        """The second half: make all of ``batch`` durable, then catalogue it in one transaction; outcomes in its order.

        A sync and a transaction cost nearly the same for one instance as for many. What raises has catalogued nothing
        and left no provisional file: write the instances again.
        """
        try:
            first = {written.new.meta.sop_instance_uid: written for written in reversed(batch)}
            for known in self.catalogue.known_instances(first):
                del first[known]
            fresh = [*first.values()]
            for written in fresh:
                os.fsync(written.file.fileno())
            folders = [self._folder(pseudonym) for pseudonym in {written.new.meta.pseudonym for written in fresh}]
            self._make_folders(folders)
            for written in fresh:
                written.part.rename(self._path_of(written.new.meta))
            for folder in folders:
                sync_folder(folder)
        finally:
            for written in batch:
                written.discard()
        outcomes = self.catalogue.add_instances([written.new for written in batch])
        for written, outcome in zip(batch, outcomes, strict=True):
            if outcome.refused:  # forgotten between our look at the key and now, or at odds with what is here
                self._data_keys.pop(written.new.meta.pseudonym, None)
                self._path_of(written.new.meta).unlink(missing_ok=True)
        return outcomes

    def read(self, sop_instance_uid: str) -> bytes:
        """The de-identified DICOM file of an instance.

        Raises
        ------
        NotInArchive
            There is none.
        SealBroken
            Its file was changed.
        """
        with self.open_object(sop_instance_uid) as reader:
            return reader.read()

    def open_object(self, sop_instance_uid: str) -> SealedReader:
        """The same as a readable, seekable file, for objects larger than memory."""
        found = self.catalogue.key_of(sop_instance_uid)
        if found is None:
            raise NotInArchive(f"no instance {sop_instance_uid} in the archive: it was never here, or was forgotten")
        pseudonym, wrapped = found
        key = unseal(wrapped, self._wrapping_key, key_context(pseudonym))
        try:
            raw = self._path(pseudonym, sop_instance_uid).open("rb")
        except FileNotFoundError:
            raise NotInArchive(
                f"the object of instance {sop_instance_uid} is missing: restore {self._objects}"
            ) from None
        return SealedReader(raw, key, _object_context(sop_instance_uid))

    def series(self, series_uid: str, version: int | None = None) -> list[InstanceRow]:
        """The instances of a series in the order of their slices; see `Studies.series`."""
        return self.catalogue.series(series_uid, version)

    def forget(self, pseudonym: str) -> list[str]:
        """Destroy a patient's key, rows and objects; returns the spool names of raw copies to delete.

        The key goes first: whatever happens after that, nothing of the patient can be read back. Safe to repeat.
        """
        spool_names = self.catalogue.forget_rows(pseudonym)
        self._data_keys.pop(pseudonym, None)
        self.catalogue.scrub()
        folder = self._folder(pseudonym)
        if folder.exists():
            shutil.rmtree(folder)
            sync_folder(self._objects)
        return spool_names

    def withdraw(self, study_uid: str) -> int:
        """Take a study out, so that its peer may send it again; returns how many instances it had.

        Rows go first, since every row has its object. What a crash leaves without a row is written again.
        """
        gone = self.catalogue.withdraw_rows(study_uid)
        for pseudonym, sop_instance_uid in gone:
            self._path(pseudonym, sop_instance_uid).unlink(missing_ok=True)
        return len(gone)

    def _sweep(self) -> None:
        """Delete what writers that died have left half-written."""
        if self._parts.exists():
            settled = time.time() - _SETTLED
            for part in self._parts.iterdir():
                with contextlib.suppress(FileNotFoundError):  # its writer, or another sweep, was quicker
                    if part.stat().st_mtime < settled:
                        part.unlink()

    def _folder(self, pseudonym: str) -> Path:
        return self._objects / pseudonym

    def _path_of(self, meta: ArchivedInstance) -> Path:
        return self._path(meta.pseudonym, meta.sop_instance_uid)

    def _path(self, pseudonym: str, sop_instance_uid: str) -> Path:
        return self._folder(pseudonym) / f"{sop_instance_uid}{SUFFIX}"

    def _data_key(self, pseudonym: str) -> bytes:
        """The patient's data key; made and kept, wrapped, before anything is sealed with it."""
        if pseudonym not in self._data_keys:
            wrapped = self.catalogue.patient_key(pseudonym)
            if wrapped is None:
                fresh = seal(os.urandom(KEY_SIZE), self._wrapping_key, key_context(pseudonym))
                wrapped = self.catalogue.add_patient(pseudonym, fresh)
            if len(self._data_keys) == _KEYS_KEPT:
                self._data_keys.pop(next(iter(self._data_keys)), None)
            self._data_keys[pseudonym] = unseal(wrapped, self._wrapping_key, key_context(pseudonym))
        return self._data_keys[pseudonym]

    def _make_folders(self, folders: Sequence[Path]) -> None:
        missing = [folder for folder in folders if not folder.exists()]
        for folder in missing:
            folder.mkdir(mode=0o700, exist_ok=True)
        if missing:
            sync_folder(self._objects)


def _seal_into(raw: BinaryIO, data: bytes, key: bytes, sop_instance_uid: str) -> None:
    SealedWriter(raw, key, _object_context(sop_instance_uid)).finish(data)


def key_context(pseudonym: str) -> bytes:
    return b"patient key " + pseudonym.encode()


def _object_context(sop_instance_uid: str) -> bytes:
    return b"object " + sop_instance_uid.encode()
