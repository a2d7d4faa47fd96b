"""Pulling with C-FIND and C-MOVE or C-GET (PS3.4 annex C, Study Root)."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from pydicom.dataset import Dataset
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    MPEG4HP41,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)
from pynetdicom import build_context, build_role, evt
from pynetdicom.association import Association
from pynetdicom.presentation import PresentationContext
from pynetdicom.sop_class import (
    StudyRootQueryRetrieveInformationModelFind as Find,
)
from pynetdicom.sop_class import (
    StudyRootQueryRetrieveInformationModelGet as Get,
)
from pynetdicom.sop_class import (
    StudyRootQueryRetrieveInformationModelMove as Move,
)

from client_plugin.config import DicomPeer, NodeConfig
from client_plugin.dicom.calling import CallFailed, CallFailure, association
from client_plugin.dicom.pull.query import PullQuery, matching_keys, series_match, study_matches
from client_plugin.dicom.pull.source import FoundStudy, PullError, PullReason, Watch
from client_plugin.dicom.status import StoreStatus
from client_plugin.dicom.storing import Store
from client_plugin.intake.spool import Origin

_PENDING = (0xFF00, 0xFF01)
_MAX_CONTEXTS = 128  # PS3.8: odd identifiers of one byte
_COMPRESSED = (
    JPEG2000Lossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
    JPEGBaseline8Bit,
    JPEG2000,
    JPEGLossless,
    JPEGExtended12Bit,
    JPEGLSNearLossless,
    HTJ2KLossless,
    HTJ2K,
    MPEG4HP41,
)
"""Transfer syntaxes proposed one by one, so that what is stored compressed can come as it is stored."""

_CALLS = {
    CallFailure.UNREACHABLE: PullReason.UNREACHABLE,
    CallFailure.REJECTED: PullReason.REJECTED,
    CallFailure.BUSY: PullReason.OUT_OF_RESOURCES,
    CallFailure.NO_CONTEXT: PullReason.NOT_SUPPORTED,
}


def problem_of(status: int) -> PullReason | None:
    """What a final status of C-FIND, C-MOVE or C-GET (PS3.4 C.4) means; None: it went through.

    Examples
    --------
    >>> problem_of(0xA801)
    <PullReason.DESTINATION_UNKNOWN: 'destination-unknown'>
    >>> problem_of(0xB000) is None  # some sub-operations failed: the instances are counted here
    True
    """
    known = {
        0x0000: None,
        0xB000: None,
        0x0122: PullReason.NOT_SUPPORTED,
        0x0124: PullReason.NOT_AUTHORISED,
        0xA700: PullReason.OUT_OF_RESOURCES,
        0xA701: PullReason.OUT_OF_RESOURCES,
        0xA702: PullReason.OUT_OF_RESOURCES,
        0xA801: PullReason.DESTINATION_UNKNOWN,
        0xA900: PullReason.NOT_SUPPORTED,
    }
    return known.get(status, PullReason.FAILED)


class DimseSource:
    """A PACS that is asked with C-FIND and sends by C-MOVE to our listener.

    Parameters
    ----------
    config, peer
        Who we are and whom we ask.
    """

    def __init__(self, config: NodeConfig, peer: DicomPeer) -> None:
        self._config = config
        self._peer = peer

    def find(self, query: PullQuery) -> Iterator[FoundStudy]:
        """See `client_plugin.dicom.pull.source.Source`."""
        seen: set[str] = set()
        with self._asking(Watch()) as asked:
            for keys in matching_keys(query):
                for study in _ask(asked, _identifier("STUDY", keys, _STUDY_ANSWER)):
                    uid = str(study.get("StudyInstanceUID", ""))
                    if not uid or uid in seen or not study_matches(query, study):
                        continue
                    seen.add(uid)
                    if not query.about_series or series_match(query, self._series(asked, uid)):
                        yield FoundStudy(uid, _count(study))

    def instances(self, study_uid: str, watch: Watch) -> dict[str, str]:
        """See `client_plugin.dicom.pull.source.Source`."""
        found: dict[str, str] = {}
        with self._asking(watch) as asked:
            for series in self._series(asked, study_uid):
                keys = {"StudyInstanceUID": study_uid, "SeriesInstanceUID": str(series.SeriesInstanceUID)}
                for instance in _ask(asked, _identifier("IMAGE", keys, ("SOPInstanceUID", "SOPClassUID"))):
                    found[str(instance.SOPInstanceUID)] = str(instance.get("SOPClassUID", ""))
                watch.news()
        return found

    def retrieve(self, study_uid: str, missing: Mapping[str, str], watch: Watch) -> int | None:
        """See `client_plugin.dicom.pull.source.Source`."""
        identifier = _identifier("STUDY", {"StudyInstanceUID": study_uid})
        with self._calling(watch, [build_context(Move)]) as established:
            established.dimse_timeout = None  # a PACS may fetch from tape for hours; `watch` looks for signs of life
            return _follow(established.send_c_move(identifier, self._config.dicom.ae_title, Move), watch)

    @staticmethod
    def _series(asked: Association, study_uid: str) -> list[Dataset]:
        answer = ("SeriesInstanceUID", "Modality", "BodyPartExamined", "SeriesDescription")
        found = list(_ask(asked, _identifier("SERIES", {"StudyInstanceUID": study_uid}, answer)))
        return [series for series in found if series.get("SeriesInstanceUID")]

    @contextmanager
    def _asking(self, watch: Watch) -> Iterator[Association]:
        with self._calling(watch, [build_context(Find)]) as established:
            yield established

    @contextmanager
    def _calling(self, watch: Watch, contexts: list[PresentationContext], **details: Any) -> Iterator[Association]:
        """An association that ``watch`` can break off; every failure is a `PullError`."""
        try:
            with association(self._config, self._peer, contexts, **details) as established:
                watch.arm(lambda: _break_off(established))
                yield established
        except CallFailed as failed:
            raise PullError(watch.stopped or _CALLS[failed.failure]) from None
        except PullError as error:
            raise PullError(watch.stopped or error.reason) from None


class GetSource(DimseSource):
    """A PACS that sends by C-GET, over the association that we opened: it need not know our address.

    Parameters
    ----------
    store
        The intake that instances go to.
    """

    def __init__(self, config: NodeConfig, peer: DicomPeer, store: Store) -> None:
        super().__init__(config, peer)
        self._store = store

    def retrieve(self, study_uid: str, missing: Mapping[str, str], watch: Watch) -> int | None:
        """See `client_plugin.dicom.pull.source.Source`."""
        classes = sorted({sop_class for sop_class in missing.values() if sop_class})
        refused: list[StoreStatus] = []

        def on_store(event: Any) -> int:
            watch.news()
            status = self._keep(event)
            if status == StoreStatus.OUT_OF_RESOURCES:
                refused.append(status)
            return status

        with self._calling(
            watch,
            [build_context(Get), *storage_contexts(classes)],
            negotiation=[build_role(sop_class, scp_role=True) for sop_class in classes],
            handlers=[(evt.EVT_C_STORE, on_store)],
        ) as established:
            established.dimse_timeout = None
            identifier = _identifier("STUDY", {"StudyInstanceUID": study_uid})
            counted = _follow(established.send_c_get(identifier, Get), watch)
        if refused:
            raise PullError(PullReason.REFUSED_HERE)
        return counted

    def _keep(self, event: Any) -> StoreStatus:
        request = event.request
        if request.DataSet is None:
            return StoreStatus.CANNOT_UNDERSTAND
        sink = self._store.begin(
            Origin(
                sop_class_uid=str(request.AffectedSOPClassUID),
                sop_instance_uid=str(request.AffectedSOPInstanceUID),
                transfer_syntax_uid=str(event.context.transfer_syntax),
                source_ae=self._peer.ae_title,
            )
        )
        sink.write(request.DataSet.getvalue())
        return self._store.answer(sink, str(event.context.abstract_syntax))


def storage_contexts(classes: Iterable[str]) -> list[PresentationContext]:
    """Presentation contexts for C-GET: of each SOP class first the uncompressed, then one per compressed syntax.

    At most 127 are left beside the one of C-GET itself; with many SOP classes fewer compressed syntaxes are proposed,
    the same for all, and classes beyond that come another time, when the first ones are here.
    """
    wanted = list(classes)[: _MAX_CONTEXTS - 1]
    each = min(len(_COMPRESSED), (_MAX_CONTEXTS - 1) // max(1, len(wanted)) - 1)
    plain = [build_context(c, [ExplicitVRLittleEndian, ImplicitVRLittleEndian]) for c in wanted]
    return plain + [build_context(c, s) for c, s in itertools.product(wanted, _COMPRESSED[:each])]


_STUDY_ANSWER = (
    "StudyInstanceUID",
    "StudyDate",
    "ModalitiesInStudy",
    "StudyDescription",
    "NumberOfStudyRelatedInstances",
)


def _identifier(level: str, keys: Mapping[str, str], answer: Iterable[str] = ()) -> Dataset:
    identifier = Dataset()
    identifier.QueryRetrieveLevel = level
    for keyword in answer:
        setattr(identifier, keyword, "" if keyword != "NumberOfStudyRelatedInstances" else None)
    for keyword, value in keys.items():
        setattr(identifier, keyword, value)
    if not all(value.isascii() for value in keys.values()):
        identifier.SpecificCharacterSet = "ISO_IR 192"
    return identifier


def _ask(asked: Association, identifier: Dataset) -> Iterator[Dataset]:
    """The answers to a C-FIND, all of them: an association holds one question at a time."""
    answers = []
    for status, answer in asked.send_c_find(identifier, Find):
        if "Status" not in status:
            raise PullError(PullReason.LOST)
        if status.Status in _PENDING:
            if answer is not None:
                answers.append(answer)
        elif (problem := problem_of(status.Status)) is not None:
            raise PullError(problem)
    return iter(answers)


def _follow(responses: Iterator[tuple[Dataset, Dataset | None]], watch: Watch) -> int | None:
    """Wait for the end of a C-MOVE or C-GET; every response is a sign of life. The number of its sub-operations."""
    counted: int | None = None
    for status, _ in responses:
        if "Status" not in status:
            raise PullError(PullReason.LOST)
        watch.news()
        counted = suboperations(status) or counted
        if status.Status not in _PENDING and (problem := problem_of(status.Status)) is not None:
            raise PullError(problem)
    return counted


def suboperations(response: Dataset) -> int | None:
    """How many instances a C-MOVE or C-GET is about, by a response of it (PS3.4, C.4.2.1.5 to 8); None: it is not said.

    Examples
    --------
    >>> response = Dataset()
    >>> response.NumberOfCompletedSuboperations, response.NumberOfFailedSuboperations = 18, 2
    >>> suboperations(response)
    20
    """
    kinds = ("Remaining", "Completed", "Failed", "Warning")
    counts = [response.get(f"NumberOf{kind}Suboperations") for kind in kinds]
    told = [int(count) for count in counts if count is not None]
    return sum(told) if told else None


def _break_off(established: Association) -> None:
    """End a wait for a message as if it had timed out: the thread that waits then aborts the association.

    It does so itself because pynetdicom's abort() from another thread leaves it waiting.
    """
    established.dimse.msg_queue.put((None, None))


def _count(study: Dataset) -> int | None:
    value = study.get("NumberOfStudyRelatedInstances")
    return int(value) if value is not None and str(value).strip().isdigit() else None
