"""What encrypted aggregation costs, beside NVFlare's own and beside plain float32: ``python -m benchmarks.aggregation
[--quick]``.

One process, three sites, DenseNet121 (7.0 M values in [-1, 1]). Client, server and opening are timed in CPU seconds,
ours and plain float32 in turns, NVFlare's homomorphic encryption (its filters and aggregator, its default parameters,
the same values) once in a process of its own. Memory is the peak above the start of the server's part, with one
update at a time in memory, for both. ``--quick`` takes a tenth of the network. The live comparison and the scaling
are ``benchmarks.aggregation_live`` and ``benchmarks.aggregation_scaling``.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import logging
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks import results
from benchmarks.results import Figure

SITES = 3
WEIGHTS = (1463.0, 1087.0, 415.0)
MAX_WEIGHT = 2048.0
TURNS = 3
MEGABYTE = 1e6
NVFLARE = "NVFlare HE"
PLAIN = "float32"

Tensors = dict[str, npt.NDArray[np.float32]]


def shapes(*, quick: bool) -> dict[str, tuple[int, ...]]:
    """Names and shapes of MONAI's DenseNet121, all that is a float; a tenth of it for ``quick``."""
    from monai.networks.nets import DenseNet121

    network = DenseNet121(spatial_dims=2, in_channels=1, out_channels=10)
    found = {n: tuple(t.shape) for n, t in network.state_dict().items() if t.dtype.is_floating_point}
    if not quick:
        return found
    total, small = 0, {}
    for name, shape in found.items():
        total += int(np.prod(shape))
        if total > 350_000:
            break
        small[name] = shape
    return small


def values(wanted: Mapping[str, tuple[int, ...]], site: int) -> Tensors:
    """One site's update."""
    rng = np.random.default_rng(site)
    return {name: rng.uniform(-1, 1, shape).astype(np.float32) for name, shape in wanted.items()}


def exact_mean(wanted: Mapping[str, tuple[int, ...]]) -> Tensors:
    """The weighted mean, in float64."""
    sites = [values(wanted, i) for i in range(SITES)]
    return {name: np.average([s[name] for s in sites], axis=0, weights=WEIGHTS) for name in wanted}


def cpu(action: Callable[[], Any]) -> tuple[float, Any]:
    """CPU seconds of this process, all threads, and the answer."""
    gc.collect()
    start = time.process_time()
    answer = action()
    return time.process_time() - start, answer


class Peak:
    """Peak resident memory above the start, in bytes."""

    def __enter__(self) -> Peak:
        gc.collect()
        ctypes.CDLL(None).malloc_trim(0)  # or what was freed before would hide what is taken now
        Path("/proc/self/clear_refs").write_text("5")  # resets the high-water mark
        self._start = self._status("VmRSS")
        return self

    def __exit__(self, *_: object) -> None:
        self.bytes = self._status("VmHWM") - self._start

    @staticmethod
    def _status(key: str) -> int:
        lines = Path("/proc/self/status").read_text().splitlines()
        return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(key))


@dataclass
class Cost:
    """What one way of aggregating costs; lists hold one entry a turn."""

    client: list[float] = field(default_factory=list)
    server: list[float] = field(default_factory=list)
    opening: list[float] = field(default_factory=list)
    upload: int = 0
    download: int = 0
    memory: int = 0
    error: float = 0.0

    def median(self, name: str) -> float:
        """Median of the turns."""
        return statistics.median(getattr(self, name))


def ours(cost: Cost, wanted: Mapping[str, tuple[int, ...]], encryption: str, bits: int, folder: Path) -> None:
    """One turn of our protocol: ceremony, three updates, sum, unmasking, one opening."""
    from secure_aggregation.layout import Layout
    from secure_aggregation.rounds import FINISH, round_message
    from tests.unit.secure_aggregation.consortium import Consortium, settings

    layout = Layout.declare(wanted)
    consortium = Consortium(SITES, settings(encryption, bits, 1.0, MAX_WEIGHT), layout).ceremony()
    consortium.begin(0)
    running = consortium.running(0)
    files = []
    seconds = []
    for i, (name, site) in enumerate(consortium.sites.items()):
        update = values(wanted, i)
        spent, wire = cpu(lambda s=site, u=update, w=WEIGHTS[i]: s.seal(u, w))
        seconds.append(spent)
        cost.upload = wire.size
        files.append((name, folder / f"{name}.update"))
        wire.tofile(files[-1][1])
        del wire, update
    cost.client.append(statistics.mean(seconds))
    with Peak() as peak:
        spent = 0.0
        for name, path in files:
            arrived = np.fromfile(path, np.uint8)
            spent += cpu(lambda n=name, a=arrived: running.add(n, a))[0]
            del arrived
        if running.parameters.encryption.masks:
            for name, site in consortium.sites.items():
                running.revealed(name, site.reveal(running.reveal(name)))
        more, message = cpu(lambda: round_message(consortium.server.roster(), 1, 1, FINISH, running.close()))
    cost.memory = max(cost.memory, peak.bytes)
    cost.server.append(spent + more)
    cost.download = message.size
    spent, instruction = cpu(lambda: next(iter(consortium.sites.values())).begin(message))
    cost.opening.append(spent)
    mean = exact_mean(wanted)
    cost.error = max(float(np.abs(instruction.opened.tensors[n] - mean[n]).max()) for n in wanted)


def plain(cost: Cost, wanted: Mapping[str, tuple[int, ...]]) -> None:
    """One turn of float32 through NVFlare's serialisation and its weighted mean."""
    from nvflare.app_common.aggregators.weighted_aggregation_helper import WeightedAggregationHelper
    from nvflare.app_common.decomposers import common_decomposers
    from nvflare.fuel.utils import fobs

    common_decomposers.register()
    helper = WeightedAggregationHelper(weigh_by_local_iter=True)
    client = server = 0.0
    for i in range(SITES):
        update = values(wanted, i)
        spent, sent = cpu(lambda u=update: fobs.dumps(u))
        client += spent
        cost.upload = len(sent)
        spent, _ = cpu(lambda s=sent, w=WEIGHTS[i]: helper.add(fobs.loads(s), w, "site", 0))
        server += spent
    spent, answer = cpu(lambda: fobs.dumps(helper.get_result()))
    cost.client.append(client / SITES)
    cost.server.append(server + spent)
    cost.download = len(answer)
    spent, opened = cpu(lambda: fobs.loads(answer))
    cost.opening.append(spent)
    mean = exact_mean(wanted)
    cost.error = max(float(np.abs(opened[n] - mean[n]).max()) for n in wanted)


def nvflare(wanted: Mapping[str, tuple[int, ...]], folder: Path) -> Cost:
    """NVFlare's homomorphic encryption: HEModelEncryptor, its aggregation helper, HEModelDecryptor, its wire format."""
    import tenseal as ts
    from nvflare.apis.fl_context import FLContext
    from nvflare.app_common.aggregators.weighted_aggregation_helper import WeightedAggregationHelper
    from nvflare.app_opt.he.model_decryptor import HEModelDecryptor
    from nvflare.app_opt.he.model_encryptor import HEModelEncryptor
    from nvflare.fuel.utils import fobs

    logging.disable(logging.INFO)
    # The defaults of nvflare.lighter.impl.he.HEBuilder.
    context = ts.context(
        ts.SCHEME_TYPE.CKKS, 8192, coeff_mod_bit_sizes=[60, 40, 40], encryption_type=ts.ENCRYPTION_TYPE.SYMMETRIC
    )
    context.generate_relin_keys()
    context.global_scale = 2**40
    keep = {"save_secret_key": True, "save_public_key": True, "save_galois_keys": False, "save_relin_keys": True}
    context = ts.context_from(context.serialize(**keep))
    cost = Cost()
    for i in range(SITES):
        encryptor = HEModelEncryptor()
        encryptor.tenseal_context, encryptor.encrypt_layers, encryptor.n_iter = context, [True], WEIGHTS[i]
        update: dict[str, Any] = dict(values(wanted, i))
        spent, sent = cpu(lambda e=encryptor, u=update: fobs.dumps(e.encryption(u, FLContext())[0]))
        cost.client.append(spent)
        cost.upload = len(sent)
        (folder / f"{i}.nvflare").write_bytes(sent)
        del sent, update
    helper = WeightedAggregationHelper(weigh_by_local_iter=False)
    with Peak() as peak:
        seconds = 0.0
        for i in range(SITES):
            arrived = (folder / f"{i}.nvflare").read_bytes()
            seconds += cpu(lambda a=arrived, w=WEIGHTS[i]: helper.add(fobs.loads(a), w, "site", 0))[0]
            del arrived
        spent, answer = cpu(lambda: fobs.dumps(helper.get_result()))
    cost.server.append(seconds + spent)
    cost.memory = peak.bytes
    cost.download = len(answer)
    decryptor = HEModelDecryptor()
    decryptor.tenseal_context = context
    spent, opened = cpu(lambda: decryptor.decryption(fobs.loads(answer), dict.fromkeys(wanted, True), FLContext()))
    cost.opening.append(spent)
    mean = exact_mean(wanted)
    cost.error = max(float(np.abs(np.reshape(opened[n], mean[n].shape) - mean[n]).max()) for n in wanted)
    return cost


def figures(costs: Mapping[str, Cost], peer: Cost, base: Cost) -> list[Figure]:
    """Everything that is required, and what explains it."""
    both = costs["he+masks 24"]

    def beside(figure: str, ours: float, theirs: float, unit: str, name: str, required: float | None = None) -> Figure:
        return Figure(figure, ours, unit, theirs, name, required, lower_is_better=True)

    def seconds(figure: str, cost: Cost, part: str, required: float | None = None) -> Figure:
        return beside(figure, cost.median(part), peer.median(part), "CPU s", NVFLARE, required)

    def size(figure: str, ours: int, theirs: int, name: str, required: float | None = None) -> Figure:
        return beside(figure, ours / MEGABYTE, theirs / MEGABYTE, "MB", name, required)

    rows = [
        seconds("client: encode, encrypt, mask, serialise", both, "client", 1 / 10),
        seconds("server: load, check, add, finish", both, "server", 1 / 60),
        seconds("opening", both, "opening"),
        size("server memory", both.memory, peer.memory, NVFLARE, 1 / 20),
        Figure("largest error of the mean, 24 bits", both.error, "", None, "", 1e-6, lower_is_better=True),
        beside("largest error of the mean, 24 bits", both.error, peer.error, "", NVFLARE),
    ]
    for bits, up, down in ((24, 1.5, 2.7), (21, None, None), (16, 1.0, 1.9)):
        cost = costs[f"he+masks {bits}"]
        rows.append(size(f"upload, {bits} bits", cost.upload, base.upload, PLAIN, up))
        rows.append(size(f"download, {bits} bits", cost.download, base.download, PLAIN, down))
    rows.append(size("upload, 24 bits", both.upload, peer.upload, NVFLARE))
    rows.append(size("download, 24 bits", both.download, peer.download, NVFLARE))
    for name, cost in costs.items():
        if cost is not both:
            rows.append(seconds(f"client, {name}", cost, "client"))
            rows.append(Figure(f"largest error, {name}", cost.error, ""))
    rows.append(Figure("client, plain float32", base.median("client"), "CPU s"))
    rows.append(Figure("server, plain float32", base.median("server"), "CPU s"))
    return rows


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a tenth of the network, one turn")
    parser.add_argument("--peer", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    wanted = shapes(quick=arguments.quick)
    if arguments.peer:
        (arguments.peer / "cost.json").write_text(json.dumps(vars(nvflare(wanted, arguments.peer))))
        return
    ways = [("he+masks", 24), ("he+masks", 21), ("he+masks", 16), ("he", 24), ("masks", 24)]
    costs = {f"{encryption} {bits}": Cost() for encryption, bits in ways}
    base = Cost()
    with tempfile.TemporaryDirectory(dir=results.work()) as name:
        folder = Path(name)
        for _ in range(1 if arguments.quick else TURNS):
            plain(base, wanted)
            for encryption, bits in ways:
                ours(costs[f"{encryption} {bits}"], wanted, encryption, bits, folder)
        command = [sys.executable, "-m", "benchmarks.aggregation", "--peer", name]
        # TenSEAL prints a warning for every tensor.
        subprocess.run([*command, *(["--quick"] if arguments.quick else [])], check=True, stdout=subprocess.DEVNULL)
        peer = Cost(**json.loads((folder / "cost.json").read_text()))
    found = figures(costs, peer, base)
    print(results.table(found))
    results.save(
        "aggregation-quick" if arguments.quick else "aggregation",
        found,
        ["nvflare", "tenseal", "cryptography", "numpy", "zstandard", "pycryptodome", "monai"],
        values=int(sum(np.prod(shape) for shape in wanted.values())),
        sites=SITES,
        turns=1 if arguments.quick else TURNS,
        costs={name: vars(cost) for name, cost in {**costs, NVFLARE: peer, PLAIN: base}.items()},
    )


if __name__ == "__main__":
    main()
