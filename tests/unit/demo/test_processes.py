import subprocess
import sys
import time

import psutil
import pytest

from demo import processes

SLEEP = [sys.executable, "-c", "import time; time.sleep(60)"]
# A start script's manner: the parent goes away, the child is in a session of its own.
DETACHED = [
    sys.executable,
    "-c",
    f"import subprocess; subprocess.Popen({SLEEP!r}, start_new_session=True)",
]
STUBBORN = [sys.executable, "-c", "import signal, time; signal.signal(15, signal.SIG_IGN); print(); time.sleep(60)"]


def start(run_id: str, command: list[str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(command, env=processes.environment(run_id, {}), stdout=subprocess.PIPE)


def test_everything_of_a_run_is_stopped_and_nothing_else() -> None:
    mine, other = start("run-mine", DETACHED), start("run-other", SLEEP)
    mine.wait()
    deadline = time.monotonic() + 10
    while not list(processes.marked("run-mine")) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert len(list(processes.marked("run-mine"))) == 1
    assert processes.stop("run-mine", patience=10) == 0
    assert list(processes.marked("run-mine")) == []
    assert other.poll() is None
    assert processes.stop("run-other", patience=10) == 0


def test_what_ignores_sigterm_is_killed() -> None:
    stubborn = start("run-stubborn", STUBBORN)
    assert stubborn.stdout is not None
    stubborn.stdout.readline()
    assert processes.stop("run-stubborn", patience=0.5) == 1
    assert not psutil.pid_exists(stubborn.pid)


def test_memory_of_the_run_is_counted() -> None:
    big = start("run-big", [sys.executable, "-c", "x = bytearray(200_000_000); print(); import time; time.sleep(60)"])
    assert big.stdout is not None
    big.stdout.readline()
    own = psutil.Process().memory_full_info().pss
    with processes.MemoryWatch("run-big", interval=0.1) as watch:
        time.sleep(0.5)
    processes.stop("run-big", patience=5)
    assert watch.peak_bytes > own + 150_000_000


@pytest.mark.parametrize("run_id", ["run-none"])
def test_stopping_nothing_is_fine(run_id: str) -> None:
    assert processes.stop(run_id, patience=1) == 0
