"""Three to a hundred sites: ``python -m benchmarks.aggregation_scaling [--quick]``.

The ceremony is real for every number of sites, with real certificates. Updates have the length of DenseNet121. One
site makes its own, masked against all others and encrypted; the others' payloads are made up (random residues under
real signed headers), since what the server does with them does not depend on what is in them. Opening is measured at
a twentieth of the length and at one ciphertext, with real updates of all sites, and its mean is checked: signatures and
shares take the same time at any length, unmasking and decrypting in proportion to it. Writes the results and
``docs/img/aggregation-scaling.svg``.
"""

from __future__ import annotations

import argparse
import ctypes
import secrets
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from benchmarks import results
from benchmarks.aggregation import MEGABYTE, Peak, cpu
from secure_aggregation import masks, rounds
from secure_aggregation.layout import Layout
from secure_aggregation.parameters import DEGREE
from secure_aggregation.revealing import BOX_BYTES
from secure_aggregation.sealing import Sealed
from tests.unit.secure_aggregation.consortium import Consortium, credentials, settings

VALUES = 7_000_000
PART = 20
SITES = (3, 10, 30, 100)
_M_MMAP_THRESHOLD = -3  # malloc.h
PLOT = Path(__file__).parents[1] / "docs" / "img" / "aggregation-scaling.svg"


@dataclass
class Point:
    """What so many sites cost; CPU seconds."""

    sites: int
    ceremony: float
    client: float
    client_masks: float
    server: float
    server_memory_mb: float
    reveal: float
    opening: float
    upload_mb: float


def full(sites: int) -> tuple[Point, Consortium]:
    """Ceremony, one real update, the server's sum of all."""
    layout = Layout.declare({"all": (VALUES,)})
    consortium = Consortium(sites, settings("he+masks"), layout)
    ceremony, _ = cpu(consortium.ceremony)
    consortium.begin(0)
    running = consortium.running(0)
    first, *others = consortium.sites
    site = consortium.sites[first]
    update = {"all": np.random.default_rng(0).uniform(-1, 1, VALUES).astype(np.float32)}
    client, real = cpu(lambda: site.seal(update, 1.0))
    parts = rounds.read_update(real, running.roster, first, 0, running.parameters)
    with Peak() as peak:
        server, _ = cpu(lambda: running.add(first, real))
        for name in others:
            header = Sealed(parts.ciphertexts, parts.seeds, parts.payload, boxes(consortium, name, first), b"")
            sign = credentials(name).sign
            made_up = rounds.update(running.roster, name, 0, parts.layout, header, sign)
            server += cpu(lambda n=name, m=made_up: running.add(n, m))[0]
            del made_up, header
        server += cpu(running.finish)[0]
    slots = np.zeros((parts.ciphertexts, DEGREE), np.uint64)
    peers = {name: running.roster.members[name].mask_key for name in others}
    own = (masks.mask_agreement(bytes(16)), peers, bytes(16), bytes(32))
    masking, _ = cpu(lambda: masks.mask(slots, first, *own, running.parameters.plain_bits))
    reveal, _ = cpu(lambda: site.reveal(running.reveal(first)))
    point = Point(
        sites, ceremony / sites, client, masking, server, peak.bytes / MEGABYTE, reveal, 0.0,
        real.size / MEGABYTE,
    )  # fmt: skip
    return point, consortium


def boxes(consortium: Consortium, sender: str, reader: str) -> bytes:
    """A real box for the site that is measured, random bytes for the others."""
    from secure_aggregation.revealing import box_purpose

    epoch = consortium.sites[sender]._epoch
    return b"".join(
        epoch.box(one, secrets.token_bytes(16), box_purpose(0)) if one == reader else secrets.token_bytes(BOX_BYTES)
        for one in epoch.others()
    )


def opening(sites: int) -> float:
    """CPU seconds of one site's opening of the whole vector."""
    fixed, part = opening_of(sites, DEGREE), opening_of(sites, VALUES // PART)
    return fixed + (part - fixed) * PART


def opening_of(sites: int, size: int) -> float:
    """CPU seconds of one site's opening of so many values, every update real."""
    consortium = Consortium(sites, settings("he+masks"), Layout.declare({"all": (size,)})).ceremony()
    consortium.begin(0)
    running = consortium.running(0)
    total = np.zeros(size)
    for i, (name, site) in enumerate(consortium.sites.items()):
        update = np.random.default_rng(i).uniform(-1, 1, size).astype(np.float32)
        total += update
        running.add(name, site.seal({"all": update}, 1.0))
    for name, site in consortium.sites.items():
        if not running.unmasked:
            running.revealed(name, site.reveal(running.reveal(name)))
    message = rounds.round_message(consortium.server.roster(), 1, 1, rounds.FINISH, running.close())
    spent, instruction = cpu(lambda: next(iter(consortium.sites.values())).begin(message))
    error = np.abs(instruction.opened.tensors["all"] - total / sites).max()
    if error > 1e-6:
        raise RuntimeError(f"the mean of {sites} sites is off by {error}")
    return spent


def plot(points: list[Point]) -> None:
    """Three panels: the server's time and memory, the sites' time."""
    import matplotlib as mpl

    mpl.use("svg")
    import matplotlib.pyplot as plt

    mpl.rcParams["svg.hashsalt"] = "fedpacs"
    count = [p.sites for p in points]
    figure, axes = plt.subplots(1, 3, figsize=(11, 3.2), layout="constrained")
    axes[0].plot(count, [p.server for p in points], "o-", color="#1b6ca8")
    axes[0].set(title="server: check, add, finish", ylabel="CPU s a round")
    axes[1].plot(count, [p.server_memory_mb for p in points], "o-", color="#1b6ca8")
    axes[1].set(title="server: memory above start", ylabel="MB", ylim=(0, None))
    axes[2].plot(count, [p.client for p in points], "o-", color="#1b6ca8", label="update, all")
    axes[2].plot(count, [p.client_masks for p in points], "s--", color="#c25b12", label="of it masks")
    axes[2].plot(count, [p.opening for p in points], "^:", color="#3a7d34", label="opening")
    axes[2].set(title="one hospital", ylabel="CPU s a round")
    axes[2].legend(frameon=False)
    for axis in axes:
        axis.set_xlabel("sites")
        axis.spines[["top", "right"]].set_visible(False)
    figure.savefig(PLOT, metadata={"Date": None})


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="only 3 and 10 sites, and no plot")
    quick = parser.parse_args().quick
    # The allocator raises this threshold to the size of an update, and then keeps one or two that were freed.
    ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, 1 << 20)
    points = []
    for sites in SITES[:2] if quick else SITES:
        point, _ = full(sites)
        point.opening = opening(sites)
        points.append(point)
        print(point, flush=True)
    first, last = points[0], points[-1]
    few, many = f"{first.sites} sites", f"{last.sites} sites"

    def beside(
        figure: str, ours: float, peer: float, unit: str = "CPU s", required: float | None = None
    ) -> results.Figure:
        return results.Figure(f"{figure}, {many}", ours, unit, peer, few, required, lower_is_better=True)

    figures = [
        beside("server time a site", last.server / last.sites, first.server / first.sites, required=1.5),
        results.Figure(
            f"server memory, {many}",
            last.server_memory_mb,
            "MB",
            points[1].server_memory_mb,
            f"{points[1].sites} sites, same parameters",
            1.1,
            lower_is_better=True,
        ),
        beside("client", last.client, first.client),
        beside("opening", last.opening, first.opening),
    ]
    print(results.table(figures))
    name = "aggregation-scaling-quick" if quick else "aggregation-scaling"
    results.save(name, figures, ["tenseal", "cryptography", "numpy"], points=[asdict(p) for p in points])
    if not quick:
        plot(points)


if __name__ == "__main__":
    main()
