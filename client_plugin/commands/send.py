"""Send DICOM files to a peer (C-STORE), or to send.dicomweb_url (STOW-RS) as the destination DICOMWEB.

The files go into the outbox, sealed; what is in there survives a restart and is tried until it has arrived or cannot:
`fedpacs outbox` lists it. With send.enabled the node delivers; otherwise this command does, as long as it runs.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import pydicom
from pydicom.errors import InvalidDicomError

from client_plugin.archive.keys import SiteKeys
from client_plugin.commands import add_kit, load
from client_plugin.config import ConfigError, NodeConfig
from client_plugin.dicom.send.outbox import Outbox, SendState
from client_plugin.dicom.send.sender import Sender, delivery, only_one, outbox

_LOOK = 0.2  # seconds between looks at the outbox


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """``FILE...``, ``--to``, ``--no-wait`` and ``--kit``."""
    parser.add_argument("files", type=Path, nargs="+", metavar="FILE", help="DICOM files, or folders of them")
    parser.add_argument("--to", required=True, metavar="AE", help="AE title of a peer with host and port, or DICOMWEB")
    parser.add_argument("--no-wait", action="store_true", help="leave the delivery to the node")
    add_kit(parser)


def run(args: argparse.Namespace) -> int:
    """Put the files into the outbox and follow them; the exit code is 1 when one could not be delivered."""
    config = load(args)
    if delivery(config, args.to) is None:
        raise ConfigError(f"{args.to}: no peer of this AE title has host and port in dicom.peers")
    files = [_checked(path) for path in _expanded(args.files)]
    jobs = outbox(config, SiteKeys.open(config))
    waiting = {jobs.put(path.read_bytes(), args.to).id for path in files}
    if args.no_wait:
        print(f"{len(waiting)} in the outbox" + ("" if config.send.enabled else "; send.enabled is off: nobody sends"))
        return 0
    sent, reasons = _followed(config, jobs, waiting)
    print(f"{sent} of {len(waiting)} sent to {args.to}")
    for reason in sorted(set(reasons)):
        print(f"{reasons.count(reason)} × {reason}: `fedpacs outbox` lists them and can try again")
    return 0 if sent == len(waiting) else 1


def _expanded(paths: list[Path]) -> list[Path]:
    found = [file for path in paths for file in (sorted(path.rglob("*")) if path.is_dir() else [path])]
    return [path for path in found if not path.is_dir()]


def _checked(path: Path) -> Path:
    """A DICOM file, or an error before anything is in the outbox."""
    try:
        pydicom.dcmread(path, stop_before_pixels=True, specific_tags=["SOPInstanceUID"])
    except InvalidDicomError:
        raise ConfigError(f"{path} is no DICOM file: nothing was sent") from None
    return path


def _followed(config: NodeConfig, jobs: Outbox, ids: set[str]) -> tuple[int, list[str]]:
    """Wait for the end of some jobs, and deliver while nobody else does; how many were sent, and why others not."""
    while True:
        ended = [job for job in jobs.jobs() if job.id in ids and job.state is not SendState.WAITING]
        if len(ended) == len(ids):
            return sum(job.state is SendState.SENT for job in ended), [job.reason for job in ended if job.reason]
        with only_one(config) as mine:
            if mine:
                Sender(config, jobs).work()
        time.sleep(_LOOK)
