"""De-identification: time of one CT image, planted identifiers that are left, text in pictures; ours and others'.

``make bench-deidentify``, or ``python -m benchmarks.deidentify [--quick]``. All run in one process, in turns.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import tempfile
import time
import warnings
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import astuple
from datetime import UTC, datetime, timedelta
from importlib import resources
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from pydicom import Dataset, dcmread
from pydicom.data import get_testdata_file, get_testdata_files
from pydicom.dataset import FileDataset

from benchmarks import deidentifiers, planting, results, workers
from benchmarks.deidentifiers import PEERS, Deidentify
from benchmarks.planting import pictures
from client_plugin.intake.deidentify import Quarantine, burned_in, text_detector
from client_plugin.intake.deidentify.screening import TextRisk, sop_class, text_risk

_NAMES = ("MUSTERMANN ERIKA", "Smith, John", "19570312", "MRN 00471108", "12.03.1957", "Klinikum Nord")


def slice_of_ct(number: int = 0) -> FileDataset:
    """A slice of a CT series of 512×512×16 bit, with the attributes, private ones included, of a real scanner.

    What is said of the slices of a series once is the same in all of them, and what differs between them differs.
    """
    ds = dcmread(get_testdata_file("CT_small.dcm", read=False, download=False))
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = f"{ds.SeriesInstanceUID}.{number + 1}"
    ds.InstanceNumber = number + 1
    x, y, z = ds.ImagePositionPatient
    ds.ImagePositionPatient = [x, y, round(z + 2.5 * number, 4)]
    ds.SliceLocation = round(ds.SliceLocation + 2.5 * number, 4)
    ds.AcquisitionNumber = 2 + number // 16
    taken = (datetime(1997, 4, 30, 11, 30, tzinfo=UTC) + timedelta(seconds=0.75 * number)).strftime("%H%M%S.%f")
    ds.AcquisitionTime = ds.ContentTime = taken
    ds.Rows = ds.Columns = 512
    ds.BodyPartExamined = "CHEST"
    ds.PixelData = np.random.default_rng(number).integers(0, 4096, (512, 512), dtype=np.uint16).tobytes()
    return ds


def file(ds: Dataset) -> bytes:
    """A data set as a DICOM file."""
    buffer = BytesIO()
    ds.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def speed(turns: int, repeats: int) -> list[results.Figure]:
    """CPU and wall milliseconds to read, de-identify and write a slice of a series; medians over turns."""
    series = [file(slice_of_ct(number)) for number in range(repeats)]
    tools: dict[str, Deidentify] = {"ours": deidentifiers.ours()} | {name: make() for name, make in PEERS.items()}
    cpu: dict[str, list[float]] = {name: [] for name in tools}
    wall: dict[str, list[float]] = {name: [] for name in tools}
    for tool in tools.values():
        tool(series[0])  # imports, tables, caches
    for _ in range(turns):
        for name, tool in tools.items():
            started, ticks = time.perf_counter(), time.process_time()
            for data in series:
                tool(data)
            cpu[name].append((time.process_time() - ticks) / repeats * 1000)
            wall[name].append((time.perf_counter() - started) / repeats * 1000)
    return [
        results.Figure(
            f"{kind} time, one 512×512 CT",
            round(statistics.median(times["ours"]), 2),
            "ms",
            round(statistics.median(times[name]), 2),
            name,
            required={"dicom-anonymizer": 0.5}.get(name, 1.0) if kind == "CPU" else None,
            lower_is_better=True,
        )
        for kind, times in (("CPU", cpu), ("wall", wall))
        for name in PEERS
    ]


def throughput(instances: int, turns: int) -> tuple[list[results.Figure], dict[str, object]]:
    """Instances a second from the sealed spool into the archive, and end to end beside the listener alone."""
    with tempfile.TemporaryDirectory(dir=results.work()) as folder:
        sent = Path(folder) / "ct.dcm"
        sent.write_bytes(file(slice_of_ct()))
        pairs = [
            (workers.throughput(slice_of_ct, instances, 2), workers.end_to_end(sent, instances, workers=2))
            for _ in range(turns)
        ]
    one = workers.throughput(slice_of_ct, instances, 1)
    both, whole = [both for both, _ in pairs], [run for _, run in pairs]
    received, archived, listener = (
        round(statistics.median(getattr(run, name) for run in whole), 1)
        for name in ("received", "archived", "listener")
    )
    figures = [
        results.Figure("spool to archive, 1 worker", round(one.rate, 1), "instances/s"),
        results.Figure(
            "spool to archive, 2 workers",
            round(statistics.median(run.rate for run in both), 1),
            "instances/s",
            listener,
            "our listener, 4 associations",
            required=1.0,
        ),
    ]
    return [
        *figures,
        results.Figure(
            "CPU time, spool to archive", round(statistics.median(run.cpu_ms for run in both), 1), "ms an instance"
        ),
        results.Figure(
            "C-STORE to archive, 4 associations, 2 workers",
            archived,
            "instances/s",
            listener,
            "our listener, no workers",
            required=1.0,
        ),
        results.Figure(
            "archived while as many are received",
            archived,
            "instances/s",
            received,
            "answered meanwhile",
            required=0.9,
        ),
    ], {
        "spool to archive, 2 workers (instances/s)": [round(run.rate, 1) for run in both],
        "end to end: received, archived, listener alone (instances/s)": [
            [round(value, 1) for value in astuple(run)] for run in whole
        ],
    }


def survivors() -> tuple[list[results.Figure], dict[str, object]]:
    """How many planted identifiers each tool leaves in the bytes of its output."""
    tools = {"ours": deidentifiers.ours()} | {name: make() for name, make in PEERS.items()}
    left = dict.fromkeys(tools, 0)
    seen = dict.fromkeys(tools, 0)
    failed: dict[str, list[str]] = {name: [] for name in tools}
    corpus = list(planting.corpus())
    for planted in corpus:
        for name, tool in tools.items():
            try:
                output = tool(planted.data)
            except Quarantine as refused:
                failed[name].append(f"{planted.iod}: {refused}")
                continue
            except Exception as error:  # noqa: BLE001 - others' tools raise anything; counted, not hidden
                failed[name].append(f"{planted.iod}: {type(error).__name__}")
                continue
            seen[name] += len(planted.plants)
            left[name] += len(planting.survivors(planted, output))
    figures = [
        results.Figure(
            "planted identifiers left",
            left["ours"],
            "",
            required=0,
            lower_is_better=True,
        ),
        *(
            results.Figure("planted identifiers left", left["ours"], "", left[name], name, 0, lower_is_better=True)
            for name in PEERS
        ),
    ]
    details = {"planted": sum(len(p.plants) for p in corpus), "sop_classes": len(corpus), "searched": seen}
    return figures, {**details, "refused_or_failed": failed}


def text(count: int) -> tuple[list[results.Figure], dict[str, object]]:
    """Text drawn into real pictures that is gone afterwards; real ultrasound; false alarms on real CT and MR."""
    real = _real_sections()[:count]
    rng = np.random.default_rng(0)
    drawn = gone = alarms = 0
    for index, frame in enumerate(real):
        alarms += len(burned_in.readable(frame))
        size = 11 + index % 12
        marked, box = _draw(frame, _NAMES[index % len(_NAMES)], size, rng)
        drawn += 1
        gone += any(_covers(found, box) for found in burned_in.readable(marked))
    before, after, sector = _ultrasound()
    figures = [
        results.Figure("ultrasound: readable words left", after, "words", required=0, lower_is_better=True),
        results.Figure("ultrasound: middle of the picture unchanged", round(sector, 4), "share", required=0.98),
        results.Figure("text drawn into CT and MR: found", round(gone / drawn, 3), "share"),
        results.Figure("CT and MR without text: false alarms", round(alarms / len(real), 3), "per picture"),
    ]
    return figures, {"pictures": len(real), "ultrasound_words_before": before}


def burned(count: int) -> tuple[list[results.Figure], dict[str, object]]:
    """Identifiers burned into real pictures in many fonts, sizes and contrasts: whether strokes or words are left."""
    run = deidentifiers.ours()
    searched = left = refused = 0
    missed = []
    for picture in pictures.pictures(count):
        try:
            output = run(picture.data)
        except Quarantine:
            refused += 1
            continue
        still = pictures.left(picture, output)
        searched, left = searched + len(picture.lines), left + len(still)
        missed += [f"{picture.kind}, {picture.look}"] * len(still)
    gone = round(1 - left / searched, 4)
    figures = [
        results.Figure("burned-in identifiers gone (US, CR, XA, SC)", gone, "share", required=1.0),
        results.Figure("such pictures quarantined", round(refused / count, 3), "share"),
    ]
    return figures, {"pictures": count, "lines_searched": searched, "lines_left": missed}


def _real_sections() -> list[NDArray[np.uint8]]:
    frames = []
    for path in get_testdata_files("*.dcm") + get_testdata_files("*/*/*/*"):
        try:
            ds = dcmread(path)
            risk = text_risk(ds, sop_class(ds)[1])
        except Exception:  # noqa: BLE001, S112 - files that are broken on purpose
            continue
        if ds.get("Modality") in ("CT", "MR") and risk is TextRisk.NONE and "PixelData" in ds:
            try:
                frames.append(burned_in.shown(ds, burned_in.decode(ds))[0])
            except Exception:  # noqa: BLE001, S112 - the same
                continue
    return [frame for frame in frames if min(frame.shape[:2]) >= 128]


def _draw(
    frame: NDArray[np.uint8], words: str, size: int, rng: np.random.Generator
) -> tuple[NDArray[np.uint8], text_detector.Box]:
    picture = Image.fromarray(np.asarray(Image.fromarray(frame).resize((512, 512))))
    draw = ImageDraw.Draw(picture)
    font = ImageFont.load_default(size)
    left, top, right, bottom = draw.textbbox((0, 0), words, font=font)
    x, y = int(rng.integers(2, 505 - right)), int(rng.choice((6, 480)))
    draw.text((x, y), words, fill=(235, 235, 235), font=font)
    return np.asarray(picture), text_detector.Box(y + int(top), x + int(left), y + int(bottom), x + int(right))


def _covers(found: text_detector.Box, wanted: text_detector.Box) -> bool:
    height = min(found.bottom, wanted.bottom) - max(found.top, wanted.top)
    width = min(found.right, wanted.right) - max(found.left, wanted.left)
    return height > 0 and width > 0 and height * width >= 0.8 * wanted.area


def _ultrasound() -> tuple[int, int, float]:
    """Readable words before and after on the ultrasounds of deid-data; the share of the middle that is unchanged."""
    folder = resources.files("deid_data") / "data" / "ultrasounds"
    cine = zipfile.ZipFile(BytesIO((folder / "GREYSCALE_CINE.zip").read_bytes())).read("GREYSCALE_CINE.dcm")
    files = [(folder / f"{name}_IMAGE.dcm").read_bytes() for name in ("GREYSCALE", "RGB")] + [cine]
    run, words, unchanged = deidentifiers.ours(), [0, 0], []
    for data in files:
        frames = [_first(dcmread(BytesIO(content))) for content in (data, run(data))]
        for index, frame in enumerate(frames):
            words[index] += sum(_is_word(frame, box) for box in text_detector.find(frame))
        rows, columns = (side // 4 for side in frames[0].shape[:2])
        middle = np.s_[rows : rows * 3, columns : columns * 3]
        unchanged.append(float((frames[0][middle] == frames[1][middle]).mean()))
    return words[0], words[1], min(unchanged)


def _first(ds: Dataset) -> NDArray[np.uint8]:
    frame = burned_in.decode(ds)[0].astype(np.uint8)
    return np.stack([frame] * 3, axis=-1) if frame.ndim == 2 else frame


def _is_word(frame: NDArray[np.uint8], box: text_detector.Box) -> bool:
    read, sure = text_detector.read(frame, box)
    return sure >= 0.8 and sum(c.isalnum() for c in read) >= 3


@contextmanager
def scheduling(*, realtime: bool) -> Iterator[None]:
    """Ours and the others', senders and receivers too, which inherit it, before everything else on the machine."""
    if realtime:
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(20))
    try:
        yield
    finally:
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark, print the table, write the results."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="fewer turns and pictures: under a minute, less exact")
    parser.add_argument(
        "--realtime",
        action="store_true",
        help="measure time at real-time priority (root), on a machine that is busy with other things",
    )
    options = parser.parse_args(argv)
    warnings.simplefilter("ignore")  # pydicom's, about values that are planted to be wrong
    load = round(os.getloadavg()[0], 1)
    with scheduling(realtime=options.realtime):
        figures = speed(*((3, 10) if options.quick else (7, 40)))
        rates, load_runs = throughput(80 if options.quick else 400, turns=1 if options.quick else 5)
    left, corpus = survivors()
    read, pixels = text(20 if options.quick else 60)
    figures += rates
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    gone, lines = burned(12 if options.quick else 80)
    figures += [*left, *read, *gone]
    print(results.table(figures))
    packages = ["pydicom", "highdicom", "onnxruntime", "rapidocr-onnxruntime", *PEERS]
    print(
        results.save(
            "deidentify-quick" if options.quick else "deidentify",
            figures,
            packages,
            corpus=corpus,
            pictures=pixels,
            burned_in=lines,
            throughput=load_runs,
            peak_memory_mb=round(memory),
            load_at_start=load,
            scheduling="SCHED_RR 20, all processes, where time is measured" if options.realtime else "default",
        )
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
