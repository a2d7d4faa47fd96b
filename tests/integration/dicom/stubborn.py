"""A PACS that misbehaves: pynetdicom's service class user/provider with a script per study."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pydicom.dataset import Dataset
from pynetdicom import AE, build_context, evt
from pynetdicom.sop_class import (
    CTImageStorage,
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelMove,
)

_UNIQUE = {"STUDY": "StudyInstanceUID", "SERIES": "SeriesInstanceUID", "IMAGE": "SOPInstanceUID"}


class StubbornPacs:
    """Answers C-FIND truthfully and C-MOVE as ``ways`` say.

    Parameters
    ----------
    datasets
        What it has.
    destination
        Port on the loopback interface that every C-MOVE goes to.
    ways
        Study Instance UID → "slow" (says nothing for ``pause`` seconds, then sends), "stall" (never answers), "lie"
        (success, nothing sent), "drop" (ends the association), or "good".
    pause
        Seconds.
    """

    def __init__(self, datasets: list[Dataset], destination: int, ways: dict[str, str], pause: float) -> None:
        self._datasets = datasets
        self._destination = destination
        self._ways = ways
        self._pause = pause
        self._ended = threading.Event()
        self.moves: list[str] = []
        self.port = 0

    @contextmanager
    def running(self) -> Iterator[StubbornPacs]:
        entity = AE("STUBBORN")
        entity.supported_contexts = [
            build_context(StudyRootQueryRetrieveInformationModelFind),
            build_context(StudyRootQueryRetrieveInformationModelMove),
        ]
        entity.requested_contexts = [build_context(CTImageStorage)]
        entity.dimse_timeout = entity.network_timeout = None
        handlers = [(evt.EVT_C_FIND, self._find), (evt.EVT_C_MOVE, self._move)]
        server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
        self.port = server.socket.getsockname()[1]
        try:
            yield self
        finally:
            self._ended.set()
            server.shutdown()

    def _find(self, event: Any) -> Iterator[tuple[int, Dataset | None]]:
        asked = event.identifier
        unique = _UNIQUE[asked.QueryRetrieveLevel]
        answered = set()
        for ds in self._datasets:
            wanted = [k for k in _UNIQUE.values() if asked.get(k) and ds[k].value != asked[k].value]
            if wanted or ds[unique].value in answered:
                continue
            answered.add(ds[unique].value)
            answer = Dataset()
            answer.QueryRetrieveLevel = asked.QueryRetrieveLevel
            for element in asked:
                if element.keyword in ds:
                    answer[element.tag] = ds[element.tag]
            yield 0xFF00, answer

    def _move(self, event: Any) -> Iterator[Any]:
        study = str(event.identifier.StudyInstanceUID)
        self.moves.append(study)
        way = self._ways.get(study, "good")
        if way == "stall":
            self._ended.wait(120)
        if way == "drop":
            event.assoc.abort()
        yield ("127.0.0.1", self._destination)
        if way in ("lie", "drop", "stall"):
            yield 0
            return
        if way == "slow":
            time.sleep(self._pause)
        datasets = [ds for ds in self._datasets if ds.StudyInstanceUID == study]
        yield len(datasets)
        for ds in datasets:
            yield 0xFF00, ds
