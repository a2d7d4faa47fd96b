"""What a study is called at its PACS and here.

The catalogue knows only the second; the first is kept, sealed under the node's key, as long as a PACS has to be asked
about the study.
"""

from __future__ import annotations

from functools import lru_cache

from client_plugin.archive.keys import SiteKeys
from client_plugin.archive.sealing import seal, unseal
from client_plugin.config import NodeConfig
from client_plugin.intake.deidentify.keyed import Keyed


class StudyNames:
    """The two names of studies at one site."""

    def __init__(self, config: NodeConfig, keys: SiteKeys) -> None:
        self._keyed = Keyed(keys)
        self._key = keys.derive("spool")
        self._retained = config.deidentification.retain_uids
        self.sealed = lru_cache(maxsize=64)(self._sealed)  # many instances of a study come one after the other

    def here(self, original: str) -> str:
        """The Study Instance UID that the de-identified study has."""
        return original if self._retained else self._keyed.uid(original)

    def _sealed(self, original: str) -> bytes:
        """The original UID, for the catalogue."""
        return seal(original.encode("ascii", "replace"), self._key, _context(self.here(original)))

    def original(self, study_uid: str, sealed: bytes) -> str:
        """The original UID of the study that is called ``study_uid`` here; raises `SealBroken`."""
        return unseal(sealed, self._key, _context(study_uid)).decode("ascii")


def _context(study_uid: str) -> bytes:
    return b"study " + study_uid.encode()
