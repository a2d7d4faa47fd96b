import gc
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil

from client_plugin.archive.turns import Turns

HOLD = """
import sys, time
from pathlib import Path
from client_plugin.archive.turns import Turns
with Turns(Path(sys.argv[1])).take():
    print("held", flush=True)
    time.sleep(60)
"""


def test_threads_take_turns(tmp_path: Path) -> None:
    turns, inside, most = Turns(tmp_path / "turns"), [0], [0]

    def work() -> None:
        for _ in range(20):
            with turns.take():
                inside[0] += 1
                most[0] = max(most[0], inside[0])
                time.sleep(0.0005)
                inside[0] -= 1

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1]


def test_processes_take_turns_and_a_dead_one_holds_up_nobody(tmp_path: Path) -> None:
    path = tmp_path / "turns"
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE)
    assert holder.stdout is not None
    with holder.stdout:
        assert holder.stdout.readline() == b"held\n"
    entered = threading.Event()

    def enter() -> None:
        with Turns(path, patience=60).take():
            entered.set()

    thread = threading.Thread(target=enter)
    thread.start()
    assert not entered.wait(0.3)
    with Turns(path, patience=0.2).take():
        assert not entered.is_set()  # who waits in vain goes on, to SQLite's own lock
    holder.kill()
    holder.wait()
    assert entered.wait(10)
    thread.join()
    assert path.stat().st_mode & 0o077 == 0


def test_what_nobody_holds_any_more_is_unlocked_and_closed(tmp_path: Path) -> None:
    def files() -> list[str]:
        return [file.path for file in psutil.Process().open_files()]

    with Turns(tmp_path / "turns").take():
        assert str(tmp_path / "turns") in files()
    gc.collect()
    assert str(tmp_path / "turns") not in files()
