"""Which job processes are started again: NVFlare's own events and records, without its processes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from nvflare.apis.event_type import EventType
from nvflare.apis.fl_constant import FLContextKey
from nvflare.apis.fl_context import FLContext, FLContextManager
from nvflare.apis.workspace import Workspace
from nvflare.private.fed.client.client_executor import _ABORT_REQUESTED_KEY

from client_plugin.config import NodeConfig
from client_plugin.privacy import keeper
from client_plugin.privacy.keeper import JobKeeper
from client_plugin.privacy.kept import Kept, has_keys

JOB = "6dcf7a2c-0e51-4c4a-8b1a-1d8f0b7a9d11"


class Engine:
    """What the keeper looks at in NVFlare's client engine."""

    def __init__(self) -> None:
        self.client_executor = self
        self.run_processes: dict[str, dict[str, Any]] = {}

    def get_all_components(self) -> dict[str, Any]:
        return {}


class Client:
    """A hospital's client process with a keeper."""

    def __init__(self, kit: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (kit / "local").mkdir()
        (kit / "startup").mkdir()
        (kit / "local" / "fedpacs.yaml").write_text(yaml.safe_dump({"site": "hospital-a"}))
        self.config = NodeConfig.load(kit)
        self.engine = Engine()
        self.started: list[str] = []
        self._workspace = Workspace(str(kit))
        self.keeper = JobKeeper(restarts=2)
        monkeypatch.setattr(self.keeper, "_start", lambda job, _: self.started.append(job))
        self.fire(EventType.SYSTEM_BOOTSTRAP)
        self.fire(EventType.SYSTEM_START)

    def fire(self, event: str) -> None:
        known = {
            FLContextKey.WORKSPACE_OBJECT: self._workspace,
            FLContextKey.JOB_META: {"job_id": JOB},
            FLContextKey.CURRENT_JOB_ID: JOB,
        }
        context: FLContext = FLContextManager(self.engine, "hospital-a", "", {}, known).new_context()
        self.keeper.handle_event(event, context)

    def job_ends(self, *, killed: bool, aborted: bool = False) -> None:
        self.engine.run_processes[JOB] = record = {_ABORT_REQUESTED_KEY: False}
        self.fire(EventType.AFTER_JOB_LAUNCH)
        if killed:
            Kept.open(self.config, JOB).write_keys(b"keys")
        record[_ABORT_REQUESTED_KEY] = aborted
        del self.engine.run_processes[JOB]
        self.fire(EventType.JOB_COMPLETED)


@pytest.fixture
def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Client:
    return Client(tmp_path, monkeypatch)


def wait_for(client: Client, count: int) -> None:
    for thread in keeper.threading.enumerate():
        if thread.daemon and thread.name.startswith("Thread"):
            thread.join(1.0)
    assert client.started == [JOB] * count


def test_a_process_that_ended_in_good_order_is_not_started_again(client: Client) -> None:
    client.job_ends(killed=False)
    wait_for(client, 0)


def test_a_killed_process_is_started_again_so_many_times_and_no_more(client: Client) -> None:
    for count in (1, 2):
        client.job_ends(killed=True)
        wait_for(client, count)
        assert has_keys(client.config, JOB)
    client.job_ends(killed=True)
    wait_for(client, 2)
    assert not has_keys(client.config, JOB)


def test_a_process_whose_end_nvflare_asked_for_stays_ended(client: Client) -> None:
    client.job_ends(killed=True, aborted=True)
    wait_for(client, 0)
    assert not has_keys(client.config, JOB)


def test_a_start_of_the_client_destroys_keys_of_its_former_life(client: Client) -> None:
    Kept.open(client.config, JOB).write_keys(b"keys")
    client.fire(EventType.SYSTEM_START)
    assert not has_keys(client.config, JOB)


def test_in_a_job_process_it_does_nothing(client: Client) -> None:
    Kept.open(client.config, JOB).write_keys(b"keys")
    JobKeeper().handle_event(EventType.SYSTEM_START, FLContext())
    assert has_keys(client.config, JOB)
