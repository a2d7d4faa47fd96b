import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from client_plugin.intake.process import spawn

ROOT = Path(__file__).parents[4]
CHILD = """
import sys
from client_plugin.intake.process import Stopping, arguments
options = arguments("a child").parse_args()
stopping = Stopping(options.supervisor)
stopping.ready()
stopping.event.wait()
(options.kit / "stopped").touch()
"""


def start(folder: Path, monkeypatch, code: str = CHILD):
    (folder / "a_child_of_the_test.py").write_text(code)
    monkeypatch.setenv("PYTHONPATH", str(folder))
    return spawn("a_child_of_the_test", "child", ["--kit", str(folder)])


def wait_for(path: Path, seconds: float = 10) -> bool:
    end = time.monotonic() + seconds
    while not path.exists() and time.monotonic() < end:
        time.sleep(0.02)
    return path.exists()


def test_a_child_is_ready_runs_and_stops_when_told(tmp_path: Path, monkeypatch) -> None:
    child = start(tmp_path, monkeypatch)
    assert child.wait_ready(20)
    assert child.alive()
    child.terminate()
    child.wait(10)
    assert not child.alive()
    assert (tmp_path / "stopped").exists()


def test_a_child_that_ends_before_it_is_ready_is_noticed_at_once(tmp_path: Path, monkeypatch) -> None:
    child = start(tmp_path, monkeypatch, "raise SystemExit(3)")
    started = time.monotonic()
    assert not child.wait_ready(60)
    assert time.monotonic() - started < 30
    child.wait(10)
    assert child.process.returncode == 3


def test_a_child_that_does_not_stop_is_killed(tmp_path: Path, monkeypatch) -> None:
    child = start(tmp_path, monkeypatch, CHILD.replace("stopping.event.wait()", "import time; time.sleep(60)"))
    assert child.wait_ready(20)
    child.terminate()
    child.wait(0.2)
    assert child.process.returncode == -signal.SIGKILL


def test_a_child_stops_when_its_parent_is_killed(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "a_child_of_the_test.py").write_text(CHILD)
    parent = (
        "import sys, time\nfrom client_plugin.intake.process import spawn\n"
        f"child = spawn('a_child_of_the_test', 'child', ['--kit', {str(tmp_path)!r}])\n"
        "child.wait_ready(20)\nprint('up', flush=True)\ntime.sleep(60)\n"
    )
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{tmp_path}"}
    process = subprocess.Popen([sys.executable, "-c", parent], env=environment, stdout=subprocess.PIPE)
    assert process.stdout is not None
    with process.stdout:
        assert process.stdout.readline() == b"up\n"
    process.kill()
    process.wait()
    assert wait_for(tmp_path / "stopped")
