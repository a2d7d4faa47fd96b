"""Forgetting a patient everywhere in the node: archive, spool and vault."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass

from client_plugin.archive.archive import Archive
from client_plugin.archive.keys import SiteKeys
from client_plugin.archive.sealing import SealBroken
from client_plugin.config import NodeConfig
from client_plugin.intake.attribution import Whose, whose
from client_plugin.intake.deidentify import Identity, NotInVault, Vault
from client_plugin.intake.deidentify.keyed import Keyed
from client_plugin.intake.spool import Spool


@dataclass(frozen=True)
class Gone:
    """What was destroyed.

    Parameters
    ----------
    known
        Whether there was anything of the patient.
    raw_copies
        Sealed originals in quarantine that were theirs.
    unclear
        Sealed originals in quarantine that went too, since nobody could tell whose they were.
    """

    known: bool
    studies: int
    instances: int
    raw_copies: int
    unclear: int


def forget(config: NodeConfig, pseudonym: str) -> Gone:
    """Destroy the patient's key first, then the rest; safe to repeat, and while the node runs.

    Instances of the patient that are still in the spool, or arrive later, are refused by the archive. Of what is in
    quarantine everything goes that is theirs or may be: a copy that nobody can attribute is nobody's loss but theirs.
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
        found = _quarantined(archive, spool, pseudonym, Keyed(keys), _identity(vault, pseudonym))
        for name in (*found[Whose.THEIRS], *found[Whose.UNKNOWN]):
            spool.delete(name)
        archive.catalogue.drop_quarantined([*found[Whose.THEIRS], *found[Whose.UNKNOWN]])
        if vault is not None:
            with contextlib.suppress(NotInVault):  # it is no pseudonym of ours
                vault.forget(pseudonym)
        theirs = len(copies) + len(found[Whose.THEIRS])
        return Gone(
            known=known or theirs > 0,
            studies=len(studies),
            instances=sum(study.instances for study in studies),
            raw_copies=theirs,
            unclear=len(found[Whose.UNKNOWN]),
        )
    finally:
        archive.close()


def _identity(vault: Vault | None, pseudonym: str) -> Identity | None:
    """Who the patient is, for finding their copies; the audit log says so."""
    if vault is None:
        return None
    try:
        return vault.reidentify(pseudonym, "forget: looking for raw copies in quarantine")
    except (NotInVault, SealBroken):
        return None


def _quarantined(
    archive: Archive, spool: Spool, pseudonym: str, keyed: Keyed, identity: Identity | None
) -> dict[Whose, list[str]]:
    """The names of all raw copies in quarantine, by whose they are."""
    found: dict[Whose, list[str]] = {kind: [] for kind in Whose}
    for row in archive.catalogue.quarantined():
        try:
            with spool.open(row.spool_name) as file:
                found[whose(file, pseudonym, keyed, identity)].append(row.spool_name)
        except FileNotFoundError:
            continue  # nothing is left of it
        except SealBroken:  # nobody can open it, but its bytes are somebody's
            found[Whose.UNKNOWN].append(row.spool_name)
    return found
