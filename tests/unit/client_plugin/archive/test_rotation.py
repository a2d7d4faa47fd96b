import sys
from pathlib import Path

import pytest

from client_plugin.archive import rotation
from client_plugin.archive.archive import Archive
from client_plugin.archive.keys import KeyUnusable, SiteKeys, next_file, root_file
from client_plugin.archive.rotation import rotate_key_file, rotate_to
from client_plugin.config import ArchiveConfig, NodeConfig

from .samples import ct

OLD, NEW = "0a" * 32, "0b" * 32


@pytest.fixture
def config(tmp_path: Path) -> NodeConfig:
    """A node with two patients in its archive."""
    node = NodeConfig(site="hospital-a", kit=tmp_path)
    fill(node)
    return node


def fill(node: NodeConfig) -> None:
    archive = Archive.open(node)
    archive.add(b"one", ct(1))
    archive.add(b"two", ct(1, study=2, pseudonym="P2"))
    archive.close()


def readable(node: NodeConfig) -> bool:
    archive = Archive.open(node)
    try:
        return [archive.read(ct(1, study=n).sop_instance_uid) for n in (1, 2)] == [b"one", b"two"]
    finally:
        archive.close()


def from_command(tmp_path: Path, key: str) -> NodeConfig:
    command = (sys.executable, "-c", f"print('{key}')")
    return NodeConfig(site="hospital-a", kit=tmp_path, archive=ArchiveConfig(key_command=command))


def test_rotation_changes_the_key_and_nothing_that_is_read(config: NodeConfig) -> None:
    before, key_file = SiteKeys.open(config), config.key_file.read_bytes()
    objects = {path: path.read_bytes() for path in config.objects.rglob("*.sealed")}
    assert rotate_key_file(config) == 2
    after = SiteKeys.open(config)
    assert config.key_file.read_bytes() != key_file
    assert after.site != before.site
    assert after.derive("pseudonym") == before.derive("pseudonym")
    assert {path: path.read_bytes() for path in config.objects.rglob("*.sealed")} == objects
    assert readable(config)


def test_the_old_key_opens_nothing_any_more(config: NodeConfig) -> None:
    old = SiteKeys.open(config)
    rotate_key_file(config)
    with pytest.raises(ValueError, match="another key"):
        Archive.open(config, keys=old).read(ct(1).sop_instance_uid)
    config.key_file.write_bytes(old.site)
    with pytest.raises(KeyUnusable, match="does not open"):
        SiteKeys.open(config)


@pytest.mark.parametrize("step", ["_rewrap", "sync_folder", "_take_over_root"])
def test_an_interrupted_rotation_is_finished_by_running_it_again(
    config: NodeConfig, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    with monkeypatch.context() as patched:
        done = getattr(rotation, step)

        def interrupted(*arguments: object) -> None:
            done(*arguments)
            raise KeyboardInterrupt

        patched.setattr(rotation, step, interrupted)
        with pytest.raises(KeyboardInterrupt):
            rotate_key_file(config)
    if step == "_rewrap":
        with pytest.raises(KeyUnusable, match="run it again"):
            SiteKeys.open(config)
    else:
        assert readable(config)
    rotate_key_file(config)
    assert readable(config)
    assert not next_file(config.key_file).exists()
    assert not next_file(root_file(config)).exists()


def test_a_key_in_use_is_not_replaced(config: NodeConfig) -> None:
    archive = Archive.open(config)
    with pytest.raises(KeyUnusable, match="stop the node"):
        rotate_key_file(config)
    archive.close()
    rotate_key_file(config)


def test_rotation_of_a_key_that_a_command_gives(tmp_path: Path) -> None:
    old, new = from_command(tmp_path, OLD), from_command(tmp_path, NEW)
    fill(old)
    with pytest.raises(KeyUnusable, match="key_command"):
        rotate_key_file(old)
    assert rotate_to(old, bytes.fromhex(NEW)) == 2
    assert readable(new)
    with pytest.raises(KeyUnusable, match="does not open"):
        SiteKeys.open(old)
