"""What a session keeps while a job runs, and what is left at the end of its process; through NVFlare's own events."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from nvflare.apis.dxo import DXO, DataKind, from_shareable
from nvflare.apis.event_type import EventType
from nvflare.apis.shareable import Shareable

from client_plugin.privacy.filters import OpenAggregate, SealUpdate
from client_plugin.privacy.session import AggregationSession
from secure_aggregation.identity import Authority
from secure_aggregation.rounds import FINISH, TRAIN, Closed, round_message
from secure_aggregation.server import Ceremony, RunningSum
from tests.unit.client_plugin.privacy.test_gates import ARGUMENTS, JOB, POLICY, SHAPES, Hospital, update
from tests.unit.secure_aggregation.consortium import AUTHORITY, SERVER

RESUMED = "0f7f2a52-5b3f-4f7e-9a55-0d3c7a4f1e22"


def kept(one: Hospital) -> set[str]:
    return {path.name for path in (one.folder / one.name / "node" / "aggregation").glob("*")}


def return_code(one: Hospital, job: str = JOB) -> Path:
    return one.folder / one.name / job / "_process_rc.txt"


def ceremony(hospitals: list[Hospital], job: str = JOB) -> Ceremony:
    server = Ceremony(job, 0, hospitals[0].session.settings, Authority(AUTHORITY.root, frozenset({SERVER})))
    for one in hospitals:
        server.announced(one.name, one.task("fedpacs_announce", server.request())["fedpacs"])
    for one in hospitals:
        server.shared(one.name, one.task("fedpacs_keys", server.roster().message())["fedpacs"])
    for one in hospitals:
        server.confirmed(one.name, one.task("fedpacs_confirm", server.delivery(one.name))["fedpacs"])
    for one in hospitals:
        one.task("fedpacs_ready", server.ready())
    return server


def train(hospitals: list[Hospital], server: Ceremony, step: int, last: Closed | None = None) -> Closed:
    message = round_message(server.roster(), step, 3, TRAIN, last)
    running = RunningSum(server.roster(), hospitals[0].session.settings.parameters(2), step, server.layout)
    for one in hospitals:
        OpenAggregate().process(Shareable({"fedpacs": message}), one.context)
        running.add(one.name, SealUpdate().process(update(), one.context)["fedpacs"])
    return running.close()


def finish(one: Hospital, server: Ceremony, last: Closed) -> None:
    message = round_message(server.roster(), 3, 3, FINISH, last)
    OpenAggregate().process(Shareable({"fedpacs": message}), one.context)
    SealUpdate().process(DXO(DataKind.METRICS, data={"loss": 1.0}).to_shareable(), one.context)


@pytest.fixture
def hospitals(tmp_path: Path) -> list[Hospital]:
    return [Hospital(tmp_path, name, ARGUMENTS, POLICY) for name in ("hospital-a", "hospital-b")]


def next_process(one: Hospital, job: str = JOB, **meta: Any) -> None:
    """The job's next process at this hospital, or the process of the job that resumes it."""
    one.start(AggregationSession(**ARGUMENTS), job, meta)
    one.session.declare_layout(SHAPES)


def test_keys_and_model_are_kept_while_the_job_runs_and_destroyed_when_it_has_finished(
    hospitals: list[Hospital],
) -> None:
    server = ceremony(hospitals)
    one = hospitals[0]
    assert kept(one) == {f"{JOB}.keys"}
    assert return_code(one).read_text() == "127"  # unknown: a killed process does not fail the job everywhere
    closed = train(hospitals, server, 1, train(hospitals, server, 0))
    assert kept(one) == {f"{JOB}.keys", f"{JOB}.model"}
    finish(one, server, closed)
    one.session.handle_event(EventType.END_RUN, one.context)
    assert kept(one) == set()
    assert not return_code(one).exists()


def test_a_job_that_ends_early_leaves_its_model_and_no_keys(hospitals: list[Hospital]) -> None:
    server = ceremony(hospitals)
    train(hospitals, server, 1, train(hospitals, server, 0))
    one = hospitals[0]
    one.session.handle_event(EventType.END_RUN, one.context)
    assert kept(one) == {f"{JOB}.model"}


def test_a_killed_process_goes_on(hospitals: list[Hospital]) -> None:
    server = ceremony(hospitals)
    closed = train(hospitals, server, 1, train(hospitals, server, 0))
    one = hospitals[0]
    next_process(one)
    message = round_message(server.roster(), 2, 3, TRAIN, closed)
    opened = from_shareable(OpenAggregate().process(Shareable({"fedpacs": message}), one.context))
    assert np.allclose(opened.data["w"], 1.0, atol=1e-6)  # both rounds: its executor starts from the seed


def test_a_clone_of_an_interrupted_job_goes_on_from_its_model(hospitals: list[Hospital]) -> None:
    server = ceremony(hospitals)
    train(hospitals, server, 1, train(hospitals, server, 0))
    for one in hospitals:
        one.session.keep_own(one.name.encode())
        one.session.handle_event(EventType.END_RUN, one.context)
        next_process(one, RESUMED, cloned_from=JOB)
        assert one.session.kept_own() == one.name.encode()
        one.session.keep_own(b"later")
        assert one.session.kept_own() == b"later"
    again = ceremony(hospitals, RESUMED)
    assert again.roster().standing == 0
    closed = train(hospitals, again, 1)
    for one in hospitals:
        finish(one, again, closed)
        # The interrupted job's model is not needed any more; what its executor kept goes at the end.
        assert kept(one) == {f"{RESUMED}.keys", f"{RESUMED}.model", f"{RESUMED}.own", f"{JOB}.own"}
        one.session.handle_event(EventType.END_RUN, one.context)
        assert kept(one) == set()


def test_a_full_disk_stops_no_round_and_leaves_no_old_record(
    hospitals: list[Hospital], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    server = ceremony(hospitals)
    closed = train(hospitals, server, 0)

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("client_plugin.privacy.kept.tempfile.mkstemp", full)
        closed = train(hospitals, server, 1, closed)
    assert "the keys are not kept: No space left on device; make room" in caplog.text
    assert "the model of round 1 is not kept: No space left on device; make room" in caplog.text
    assert kept(hospitals[0]) == set()
    train(hospitals, server, 2, closed)  # there is room again
    assert kept(hospitals[0]) == {f"{JOB}.keys", f"{JOB}.model"}


def test_a_job_that_is_no_clone_starts_anew(hospitals: list[Hospital]) -> None:
    server = ceremony(hospitals)
    train(hospitals, server, 1, train(hospitals, server, 0))
    for one in hospitals:
        one.session.handle_event(EventType.END_RUN, one.context)
        next_process(one, RESUMED)
    assert ceremony(hospitals, RESUMED).roster().standing == -1


def test_a_clone_with_other_settings_starts_anew_and_says_so(
    hospitals: list[Hospital], caplog: pytest.LogCaptureFixture
) -> None:
    server = ceremony(hospitals)
    train(hospitals, server, 1, train(hospitals, server, 0))
    one = hospitals[0]
    one.session.keep_own(b"of the interrupted job")
    one.session.handle_event(EventType.END_RUN, one.context)
    one.start(AggregationSession(**{**ARGUMENTS, "clip": 0.5}), RESUMED, {"cloned_from": JOB})
    one.session.declare_layout(SHAPES)
    assert one.session.site.standing == -1
    assert one.session.kept_own() is None
    assert "what was kept is not used: parameters_differ" in caplog.text
