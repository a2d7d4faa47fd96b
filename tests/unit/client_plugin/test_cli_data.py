"""The commands about a hospital's data: pull, pulls, quarantine, forget, rotate-key."""

import json
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path

import pytest

from client_plugin.archive.archive import Archive, NotInArchive
from client_plugin.archive.keys import SiteKeys
from client_plugin.archive.pulls import NewPull
from client_plugin.archive.received import NewReceived
from client_plugin.cli import main
from client_plugin.config import NodeConfig
from client_plugin.intake.deidentify import Identity, NotInVault, Vault
from client_plugin.intake.spool import Origin, Spool
from tests.unit.client_plugin.archive.samples import CT, EXPLICIT_LE, ct


class Reason(StrEnum):
    UNREADABLE = "unreadable"


@pytest.fixture
def config(tmp_path: Path) -> NodeConfig:
    (tmp_path / "local").mkdir()
    (tmp_path / "local" / "fedpacs.yaml").write_text(
        "site: hospital-a\ndicom: {peers: [{ae_title: PACS, addresses: [127.0.0.1], host: 127.0.0.1, port: 1}]}\n"
    )
    return NodeConfig.load(tmp_path)


def fedpacs(config: NodeConfig, name: str, *arguments: str) -> int:
    return main([name, *arguments, "--kit", str(config.kit)])


def set_aside(config: NodeConfig, pseudonym: str | None) -> Path:
    """An instance in quarantine; its sealed file."""
    spool = Spool(config.spool, SiteKeys.open(config).derive("spool"))
    spool.take_slot()
    incoming = spool.begin(Origin(CT, "1.2.3", EXPLICIT_LE, "PACS"))
    incoming.write(b"data set")
    spooled = incoming.finish()
    spool.publish([spooled.name])
    archive = Archive.open(config)
    new = NewReceived(
        spool_name=spooled.name,
        uid_digest=spooled.name,
        content_digest="c",
        sop_class_uid=CT,
        transfer_syntax_uid=EXPLICIT_LE,
        size=8,
        source_ae="PACS",
        received_at=datetime.now(UTC),
    )
    archive.catalogue.record_received([new])
    archive.catalogue.quarantine(archive.catalogue.claim("w", 1)[0], Reason.UNREADABLE, pseudonym)
    archive.close()
    spool.close()
    return spool.path(spooled.name)


def test_forget_destroys_everything_and_says_what(config: NodeConfig, capsys: pytest.CaptureFixture[str]) -> None:
    vault = Vault.open(config, SiteKeys.open(config))
    assert vault is not None
    vault.remember("P1", Identity("MRN", "", "Doe^Jane", "", "", -5))
    archive = Archive.open(config)
    archive.add(b"one", ct(1))
    archive.close()
    theirs, nobodys = set_aside(config, "P1"), set_aside(config, None)
    assert fedpacs(config, "forget", "P1", "--yes") == 0
    said = capsys.readouterr().out
    assert "1 studies with 1 instances and 1 raw copies destroyed" in said
    assert "1 raw copies in quarantine were destroyed too" in said
    assert not theirs.exists()
    assert not nobodys.exists()
    with pytest.raises(NotInArchive):
        Archive.open(config).read(ct(1).sop_instance_uid)
    with pytest.raises(NotInVault):
        vault.reidentify("P1", "a test")
    assert fedpacs(config, "forget", "P2", "--yes") == 1


def test_forget_asks(config: NodeConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = Archive.open(config)
    archive.add(b"one", ct(1))
    archive.close()
    monkeypatch.setattr("builtins.input", lambda _: "yes")
    assert fedpacs(config, "forget", "P1") == 1
    assert Archive.open(config).read(ct(1).sop_instance_uid) == b"one"


def test_quarantine_is_listed_released_and_dropped(config: NodeConfig, capsys: pytest.CaptureFixture[str]) -> None:
    kept = set_aside(config, None)
    assert fedpacs(config, "quarantine") == 0
    assert "unreadable" in capsys.readouterr().out
    assert fedpacs(config, "quarantine", "--release", "--reason", "other") == 0
    assert "0 of 0" in capsys.readouterr().out
    assert fedpacs(config, "quarantine", "--release") == 0
    assert "1 of 1" in capsys.readouterr().out
    assert kept.exists()
    dropped = set_aside(config, None)  # the one released is claimed first, and set aside again
    assert fedpacs(config, "quarantine", "--drop") == 0
    assert not kept.exists()
    assert dropped.exists()  # it waits in the queue


def test_rotate_key(config: NodeConfig, capsys: pytest.CaptureFixture[str]) -> None:
    archive = Archive.open(config)
    archive.add(b"one", ct(1))
    assert fedpacs(config, "rotate-key") == 1
    assert "stop the node" in capsys.readouterr().err
    archive.close()
    before = config.key_file.read_bytes()
    assert fedpacs(config, "rotate-key") == 0
    assert "1 patients' keys rewrapped" in capsys.readouterr().out
    assert config.key_file.read_bytes() != before
    assert Archive.open(config).read(ct(1).sop_instance_uid) == b"one"


def test_pulls_lists_the_table(config: NodeConfig, capsys: pytest.CaptureFixture[str]) -> None:
    archive = Archive.open(config)
    new = NewPull(study_digest="d", study_uid="2.25.12345678", target=b"sealed", source="PACS", expected=7)
    archive.catalogue.enqueue_pulls("job1", [new], datetime.now(UTC))
    archive.close()
    assert fedpacs(config, "pulls", "--json") == 0
    (pull,) = json.loads(capsys.readouterr().out)
    assert (pull["job"], pull["state"], pull["expected"]) == ("job1", "waiting", 7)
    assert "target" not in pull
    assert fedpacs(config, "pulls", "job1") == 0
    assert "0 of 7" in capsys.readouterr().out.replace("\n", " ")
    assert fedpacs(config, "pulls", "--cancel") == 1
    assert fedpacs(config, "pulls", "job1", "--cancel") == 0
    assert "1 studies given up" in capsys.readouterr().out
    assert archive.catalogue.pulls()[0].reason == "cancelled"


def test_pull_names_what_is_wrong(config: NodeConfig, capsys: pytest.CaptureFixture[str]) -> None:
    cohort = config.kit / "cohort.yaml"
    cohort.write_text("modality: CT\n")
    assert fedpacs(config, "pull", str(cohort)) == 1
    assert "unreachable: check host, port" in capsys.readouterr().err
    cohort.write_text("modalities: CT\n")
    assert fedpacs(config, "pull", str(cohort)) == 1
    assert "modalities" in capsys.readouterr().err


def test_pull_without_a_cohort_and_without_work_ends(config: NodeConfig) -> None:
    assert fedpacs(config, "pull") == 0
