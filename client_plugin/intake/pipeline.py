"""Instances from the spool to the archive: open, read, de-identify, archive, delete the raw copy."""

from __future__ import annotations

import errno
import logging
import time
from collections import Counter
from collections.abc import Sequence
from enum import StrEnum

import pydicom
from pydicom.dataset import Dataset, FileDataset
from sqlalchemy.exc import OperationalError

from client_plugin.archive import reading
from client_plugin.archive.additions import Addition
from client_plugin.archive.archive import Archive, Written
from client_plugin.archive.instance import ArchivedInstance, NotArchivable
from client_plugin.archive.patients import PatientForgotten
from client_plugin.archive.received import ReceivedRow
from client_plugin.archive.sealing import SealBroken
from client_plugin.intake import reader
from client_plugin.intake.deidentify import Deidentifier, Quarantine, Vault
from client_plugin.intake.reasons import IntakeReason
from client_plugin.intake.spool import Spool
from client_plugin.intake.study_names import StudyNames
from client_plugin.metrics import instruments as metrics
from client_plugin.metrics.labels import IntakeStep, Processed
from observability import logs

log = logging.getLogger(__name__)

_TROUBLES = {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.EACCES, errno.EMFILE, errno.ENFILE}


_IN_MEMORY = 32 << 20
"""Bytes of an instance, at most, that is unsealed at once and read from memory."""


class Pipeline:
    """Processes claimed instances: each is prepared on its own, then all of a batch are archived together.

    Parameters
    ----------
    spool, archive, deidentifier
        The stations.
    max_tries
        After so many failures that are not the instance's own fault it is quarantined all the same.
    vault
        Keeps the way back to the patients; None where the site wants none.
    names
        What studies are called here and at their PACS.
    counted
        Whether a PACS can be asked how many instances a study has.
    """

    def __init__(
        self,
        spool: Spool,
        archive: Archive,
        deidentifier: Deidentifier,
        max_tries: int,
        vault: Vault | None = None,
        *,
        names: StudyNames,
        counted: bool = False,
    ) -> None:
        self._spool = spool
        self._archive = archive
        self._deidentifier = deidentifier
        self._max_tries = max_tries
        self._vault = vault
        self._names = names
        self._counted = counted

    def prepare(self, row: ReceivedRow) -> Written | None:
        """De-identify one instance into a provisional file of the archive.

        Returns
        -------
        Written or None
            None: it was set aside with a reason, discarded, or left for another try.

        Raises
        ------
        Exception
            The node is in trouble (`is_trouble`), or not even the outcome could be recorded: put the row back.
        """
        try:
            return self._deidentified(row)
        except _SetAside as aside:
            self._set_aside(row, aside)
        except MemoryError:  # the worker's limit: a small data set may inflate to a thousand times its size
            self._set_aside(row, _SetAside(IntakeReason.TOO_LARGE))
        except Exception as error:  # noqa: BLE001 - whatever it is, it must not stop the others
            self._failed(row, error)
        return None

    def archive(self, batch: Sequence[Written]) -> None:
        """Archive what was prepared, durably, then delete the raw copies.

        Raises
        ------
        Exception
            As from `prepare`: put the rows back.
        """
        if not batch:
            return
        started = time.perf_counter()
        try:
            outcomes = self._archive.commit(batch)
        except Exception as error:
            if is_trouble(error):
                raise
            self._one_by_one(batch, error)
            return
        seconds = (time.perf_counter() - started) / len(batch)
        for written, outcome in zip(batch, outcomes, strict=True):
            metrics.INTAKE_SECONDS.observe(IntakeStep.FINISH, seconds)
            self._archived(_row_of(written), written.new.meta.pseudonym, outcome)

    def _one_by_one(self, batch: Sequence[Written], error: Exception) -> None:
        """One of them is at fault: alone, it takes no other down with it."""
        if len(batch) == 1:
            self._failed(_row_of(batch[0]), error)
            return
        for written in batch:
            if (again := self.prepare(_row_of(written))) is not None:
                self.archive([again])

    def _archived(self, row: ReceivedRow, pseudonym: str, outcome: Addition) -> None:
        if outcome is Addition.FORGOTTEN:
            self._discard(row, pseudonym)
        elif outcome.refused:
            self._set_aside(row, _SetAside(IntakeReason.NOT_ARCHIVABLE, pseudonym))
        else:
            self._spool.delete(row.spool_name)
            metrics.PROCESSED_INSTANCES.inc(Processed.ARCHIVED)
            metrics.PROCESSED_BYTES.inc(row.size)

    def _discard(self, row: ReceivedRow, pseudonym: str) -> None:
        """Drop what belongs to a forgotten patient."""
        if self._vault is not None:
            self._vault.forget(pseudonym)
        self._archive.catalogue.discard(row)
        self._forgotten(row)

    def _forgotten(self, row: ReceivedRow) -> None:
        self._spool.delete(row.spool_name)
        log.info("an instance of a forgotten patient was discarded", extra=logs.fields(peer=row.source_ae))

    def _failed(self, row: ReceivedRow, error: Exception) -> None:
        if is_trouble(error):
            raise error
        log.error("an instance could not be processed", exc_info=error, extra=logs.fields(count=row.tries))
        if self._archive.catalogue.fail(row, IntakeReason.PROCESSING_FAILED, max_tries=self._max_tries):
            self._count_quarantined(IntakeReason.PROCESSING_FAILED, row)
        else:
            metrics.PROCESSED_INSTANCES.inc(Processed.RETRIED)

    def _set_aside(self, row: ReceivedRow, aside: _SetAside) -> None:
        catalogue = self._archive.catalogue
        if aside.reason is not IntakeReason.SPOOL_GONE:
            if not catalogue.quarantine(row, aside.reason, aside.pseudonym, aside.study_uid):
                self._forgotten(row)
                return
        elif catalogue.spool_names_in_use([row.spool_name]):
            catalogue.discard(row)  # as if it had never been received: its peer may send it again
            catalogue.record_quarantined(row, aside.reason)
        else:
            return  # a worker of a node that was killed had claimed it too, and was faster
        self._count_quarantined(aside.reason, row)

    @staticmethod
    def _count_quarantined(reason: StrEnum, row: ReceivedRow) -> None:
        metrics.PROCESSED_INSTANCES.inc(Processed.QUARANTINED)
        metrics.QUARANTINED.inc(reason)
        log.warning("quarantined", extra=logs.fields(reason=reason, peer=row.source_ae))

    def _deidentified(self, row: ReceivedRow) -> Written | None:
        with metrics.INTAKE_SECONDS.time(IntakeStep.UNSEAL):
            dataset = self._read(row)
        study = _study_uid(dataset)
        study_uid = self._names.here(study) if study else None
        try:
            with metrics.INTAKE_SECONDS.time(IntakeStep.DEIDENTIFY):
                deidentified = self._deidentifier.apply(dataset)
                content = deidentified.encoded()  # before anything decodes its elements
        except Quarantine as refused:
            raise _SetAside(refused.reason, refused.pseudonym, study_uid) from None
        for done, times in Counter(action.done for action in deidentified.record).items():
            metrics.DEIDENTIFICATION_ACTIONS.inc(done, times)
        try:
            meta = ArchivedInstance.from_dataset(deidentified.dataset, deidentified.pseudonym)
        except NotArchivable:
            raise _SetAside(IntakeReason.NOT_ARCHIVABLE, deidentified.pseudonym, study_uid) from None
        with metrics.INTAKE_SECONDS.time(IntakeStep.ARCHIVE):
            if self._vault is not None:  # first: what is archived has its way back
                self._vault.remember(deidentified.pseudonym, deidentified.identity)
            try:
                target = self._names.sealed(study) if self._counted and study else None
                return self._archive.write(content, meta, received=row, target=target)
            except PatientForgotten:
                self._discard(row, deidentified.pseudonym)
                return None

    def _read(self, row: ReceivedRow) -> FileDataset:
        try:
            with self._spool.open(row.spool_name) as sealed:
                dataset = reader.read(sealed.read()) if sealed.size <= _IN_MEMORY else pydicom.dcmread(sealed)
        except SealBroken:
            raise _SetAside(IntakeReason.SPOOL_BROKEN) from None
        except FileNotFoundError:
            raise _SetAside(IntakeReason.SPOOL_GONE) from None
        except MemoryError:
            raise
        except Exception as error:  # the parser raises anything on hostile bytes
            if isinstance(error, OSError) and error.errno is not None:
                raise  # it is the system that failed
            raise _SetAside(IntakeReason.UNREADABLE) from None
        if (reason := naming_fault(dataset, dataset.file_meta)) is not None:
            raise _SetAside(reason)
        return dataset


def naming_fault(dataset: Dataset, file_meta: Dataset) -> IntakeReason | None:
    """Whether a data set names itself as the command (kept in the file meta information) did.

    The listener has looked at the start of the data set; this decides where that was not enough.
    """
    names = [reading.text(dataset, keyword) for keyword in ("SOPClassUID", "SOPInstanceUID")]
    if not all(names):
        return IntakeReason.UIDS_MISSING
    told = [reading.text(file_meta, f"MediaStorage{keyword}") for keyword in ("SOPClassUID", "SOPInstanceUID")]
    return None if names == told else IntakeReason.UIDS_DIFFER


def _study_uid(dataset: Dataset) -> str:
    """The original Study Instance UID; empty if there is none that can be read."""
    try:
        return reading.text(dataset, "StudyInstanceUID")
    except (ValueError, TypeError, LookupError):  # hostile bytes: what to do about them is decided elsewhere
        return ""


def _row_of(written: Written) -> ReceivedRow:
    if written.new.received is None:
        raise ValueError("not an instance of the spool")
    return written.new.received


def is_trouble(error: BaseException) -> bool:
    """Whether the node rather than the instance is at fault: a full or failing disk, a database that is away."""
    if isinstance(error, OSError):
        return error.errno in _TROUBLES
    return isinstance(error, OperationalError)


class _SetAside(Exception):  # noqa: N818 - an outcome, not an error
    def __init__(self, reason: StrEnum, pseudonym: str | None = None, study_uid: str | None = None) -> None:
        super().__init__(reason.value)
        self.reason = reason
        self.pseudonym = pseudonym
        self.study_uid = study_uid
