"""The files that a session leaves for its successor: sealed, private, and gone when nobody needs them."""

from __future__ import annotations

import os
import stat
import time
from pathlib import Path

import pytest
import yaml

from client_plugin.config import NodeConfig
from client_plugin.privacy.kept import MODEL_DAYS, Kept, folder_of, has_keys, sweep

JOB = "6dcf7a2c-0e51-4c4a-8b1a-1d8f0b7a9d11"
SECRET = b"the hospitals' group key" * 9


@pytest.fixture
def config(tmp_path: Path) -> NodeConfig:
    (tmp_path / "local").mkdir()
    (tmp_path / "local" / "fedpacs.yaml").write_text(yaml.safe_dump({"site": "hospital-a"}))
    return NodeConfig.load(tmp_path)


def files(config: NodeConfig) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder_of(config).glob("*")}


def test_what_is_kept_is_sealed_private_and_readable_by_the_next_process(config: NodeConfig) -> None:
    Kept.open(config, JOB).write_keys(SECRET)
    Kept.open(config, JOB).write_model(b"a model")
    assert has_keys(config, JOB)
    for name, content in files(config).items():
        assert name in (f"{JOB}.keys", f"{JOB}.model")
        assert b"group key" not in content
        assert b"a model" not in content
        assert stat.S_IMODE((folder_of(config) / name).stat().st_mode) == 0o600
    assert stat.S_IMODE(folder_of(config).stat().st_mode) == 0o700
    again = Kept.open(config, JOB)
    assert again.read("keys") == SECRET
    assert again.read("model") == b"a model"
    assert again.of("another").read("model") is None


def test_a_file_of_another_job_kind_or_node_does_not_open(config: NodeConfig, caplog: pytest.LogCaptureFixture) -> None:
    kept = Kept.open(config, JOB)
    kept.write_keys(SECRET)
    folder = folder_of(config)
    for name in ("another.keys", f"{JOB}.model"):
        (folder / name).write_bytes((folder / f"{JOB}.keys").read_bytes())
    assert kept.of("another").read("keys") is None
    assert kept.read("model") is None
    assert Kept(folder, bytes(32), JOB).read("keys") is None
    assert "does not open with this node's keys" in caplog.text


def test_keys_are_written_when_they_changed_and_destroyed_on_demand(config: NodeConfig) -> None:
    kept = Kept.open(config, JOB)
    kept.write_keys(SECRET)
    first = files(config)
    kept.write_keys(SECRET)
    assert files(config) == first
    kept.write_keys(SECRET + b"!")
    assert files(config) != first
    kept.write_keys(None)
    assert files(config) == {}
    assert not has_keys(config, JOB)
    kept.destroy("keys")  # twice is no error


def test_at_the_clients_start_everything_goes_but_models_that_may_be_resumed(config: NodeConfig) -> None:
    kept = Kept.open(config, JOB)
    kept.write_keys(SECRET)
    kept.write_model(b"a model")
    kept.of("old").write_model(b"a model")
    long_ago = time.time() - (MODEL_DAYS + 1) * 86400
    os.utime(folder_of(config) / "old.model", (long_ago, long_ago))
    (folder_of(config) / ".new-half").write_bytes(b"half")
    assert sorted(sweep(config)) == [".new-half", f"{JOB}.keys", "old.model"]
    assert list(files(config)) == [f"{JOB}.model"]


@pytest.mark.parametrize("job", ["../up", "", "a/b", "a" * 65])
def test_a_job_id_is_no_path(config: NodeConfig, job: str) -> None:
    with pytest.raises(ValueError, match="job's id"):
        Kept.open(config, job)
    assert not has_keys(config, job)
