from typing import Any

import pytest
from nvflare.fuel.flare_api.api_spec import JobNotRunning, NoConnection

from demo import lead
from demo.lead import Lead
from demo.workspace import DemoError


class Server:
    """Sessions that lose their connection as often as told."""

    def __init__(self, losses: int = 0, status: str = "RUNNING") -> None:
        self.losses, self.status, self.logins, self.open = losses, status, 0, 0

    def log_in(self) -> Any:
        self.logins += 1
        self.open += 1
        return self

    def close(self) -> None:
        self.open -= 1

    def get_job_meta(self, _job: str) -> dict[str, str]:
        if self.losses:
            self.losses -= 1
            raise NoConnection("cannot connect to server")
        return {"status": self.status}

    def show_stats(self, _job: str, _target: str) -> dict[str, str]:
        raise JobNotRunning("job is not running")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lead, "PAUSE_SECONDS", 0.0)


def test_a_lost_connection_is_made_again() -> None:
    server = Server(losses=2, status="FINISHED:COMPLETED")
    with Lead(server.log_in) as it:
        assert it.ended("job") == "FINISHED:COMPLETED"
    assert (server.logins, server.open) == (3, 0)


def test_a_server_that_is_gone_is_said() -> None:
    server = Server(losses=1000)
    with Lead(server.log_in) as it, pytest.raises(DemoError, match="does not answer"):
        it.ended("job")
    assert server.open == 0


def test_a_job_that_waits_or_runs_has_not_ended_and_may_have_no_stats() -> None:
    with Lead(Server(status="SUBMITTED").log_in) as it:
        assert it.ended("job") is None
        assert it.stats("job") == {}
