"""Delivery by STOW-RS (PS3.18)."""

from __future__ import annotations

from collections.abc import Sequence

import requests
from dicomweb_client import DICOMwebClient
from pydicom.dataset import Dataset, FileDataset

from client_plugin.config import NodeConfig
from client_plugin.dicom.send import dimse
from client_plugin.dicom.send.outbox import SendReason
from client_plugin.dicom.web import web_client

_HTTP = {
    401: SendReason.NOT_AUTHORISED,
    403: SendReason.NOT_AUTHORISED,
    404: SendReason.NOT_SUPPORTED,
    405: SendReason.NOT_SUPPORTED,
    408: SendReason.OUT_OF_RESOURCES,
    415: SendReason.NOT_SUPPORTED,
    429: SendReason.OUT_OF_RESOURCES,
    501: SendReason.NOT_SUPPORTED,
    507: SendReason.OUT_OF_RESOURCES,
}


class WebDelivery:
    """Delivers to ``send.dicomweb_url``, one request for each instance, so that one that is refused stops no other."""

    def __init__(self, config: NodeConfig) -> None:
        self._config = config

    def deliver(self, batch: Sequence[FileDataset]) -> list[SendReason | None]:
        """Send each instance; what went wrong with each, or None."""
        url = self._config.send.dicomweb_url
        if url is None:
            return [SendReason.UNKNOWN_DESTINATION] * len(batch)
        with web_client(self._config, self._config.send, url, self._config.dicom.dimse_timeout) as client:
            return [_store(client, instance) for instance in batch]


def outcome(answer: Dataset) -> SendReason | None:
    """What a Store Instances Response Module says of the one instance (PS3.18, table 6.6.1-1)."""
    failed = answer.get("FailedSOPSequence")
    if not failed:
        return None
    return dimse.outcome(int(failed[0].get("FailureReason", 0xC000))) or SendReason.REFUSED


def http_outcome(status: int) -> SendReason:
    """What the HTTP status of a failure means; one of the server's own is worth another try.

    Examples
    --------
    >>> http_outcome(503), http_outcome(409)
    (<SendReason.OUT_OF_RESOURCES: 'destination-out-of-resources'>, <SendReason.REFUSED: 'refused'>)
    """
    return _HTTP.get(status, SendReason.OUT_OF_RESOURCES if status >= 500 else SendReason.REFUSED)


def _store(client: DICOMwebClient, instance: FileDataset) -> SendReason | None:
    try:
        return outcome(client.store_instances([instance]))
    except requests.HTTPError as error:
        return http_outcome(error.response.status_code) if error.response is not None else SendReason.LOST
    except (requests.ConnectTimeout, requests.ConnectionError):
        return SendReason.UNREACHABLE
    except requests.RequestException:
        return SendReason.LOST
