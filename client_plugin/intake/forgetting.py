"""Forgetting a patient everywhere in the node: archive, spool and vault."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass

from client_plugin.archive.archive import Archive
from client_plugin.archive.keys import SiteKeys
from client_plugin.config import NodeConfig
from client_plugin.intake.deidentify import NotInVault, Vault
from client_plugin.intake.spool import Spool


@dataclass(frozen=True)
class Gone:
    """What was destroyed.

    Parameters
    ----------
    known
        Whether there was anything of the patient.
    raw_copies
        Sealed originals in quarantine that were known to be theirs.
    unattributed
        Sealed originals in quarantine of which nobody knows whose they are.
    """

    known: bool
    studies: int
    instances: int
    raw_copies: int
    unattributed: int


def forget(config: NodeConfig, pseudonym: str) -> Gone:
    """Destroy the patient's key first, then the rest; safe to repeat, and while the node runs.

    Instances of the patient that are still in the spool, or arrive later, are refused by the archive.
    """
    keys = SiteKeys.open(config)
    archive = Archive.open(config, keys)
    try:
        studies = [study for study in archive.catalogue.studies() if study.pseudonym == pseudonym]
        known = archive.catalogue.patient_key(pseudonym) is not None
        spool = Spool(config.spool, keys.derive("spool"))
        copies = archive.forget(pseudonym)
        for name in copies:
            spool.delete(name)
        vault = Vault.open(config, keys)
        if vault is not None:
            with contextlib.suppress(NotInVault):  # it is no pseudonym of ours
                vault.forget(pseudonym)
        return Gone(
            known=known or bool(copies),
            studies=len(studies),
            instances=sum(study.instances for study in studies),
            raw_copies=len(copies),
            unattributed=len(archive.catalogue.quarantined()),
        )
    finally:
        archive.close()
