"""Pulling with QIDO-RS and WADO-RS (PS3.18)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from io import BytesIO
from typing import Any

import requests
from dicomweb_client import DICOMwebClient
from pydicom.dataset import Dataset, FileDataset
from pydicom.errors import InvalidDicomError
from urllib3.exceptions import ReadTimeoutError

from client_plugin.config import ConfigError, NodeConfig
from client_plugin.dicom.pull.query import PullQuery, matching_keys, series_match, study_matches
from client_plugin.dicom.pull.source import FoundStudy, PullError, PullReason, Watch
from client_plugin.dicom.status import StoreStatus
from client_plugin.dicom.storing import Store
from client_plugin.dicom.web import web_client
from client_plugin.intake.spool import Origin

PAGE = 200
"""Answers asked for at a time."""
_STUDY_FIELDS = ("StudyDescription", "ModalitiesInStudy", "NumberOfStudyRelatedInstances")
_AS_STORED = (("application/dicom", "*"),)
_PREAMBLE = 132
_GROUP_LENGTH = 12  # the element (0002,0000) itself


def problem_of(status: int) -> PullReason:
    """What an HTTP status of a failure means.

    Examples
    --------
    >>> problem_of(503)
    <PullReason.OUT_OF_RESOURCES: 'source-out-of-resources'>
    """
    known = {
        401: PullReason.NOT_AUTHORISED,
        403: PullReason.NOT_AUTHORISED,
        404: PullReason.NOT_FOUND,
        405: PullReason.NOT_SUPPORTED,
        406: PullReason.NOT_SUPPORTED,
        410: PullReason.NOT_FOUND,
        429: PullReason.OUT_OF_RESOURCES,
        501: PullReason.NOT_SUPPORTED,
        503: PullReason.OUT_OF_RESOURCES,
        507: PullReason.OUT_OF_RESOURCES,
    }
    return known.get(status, PullReason.FAILED)


class WebSource:
    """A DICOMweb origin server.

    An instance is held in memory while it comes; objects that are too large for that are for C-MOVE.

    Parameters
    ----------
    config
        ``pull.dicomweb_url`` and ``pull.dicomweb_token_file``.
    name
        What the source is called in the catalogue: an AE title.
    store
        The intake that instances go to; None: the server is only asked.
    """

    def __init__(self, config: NodeConfig, name: str, store: Store | None) -> None:
        self._config = config
        self._name = name
        self._store = store

    def find(self, query: PullQuery) -> Iterator[FoundStudy]:
        """See `client_plugin.dicom.pull.source.Source`."""
        seen: set[str] = set()
        with _problems(Watch()), self._client() as client:
            for keys in matching_keys(query):
                pages = _pages(client.search_for_studies, "StudyInstanceUID", search_filters=keys, fields=_STUDY_FIELDS)
                for study in pages:
                    uid = str(study.StudyInstanceUID)
                    if uid in seen or not study_matches(query, study):
                        continue
                    seen.add(uid)
                    if not query.about_series or series_match(query, self._series(client, uid)):
                        count = study.get("NumberOfStudyRelatedInstances")
                        yield FoundStudy(uid, int(count) if count is not None else None)

    def instances(self, study_uid: str, watch: Watch) -> dict[str, str]:
        """See `client_plugin.dicom.pull.source.Source`."""
        with _problems(watch), self._client() as client:
            pages = _pages(client.search_for_instances, "SOPInstanceUID", study_instance_uid=study_uid)
            return {str(one.SOPInstanceUID): str(one.get("SOPClassUID", "")) for one in pages}

    def retrieve(self, study_uid: str, missing: Mapping[str, str], watch: Watch) -> int | None:
        """See `client_plugin.dicom.pull.source.Source`."""
        if self._store is None:
            raise RuntimeError("a source that is only asked does not retrieve")
        with _problems(watch), self._client() as client:
            for instance in client.iter_study(study_uid, media_types=_AS_STORED):
                watch.news()
                if watch.stopped is not None:
                    raise PullError(watch.stopped)
                if instance.get("SOPInstanceUID") not in missing:
                    continue
                if self._keep(instance, self._store) == StoreStatus.OUT_OF_RESOURCES:
                    raise PullError(PullReason.REFUSED_HERE)
        return None  # it is known which instances came, and nobody counted others

    @contextmanager
    def _client(self) -> Iterator[DICOMwebClient]:
        pull = self._config.pull
        if pull.dicomweb_url is None:
            raise ConfigError("pull.dicomweb_url is needed to pull by DICOMweb")
        with web_client(self._config, pull, pull.dicomweb_url, pull.stall_seconds) as client:
            yield client

    @staticmethod
    def _series(client: DICOMwebClient, study_uid: str) -> list[Dataset]:
        fields = ("BodyPartExamined", "SeriesDescription")
        return list(_pages(client.search_for_series, "SeriesInstanceUID", study_instance_uid=study_uid, fields=fields))

    def _keep(self, instance: FileDataset, store: Store) -> StoreStatus:
        meta = instance.file_meta
        origin = Origin(
            sop_class_uid=str(meta.MediaStorageSOPClassUID),
            sop_instance_uid=str(meta.MediaStorageSOPInstanceUID),
            transfer_syntax_uid=str(meta.TransferSyntaxUID),
            source_ae=self._name,
        )
        sink = store.begin(origin)
        sink.write(encoded_data_set(instance))
        return store.answer(sink, origin.sop_class_uid)


def encoded_data_set(instance: FileDataset) -> bytes:
    """The data set as a C-STORE would carry it: without preamble and file meta information."""
    part10 = BytesIO()
    instance.save_as(part10, enforce_file_format=True)
    start = _PREAMBLE + _GROUP_LENGTH + int(instance.file_meta.FileMetaInformationGroupLength)
    return part10.getvalue()[start:]


def _pages(search: Callable[..., list[dict[str, Any]]], key: str, **arguments: Any) -> Iterator[Dataset]:
    """Every answer to a search; ends as well with a server that ignores ``offset``."""
    seen: set[str] = set()
    while True:
        page = [Dataset.from_json(answer) for answer in search(limit=PAGE, offset=len(seen), **arguments)]
        new = [answer for answer in page if answer.get(key) and str(answer[key].value) not in seen]
        seen |= {str(answer[key].value) for answer in new}
        yield from new
        if not new or len(page) < PAGE:
            return


@contextmanager
def _problems(watch: Watch) -> Iterator[None]:
    """Every failure is a `PullError`; nothing of its text, which may quote the URL of a study, goes further."""
    try:
        yield
    except requests.HTTPError as error:
        status = error.response.status_code if error.response is not None else 0
        raise PullError(problem_of(status)) from None
    except (requests.ConnectTimeout, requests.exceptions.SSLError):
        raise PullError(watch.stopped or PullReason.UNREACHABLE) from None
    except requests.ReadTimeout:
        raise PullError(PullReason.STALLED) from None
    except requests.exceptions.ChunkedEncodingError:
        raise PullError(watch.stopped or PullReason.LOST) from None
    except requests.ConnectionError as error:
        silent = any(isinstance(cause, ReadTimeoutError) for cause in error.args)  # in the middle of an answer
        raise PullError(watch.stopped or (PullReason.STALLED if silent else PullReason.UNREACHABLE)) from None
    except (requests.RequestException, InvalidDicomError):
        raise PullError(watch.stopped or PullReason.FAILED) from None
