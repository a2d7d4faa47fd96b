import stat
import sys
from multiprocessing import get_context
from pathlib import Path

import pytest

from client_plugin.archive.keys import KeyUnusable, SiteKeys, root_file
from client_plugin.config import ArchiveConfig, NodeConfig

HEX = "0f" * 32


def node(kit: Path, **archive: object) -> NodeConfig:
    return NodeConfig(site="hospital-a", kit=kit, archive=ArchiveConfig(**archive))


def test_first_use_makes_keys_that_only_we_can_read(tmp_path: Path) -> None:
    config = node(tmp_path)
    keys = SiteKeys.open(config)
    for path in (config.key_file, root_file(config)):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(config.key_file.parent.stat().st_mode) == 0o700
    assert SiteKeys.open(config) == keys
    assert keys.root not in root_file(config).read_bytes()


def _wrap_key(kit: Path) -> bytes:
    return SiteKeys.open(node(kit)).derive("uid")


def test_processes_that_start_at_once_agree(tmp_path: Path) -> None:
    with get_context("fork").Pool(4) as pool:
        assert len(set(pool.map(_wrap_key, [tmp_path] * 16))) == 1


def test_a_key_file_that_others_can_read_is_refused(tmp_path: Path) -> None:
    config = node(tmp_path)
    SiteKeys.open(config)
    config.key_file.chmod(0o640)
    with pytest.raises(KeyUnusable, match="chmod 600"):
        SiteKeys.open(config)


def test_another_site_key_does_not_open_the_root_secret(tmp_path: Path) -> None:
    config = node(tmp_path)
    SiteKeys.open(config)
    config.key_file.write_bytes(bytes(32))
    with pytest.raises(KeyUnusable, match="restore the key"):
        SiteKeys.open(config)


def test_a_short_key_is_refused(tmp_path: Path) -> None:
    config = node(tmp_path)
    SiteKeys.open(config)
    config.key_file.write_bytes(bytes(31))
    with pytest.raises(KeyUnusable, match="32 bytes"):
        SiteKeys.open(config)


def test_the_key_may_come_from_a_command_and_then_no_key_file_is_written(tmp_path: Path) -> None:
    config = node(tmp_path, key_command=(sys.executable, "-c", f"print('{HEX}')"))
    assert SiteKeys.open(config).site == bytes.fromhex(HEX)
    assert not config.key_file.exists()


@pytest.mark.parametrize(
    ("program", "named"),
    [("print('0f0f')", "64 hexadecimal"), ("print('patient')", "64 hexadecimal"), ("raise SystemExit(3)", "status 3")],
)
def test_a_command_that_gives_no_key_is_named_and_its_output_is_not(tmp_path: Path, program: str, named: str) -> None:
    with pytest.raises(KeyUnusable, match=named) as raised:
        SiteKeys.open(node(tmp_path, key_command=(sys.executable, "-c", program)))
    assert "patient" not in str(raised.value)


def test_a_command_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(KeyUnusable, match="FileNotFoundError"):
        SiteKeys.open(node(tmp_path, key_command=("/no/such/command",)))


def test_each_purpose_has_its_own_key_and_only_wrap_follows_the_site_key() -> None:
    one, two = SiteKeys(site=bytes(32), root=bytes(32)), SiteKeys(site=b"\1" * 32, root=bytes(32))
    purposes = ("uid", "pseudonym", "dates", "spool", "vault", "wrap")
    assert len({one.derive(p) for p in purposes}) == len(purposes)
    assert [p for p in purposes if one.derive(p) != two.derive(p)] == ["wrap"]
    with pytest.raises(ValueError, match="purpose"):
        one.derive("anything")  # type: ignore[arg-type]


def test_secrets_are_not_printed() -> None:
    assert "\\x" not in repr(SiteKeys(site=b"\xfe" * 32, root=b"\xfd" * 32))


def test_a_lost_root_secret_is_not_replaced_behind_an_archive(tmp_path: Path) -> None:
    config = node(tmp_path)
    SiteKeys.open(config)
    (config.objects / "P1").mkdir(parents=True)
    root_file(config).unlink()
    with pytest.raises(KeyUnusable, match="second pseudonym"):
        SiteKeys.open(config)
    assert not root_file(config).exists()


def test_a_lost_key_file_is_not_replaced_by_a_useless_one(tmp_path: Path) -> None:
    config = node(tmp_path)
    SiteKeys.open(config)
    config.key_file.unlink()
    with pytest.raises(KeyUnusable, match="restore it"):
        SiteKeys.open(config)
    assert not config.key_file.exists()
