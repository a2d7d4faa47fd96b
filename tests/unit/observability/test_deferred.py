"""What is noted is counted: soon, in order, once, and at the end of a process at the latest."""

import subprocess
import sys
import threading
import time

from observability.deferred import Deferred


def test_what_is_noted_is_counted_soon_and_in_order() -> None:
    deferred, seen = Deferred(), []
    for number in range(100):
        deferred.note(seen.append, number)
    end = time.monotonic() + 10
    while len(seen) < 100 and time.monotonic() < end:
        time.sleep(0.01)
    assert seen == list(range(100))


def test_a_flush_counts_at_once_and_only_once() -> None:
    deferred, seen = Deferred(), []
    deferred.note(seen.append, 1)
    deferred.flush()
    deferred.flush()
    assert seen == [1]


def test_notes_of_many_threads_are_all_counted() -> None:
    deferred, seen = Deferred(), []

    def work() -> None:
        for number in range(1000):
            deferred.note(seen.append, number)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    deferred.flush()
    assert sorted(seen) == sorted([*range(1000)] * 4)


def test_a_process_that_ends_counts_what_it_noted() -> None:
    code = "from observability.deferred import later; later.note(print, 'counted')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "counted\n"
