from pathlib import Path

import pytest

from client_plugin.archive.keys import SiteKeys
from client_plugin.archive.sealing import SealBroken
from client_plugin.config import DeidentificationConfig, NodeConfig
from client_plugin.intake.deidentify import Identity, NotInVault, Vault

ERIKA = Identity("4711", "Klinikum", "Mustermann^Erika", "19570312", "F", -400)
PSEUDONYM = "PABCDEFGH23456789"


@pytest.fixture
def vault(tmp_path: Path) -> Vault:
    return Vault(tmp_path / "vault", bytes(32))


def test_there_and_back(vault: Vault) -> None:
    vault.remember(PSEUDONYM, ERIKA)
    assert vault.reidentify(PSEUDONYM, "incidental finding") == ERIKA


def test_the_first_one_stays(vault: Vault, tmp_path: Path) -> None:
    vault.remember(PSEUDONYM, ERIKA)
    Vault(tmp_path / "vault", bytes(32)).remember(PSEUDONYM, Identity("1", "", "", "", "", -1))
    assert vault.reidentify(PSEUDONYM, "check") == ERIKA


def test_nothing_is_readable_without_the_key(vault: Vault, tmp_path: Path) -> None:
    vault.remember(PSEUDONYM, ERIKA)
    for path in (tmp_path / "vault").iterdir():
        assert b"Mustermann" not in path.read_bytes()
        assert path.stat().st_mode & 0o077 == 0
    with pytest.raises(SealBroken):
        Vault(tmp_path / "vault", b"\1" * 32).reidentify(PSEUDONYM, "curiosity")


def test_files_cannot_be_exchanged(vault: Vault, tmp_path: Path) -> None:
    vault.remember(PSEUDONYM, ERIKA)
    (tmp_path / "vault" / f"{PSEUDONYM}.sealed").rename(tmp_path / "vault" / "PZZZ.sealed")
    with pytest.raises(SealBroken):
        vault.reidentify("PZZZ", "check")


def test_the_identity_shows_in_no_representation() -> None:
    assert "Mustermann" not in repr(ERIKA)


def test_every_look_is_audited_found_or_not(vault: Vault) -> None:
    vault.remember(PSEUDONYM, ERIKA)
    vault.reidentify(PSEUDONYM, "incidental finding")
    with pytest.raises(NotInVault):
        vault.reidentify("PUNKNOWN", "typing error")
    looks = list(vault.looks())
    assert [(e["pseudonym"], e["reason"], e["outcome"]) for e in looks] == [
        (PSEUDONYM, "incidental finding", "found"),
        ("PUNKNOWN", "typing error", "unknown"),
    ]


def test_no_look_without_a_reason(vault: Vault) -> None:
    vault.remember(PSEUDONYM, ERIKA)
    with pytest.raises(ValueError, match="say why"):
        vault.reidentify(PSEUDONYM, " ")
    assert list(vault.looks()) == []


@pytest.mark.parametrize("change", ["edit", "remove"])
def test_the_audit_log_cannot_be_changed_unseen(vault: Vault, tmp_path: Path, change: str) -> None:
    vault.remember(PSEUDONYM, ERIKA)
    for reason in ("one", "two", "three"):
        vault.reidentify(PSEUDONYM, reason)
    log = tmp_path / "vault" / "audit.jsonl"
    lines = log.read_text().splitlines()
    lines = [lines[0].replace("one", "eins"), *lines[1:]] if change == "edit" else [lines[0], lines[2]]
    log.write_text("\n".join(lines) + "\n")
    with pytest.raises(ValueError, match="does not follow"):
        list(vault.looks())


def test_the_forgotten_cannot_be_found(vault: Vault) -> None:
    vault.remember(PSEUDONYM, ERIKA)
    vault.forget(PSEUDONYM)
    vault.forget(PSEUDONYM)
    with pytest.raises(NotInVault):
        vault.reidentify(PSEUDONYM, "check")


@pytest.mark.parametrize("pseudonym", ["../keys/root", "", "a/b"])
def test_a_pseudonym_is_no_path(vault: Vault, pseudonym: str) -> None:
    with pytest.raises(NotInVault, match="letters and digits"):
        vault.reidentify(pseudonym, "check")


def test_a_site_can_have_none() -> None:
    config = NodeConfig(site="a", deidentification=DeidentificationConfig(reidentification=False))
    assert Vault.open(config, SiteKeys(bytes(32), bytes(32))) is None
