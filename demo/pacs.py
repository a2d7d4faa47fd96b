"""One hospital's PACS: a process of its own that sends a study to the hospital's node by C-STORE (PS3.4 Annex B).

It uses pynetdicom directly and nothing of the node, so that what the node accepts is judged from outside.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydicom.dataset import FileDataset
from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian, JPEG2000Lossless, SegmentationStorage
from pynetdicom import AE
from pynetdicom.association import Association
from pynetdicom.presentation import PresentationContext, build_context
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from demo.data import DataUnavailable, fetch
from demo.studies import SITES, count, instances

TRIES = 3
"""Associations on which one instance is tried, as the retry queue of a PACS does."""

_ANSWER_SECONDS = 30

_STATUS = {
    0x0117: "the SOP Instance UID is invalid",
    0x0122: "the SOP class is not supported",
    0x0124: "the sender is not authorised",
    0xA700: "the node is out of resources",
    0xA900: "the data set does not match its SOP class",
    0xC000: "the node cannot understand the data set",
}


class SendFailed(RuntimeError):  # noqa: N818 - it is the sending that is described
    """The study did not arrive whole; the message names the cause. No patient data is in it."""


class AssociationLost(SendFailed):
    """An instance was not answered. It may have arrived: sending it again is safe, for it has the same UID."""


@dataclass(frozen=True)
class Destination:
    """The node's application entity, and the name this PACS calls itself."""

    host: str
    port: int
    called: str
    calling: str


@dataclass(frozen=True)
class Sent:
    """What arrived: every instance was answered with 0x0000 or a warning. ``resent``: on a new association."""

    instances: int
    warnings: int
    resent: int
    seconds: float


def send(
    datasets: Iterable[FileDataset], to: Destination, sent_one: Callable[[int], object] = lambda number: None
) -> Sent:
    """Send ``datasets`` one after the other on one association, or on a new one when that is lost.

    Parameters
    ----------
    datasets
        Made or read one at a time, while the association is open.
    sent_one
        Called with the number of instances that the node has answered for.

    Raises
    ------
    SendFailed
        The association is refused, an instance is answered with a failure status, or is not answered
        on `TRIES` associations.
    """
    started = time.monotonic()
    association = _associate(to)
    number = warnings = resent = 0
    try:
        for number, dataset in enumerate(datasets, start=1):
            for left in reversed(range(TRIES)):
                try:
                    warnings += _store(association, dataset, number)
                    break
                except AssociationLost:
                    if not left:
                        raise
                    association.abort()
                    association = _associate(to)
                    resent += 1
            sent_one(number)
    except BaseException:
        association.abort()
        raise
    association.release()
    return Sent(number, warnings, resent, time.monotonic() - started)


def _contexts() -> list[PresentationContext]:
    """One context per SOP class and transfer syntax: the compressed slices leave as they are, or not at all."""
    offers = ((CTImageStorage, ExplicitVRLittleEndian), (CTImageStorage, JPEG2000Lossless))
    return [build_context(c, s) for c, s in (*offers, (SegmentationStorage, ExplicitVRLittleEndian))]


def _associate(to: Destination) -> Association:
    entity = AE(ae_title=to.calling)
    entity.acse_timeout, entity.dimse_timeout, entity.network_timeout = 30, _ANSWER_SECONDS, 120
    association = entity.associate(to.host, to.port, contexts=_contexts(), ae_title=to.called, max_pdu=0)
    if association.is_established:
        return association
    if association.is_rejected:
        reply = association.acceptor.primitive
        reason = getattr(reply, "reason_str", "no reason given")
        raise SendFailed(
            f"{to.called} at {to.host}:{to.port} rejects {to.calling} ({reason}): "
            "list this AE title and address under dicom.peers of the node"
        )
    raise SendFailed(f"no DICOM listener answers at {to.host}:{to.port}: is the node up, is the port right?")


def _store(association: Association, dataset: FileDataset, number: int) -> bool:
    """Send one instance; True when the node kept it with a warning (status 0xBxxx)."""
    try:
        reply = association.send_c_store(dataset)
    except ValueError:
        syntax = UID(dataset.file_meta.TransferSyntaxUID).name
        raise SendFailed(f"instance {number}: the node does not accept {syntax}") from None
    except RuntimeError:
        raise AssociationLost(f"instance {number}: the association is lost") from None
    if "Status" not in reply:
        raise AssociationLost(f"instance {number}: no answer; the association was aborted or timed out")
    status = int(reply.Status)
    if status == 0x0000:
        return False
    if status & 0xF000 == 0xB000:
        return True
    meaning = _STATUS.get(status) or _STATUS.get(status & 0xFF00) or _STATUS.get(status & 0xF000) or "failure"
    raise SendFailed(f"instance {number}: answered with 0x{status:04X}, {meaning}")


def _with_progress(site: str, data: Path, to: Destination, console: Console) -> Sent:
    folder = fetch(data)
    total = count(site, folder)
    if not console.is_terminal:
        return send(instances(site, folder), to, lambda n: _plain(console, n, total))
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        task = progress.add_task(f"{to.calling} → {to.called}", total=total)
        return send(instances(site, folder), to, lambda n: progress.update(task, completed=n))


def _plain(console: Console, number: int, total: int) -> None:
    """A line now and then, for logs and for a parent process that reads it: ``sent 60/134``."""
    if number == total or number % 20 == 0:
        console.print(f"sent {number}/{total}", highlight=False)


def main(arguments: Sequence[str] | None = None) -> int:
    """Play one hospital's PACS and send its study to its node."""
    parser = argparse.ArgumentParser(prog="python -m demo.pacs", description=main.__doc__)
    parser.add_argument("site", choices=SITES, help="whose study")
    parser.add_argument("--data", type=Path, required=True, help="cache folder of demo.data")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--called", default="FEDPACS", help="AE title of the node")
    parser.add_argument("--calling", help="AE title of this PACS (default: PACS_<SITE>)")
    options = parser.parse_args(arguments)
    to = Destination(options.host, options.port, options.called, options.calling or f"PACS_{options.site.upper()}")
    console = Console()
    try:
        sent = _with_progress(options.site, options.data, to, console)
    except (SendFailed, DataUnavailable) as error:
        print(f"error: {to.calling}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    console.print(
        f"{to.calling} sent {sent.instances} instances in {sent.seconds:.1f} s, "
        f"{sent.warnings} with a warning, {sent.resent} sent again",
        highlight=False,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
