"""Calling a DICOMweb origin server: one session, with the configured token, authorities and timeouts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import requests
from dicomweb_client import DICOMwebClient

from client_plugin.config import NodeConfig, PullConfig, SendConfig


class _Session(requests.Session):
    """Checks certificates with the configured authorities, whatever ``REQUESTS_CA_BUNDLE`` says.

    requests lets that variable win over ``Session.verify`` (psf/requests#3829).
    """

    authorities: str | None = None

    def merge_environment_settings(self, *arguments: Any, **named: Any) -> Any:
        settings = super().merge_environment_settings(*arguments, **named)
        if self.authorities is not None:
            settings["verify"] = self.authorities
        return settings


@contextmanager
def web_client(
    config: NodeConfig, section: PullConfig | SendConfig, url: str, read_timeout: float
) -> Iterator[DICOMwebClient]:
    """A client of the origin server at ``url``.

    Parameters
    ----------
    section
        Names the files with the bearer token and the authorities.
    read_timeout
        Seconds without a byte of an answer.

    Raises
    ------
    OSError
        The token file cannot be read.
    """
    with _Session() as session:
        if section.dicomweb_token_file is not None:
            token = config.path(section.dicomweb_token_file).read_text(encoding="ascii").strip()
            session.headers["Authorization"] = f"Bearer {token}"
        if section.dicomweb_ca_certificates is not None:
            session.authorities = str(config.path(section.dicomweb_ca_certificates))
        client = DICOMwebClient(url, session=session, timeout=(config.dicom.acse_timeout, read_timeout))
        client.set_http_retry_params(retry=False)  # when to try again is decided by whoever calls
        yield client
