"""What passes the hospital's two gates and what does not; through NVFlare's own objects, with a kit on disk."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from nvflare.apis.dxo import DXO, DataKind, from_shareable
from nvflare.apis.event_type import EventType
from nvflare.apis.fl_constant import FLContextKey, ReturnCode
from nvflare.apis.fl_context import FLContext, FLContextManager
from nvflare.apis.shareable import Shareable, make_reply
from nvflare.apis.signal import Signal
from nvflare.apis.workspace import Workspace

from client_plugin.privacy.ceremony import CeremonyExecutor
from client_plugin.privacy.filters import OpenAggregate, SealUpdate, shared
from client_plugin.privacy.kit import NotSentError
from client_plugin.privacy.session import AggregationSession, session_of
from secure_aggregation.ceremony import Settings
from secure_aggregation.errors import ProtocolError
from secure_aggregation.identity import Authority
from secure_aggregation.rounds import FINISH, TRAIN, round_message
from secure_aggregation.server import Ceremony, RunningSum
from tests.unit.secure_aggregation.consortium import AUTHORITY, SERVER, credentials

JOB = "6dcf7a2c-0e51-4c4a-8b1a-1d8f0b7a9d11"
SHAPES = {"w": (4, 3), "bn.running_mean": (2,)}


class Components:
    """The one thing that the gates ask of NVFlare's engine in a job process."""

    def __init__(self) -> None:
        self.components: dict[str, Any] = {}

    def get_all_components(self) -> dict[str, Any]:
        return self.components


class Hospital:
    """A kit, a session and both gates."""

    def __init__(self, folder: Path, name: str, arguments: dict[str, Any], governance: dict[str, Any]) -> None:
        self.name = name
        kit = folder / name
        for part in ("startup", "local"):
            (kit / part).mkdir(parents=True)
        (kit / "startup" / "client.crt").write_bytes(credentials(name).certificate)
        (kit / "startup" / "client.key").write_bytes(credentials(name).key)
        (kit / "startup" / "rootCA.pem").write_bytes(AUTHORITY.root)
        (kit / "startup" / "fed_client.json").write_text(json.dumps({"servers": [{"identity": SERVER}]}))
        (kit / "local" / "fedpacs.yaml").write_text(yaml.safe_dump({"site": name, "governance": governance}))
        self.folder = folder
        self.start(AggregationSession(**arguments), JOB, {})
        self.session.declare_layout(SHAPES)

    def start(self, session: AggregationSession, job: str, meta: dict[str, Any]) -> None:
        """A process of a job at this hospital."""
        self.engine = Components()
        workspace = Workspace(str(self.folder / self.name))
        known = {FLContextKey.WORKSPACE_OBJECT: workspace, FLContextKey.JOB_META: meta}
        self.context: FLContext = FLContextManager(self.engine, self.name, job, {}, known).new_context()
        self.session = session
        self.engine.components["aggregation"] = session
        session.handle_event(EventType.START_RUN, self.context)

    def task(self, name: str, payload: np.ndarray) -> Shareable:
        """One task of the ceremony through both gates, as NVFlare's client runner has it."""
        data = OpenAggregate().process(Shareable({"fedpacs": payload}), self.context)
        return SealUpdate().process(CeremonyExecutor().execute(name, data, self.context, Signal()), self.context)


ARGUMENTS = {"encryption": "he", "max_weight": 10.0, "min_sites": 2, "keep_local": ["running_"]}
POLICY = {"min_sites": 2, "share_metrics": ["loss"]}


@pytest.fixture
def hospitals(tmp_path: Path) -> list[Hospital]:
    return [Hospital(tmp_path, name, ARGUMENTS, POLICY) for name in ("hospital-a", "hospital-b")]


@pytest.fixture
def ready(hospitals: list[Hospital]) -> Ceremony:
    """After a ceremony through the gates."""
    settings: Settings = hospitals[0].session.settings
    server = Ceremony(JOB, 0, settings, Authority(AUTHORITY.root, frozenset({SERVER})))
    for one in hospitals:
        server.announced(one.name, one.task("fedpacs_announce", server.request())["fedpacs"])
    for one in hospitals:
        server.shared(one.name, one.task("fedpacs_keys", server.roster().message())["fedpacs"])
    for one in hospitals:
        server.confirmed(one.name, one.task("fedpacs_confirm", server.delivery(one.name))["fedpacs"])
    for one in hospitals:
        assert one.task("fedpacs_ready", server.ready()).get_return_code() == ReturnCode.OK
    return server


def begin(one: Hospital, server: Ceremony) -> Shareable:
    payload = round_message(server.roster(), 0, 1, TRAIN, None)
    return OpenAggregate().process(Shareable({"fedpacs": payload}), one.context)


def update(**meta: Any) -> Shareable:
    dxo = DXO(DataKind.WEIGHT_DIFF, data={n: np.full(s, 0.5, np.float32) for n, s in SHAPES.items()})
    dxo.meta = {"fedpacs.weight": 2.0, **meta}
    shareable = dxo.to_shareable()
    shareable.set_header("patient", "Doe^John")
    return shareable


def test_a_round_through_the_gates(hospitals: list[Hospital], ready: Ceremony) -> None:
    running = RunningSum(ready.roster(), hospitals[0].session.settings.parameters(2), 0, ready.layout)
    for one in hospitals:
        assert not [key for key in begin(one, ready) if not key.startswith("__")]
        sent = SealUpdate().process(update(**{"fedpacs.metrics": {"loss": 1.0, "age": 77}}), one.context)
        assert set(sent) - {"__headers__"} == {"fedpacs"}
        assert sent["__headers__"] == {"fedpacs.metrics": {"loss": 1.0}}
        running.add(one.name, sent["fedpacs"])
    message = round_message(ready.roster(), 1, 1, FINISH, running.close())
    for one in hospitals:
        got = from_shareable(OpenAggregate().process(Shareable({"fedpacs": message}), one.context))
        assert got.data_kind == DataKind.WEIGHT_DIFF
        assert np.allclose(got.data["w"], 0.5, atol=1e-6)
        assert (got.data["bn.running_mean"] == 0).all()  # FedBN: stays as it is at every site


@pytest.mark.parametrize(
    "result",
    [
        Shareable({"weights": np.zeros(3)}),
        Shareable({"fedpacs": np.zeros(3, np.uint8)}),
        Shareable({"fedpacs": np.zeros(3, np.uint8), "more": 1}),
        DXO(DataKind.WEIGHTS, data={"w": np.zeros(3)}).to_shareable(),
        DXO(DataKind.WEIGHT_DIFF, data={"w": np.zeros((4, 3), np.float32)}).to_shareable(),
        DXO(DataKind.WEIGHT_DIFF, data={"w": np.zeros(1, np.float32)}, meta={"fedpacs.weight": 1.0}).to_shareable(),
        DXO(DataKind.ANALYTIC, data={"name": "x"}).to_shareable(),
    ],
    ids=["raw", "forged", "beside", "other kind", "no weight", "other shape", "analytics"],
)
def test_what_does_not_leave(hospitals: list[Hospital], ready: Ceremony, result: Shareable) -> None:
    begin(hospitals[0], ready)
    with pytest.raises((NotSentError, ProtocolError, ValueError)):
        SealUpdate().process(result, hospitals[0].context)


def test_an_error_leaves_without_what_it_says(hospitals: list[Hospital]) -> None:
    reply = make_reply(ReturnCode.EXECUTION_EXCEPTION, {"exception": "Doe^John", "fedpacs.reason": "Doe^John"})
    reply["detail"] = "Doe^John"
    sent = SealUpdate().process(reply, hospitals[0].context)
    assert dict(sent) == {"__headers__": {"__rc__": ReturnCode.EXECUTION_EXCEPTION}}
    odd = SealUpdate().process(make_reply("Doe^John"), hospitals[0].context)
    assert odd.get_return_code() == ReturnCode.EXECUTION_EXCEPTION


def test_a_job_without_a_session_or_with_a_derived_one_sends_nothing(hospitals: list[Hospital]) -> None:
    class Lenient(AggregationSession):
        pass

    one = hospitals[0]
    for components in ({}, {"x": Lenient()}, {"x": one.session, "y": one.session}):
        one.engine.components = components
        with pytest.raises(NotSentError):
            session_of(one.context)
        with pytest.raises(NotSentError):
            SealUpdate().process(Shareable(), one.context)


@pytest.mark.parametrize(
    ("arguments", "governance"),
    [
        ({"encryption": "he"}, {"encryption": ["he+masks"]}),
        ({"bits": 16}, {"min_bits": 24}),
        ({"min_sites": 2}, {"min_sites": 3}),
    ],
)
def test_a_job_below_the_floor_gets_no_keys(
    tmp_path: Path, arguments: dict[str, Any], governance: dict[str, Any]
) -> None:
    one = Hospital(tmp_path, "hospital-a", {**ARGUMENTS, **arguments}, {**POLICY, **governance})
    with pytest.raises(NotSentError, match="not running"):
        _ = one.session.site
    request = Ceremony(JOB, 0, one.session.settings, Authority(AUTHORITY.root)).request()
    assert one.task("fedpacs_announce", request).get_return_code() == ReturnCode.EXECUTION_EXCEPTION


def test_a_kit_that_does_not_know_its_server(tmp_path: Path) -> None:
    one = Hospital(tmp_path, "hospital-a", ARGUMENTS, POLICY)
    (tmp_path / "hospital-a" / "startup" / "fed_client.json").write_text(json.dumps({"servers": [{}]}))
    one.session.handle_event(EventType.END_RUN, one.context)
    one.session.handle_event(EventType.START_RUN, one.context)
    with pytest.raises(NotSentError, match="not running"):
        _ = one.session.site


def test_a_kit_without_a_certificate_takes_no_part_unless_it_is_a_simulation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = Hospital(tmp_path, "hospital-a", {**ARGUMENTS, "min_sites": 2}, POLICY)
    issued = tmp_path / "hospital-a" / "startup" / "client.crt"
    issued.unlink()
    one.session.handle_event(EventType.END_RUN, one.context)
    one.session.handle_event(EventType.START_RUN, one.context)
    with pytest.raises(NotSentError, match="not running"):
        _ = one.session.site
    monkeypatch.setenv("FEDPACS_SIMULATION", str(tmp_path / "simulation"))
    one.session.handle_event(EventType.START_RUN, one.context)
    assert one.session.site._credentials.certificate != credentials("hospital-a").certificate
    # A real kit keeps its certificate, whatever the environment says.
    issued.write_bytes(credentials("hospital-a").certificate)
    one.session.handle_event(EventType.START_RUN, one.context)
    assert one.session.site._credentials.certificate == credentials("hospital-a").certificate


@pytest.mark.parametrize("how", ["other object", "more content", "more headers"])
def test_a_filter_of_the_job_changes_nothing_after_the_hospitals(hospitals: list[Hospital], how: str) -> None:
    one = hospitals[0]
    result = SealUpdate().process(Shareable(), one.context)
    if how == "other object":
        result = Shareable({"raw": 1})
    elif how == "more content":
        result["raw"] = 1
    else:
        result.set_header("raw", 1)
    one.context.set_prop(FLContextKey.TASK_RESULT, result, private=True, sticky=False)
    one.session.handle_event(EventType.AFTER_TASK_RESULT_FILTER, one.context)
    assert "raw" not in result
    assert result.get_header("raw") is None
    assert result.get_return_code() == ReturnCode.TASK_RESULT_FILTER_ERROR


def test_what_the_server_may_say(hospitals: list[Hospital]) -> None:
    one = hospitals[0]
    for bad in ({"weights": 1}, {"fedpacs": b"bytes"}, {"fedpacs": np.zeros((2, 2), np.uint8)}):
        with pytest.raises(ProtocolError):
            OpenAggregate().process(Shareable(bad), one.context)
    with pytest.raises(NotSentError):
        OpenAggregate().process(Shareable({"fedpacs": np.zeros(40, np.uint8)}), one.context)


def test_only_numbers_that_the_policy_names_are_shared() -> None:
    values = {"loss": 1, "auc": float("nan"), "acc": True, "other": 2.0, "text": "x"}
    assert shared(values, {"loss", "auc", "acc", "text"}) == {"loss": 1.0}
    assert shared("loss", {"loss"}) == {}
