from pathlib import Path

import pytest

from demo import workspace
from demo.workspace import DemoError, Workspace


def nobody(_: str) -> bool:
    return False


def test_two_runs_in_one_second_do_not_share(tmp_path: Path) -> None:
    one = Workspace.create(tmp_path, running=nobody)
    two = Workspace.create(tmp_path, running=nobody)
    assert one.run != two.run
    assert one.cache == two.cache
    assert one.temporary.is_relative_to(tmp_path)


def test_old_runs_go_unless_they_run(tmp_path: Path) -> None:
    for name in ("20200101-000000", "20200102-000000", "20200103-000000", "20200104-000000"):
        (tmp_path / "runs" / name).mkdir(parents=True)
    Workspace.create(tmp_path, running=lambda name: name == "20200101-000000")
    left = {path.name for path in (tmp_path / "runs").iterdir()}
    assert {"20200101-000000", "20200103-000000", "20200104-000000"} < left
    assert "20200102-000000" not in left


def test_a_full_disk_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workspace, "NEEDED_BYTES", 1 << 60)
    with pytest.raises(DemoError, match="free some room"):
        Workspace.create(tmp_path, running=nobody)


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DemoError, match="cannot write"):
        Workspace.create(tmp_path / "file", running=nobody)
