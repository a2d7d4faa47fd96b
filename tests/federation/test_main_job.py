"""The main job of the README, small: two hospitals, two rounds, from provisioned kits, with nothing mocked.

Everything is asserted on one run, because a run is what costs time (`tests.federation.main_job`).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from client_plugin.learning.config import LearningConfig
from client_plugin.learning.networks import build
from client_plugin.learning.tasks import open_task
from client_plugin.learning.training import definition_of, to_weights
from demo import processes
from demo.checks import needles, search
from demo.federation import SERVER
from demo.people import IDENTITIES
from demo.result import DemoResult
from tests.federation.main_job import LEARNING, SITES, Outcome

pytestmark = pytest.mark.federation


def initial_weights() -> dict[str, np.ndarray]:
    """What every hospital starts from, by the job's seed."""
    config = LearningConfig.from_job(LEARNING)
    return to_weights(build(definition_of(open_task(config), config), config.training.seed))


def final_weights(outcome: Outcome) -> dict[str, np.ndarray]:
    weights: dict[str, np.ndarray] = load_file(outcome.folder / "model" / "models" / "model.safetensors")
    return weights


def test_every_round_has_both_hospitals_and_is_shown(outcome: Outcome) -> None:
    assert [r.number for r in outcome.result.rounds] == [1, 2]
    for one in outcome.result.rounds:
        assert [part.site for part in one.contributions] == SITES
        assert one.missing == ()
        assert all(part.loss > 0 and part.images > 0 and part.bytes_up > 0 for part in one.contributions)
    assert "round 2/2" in outcome.said


def test_the_result_compares_alone_pooled_and_federation(outcome: Outcome) -> None:
    models = outcome.result.models
    assert sorted(model.kind for model in models) == ["alone", "alone", "federation", "pooled"]
    for model in models:
        assert [score.slab for score in model.scores] == SITES
        assert all(score.images > 50 for score in model.scores)
    assert {hospital.patients for hospital in outcome.result.hospitals} == {1}
    assert outcome.result.network.name == "DenseNet"  # as the bundle says


def test_two_rounds_of_encrypted_averaging_changed_the_model(outcome: Outcome) -> None:
    weights = final_weights(outcome)
    assert all(np.isfinite(value).all() for value in weights.values())
    sizes = [part.bytes_up for one in outcome.result.rounds for part in one.contributions]
    assert min(sizes) > outcome.result.network.plain_bytes * 0.5  # an update, not an empty message


def test_kits_pass_nvflares_preflight_check(outcome: Outcome) -> None:
    for name in (SERVER, *SITES):
        assert "overall: pass" in (outcome.folder / "logs" / f"preflight-{name}.log").read_text()


def test_the_server_wrote_neither_the_model_nor_a_hospitals_key(outcome: Outcome) -> None:
    server = [outcome.kit(SERVER), outcome.folder / "server-storage", outcome.folder / "download"]
    wanted = needles(final_weights(outcome))
    for site in SITES:
        wanted[f"{site} private key"] = (outcome.kit(site) / "startup" / "client.key").read_bytes()[40:120]
        wanted[f"{site} site key"] = (outcome.kit(site) / "node" / "keys" / "site.key").read_bytes()
    files, found = search(server, wanted)
    assert files > 20
    assert found == []
    # The search can find: the model is where it belongs, at a hospital.
    _, at_home = search([outcome.kit(SITES[0]) / "node" / "models"], wanted)
    assert at_home


def test_the_servers_memory_holds_nothing_that_opens_an_update(outcome: Outcome) -> None:
    spy = outcome.spy
    assert len(spy.dumps["server"]) >= 2, "the server's job process was not seen while it aggregated"
    assert spy.dumps["hospital"]
    server, hospital = (spy.libraries[kind] for kind in ("server", "hospital"))
    assert any("sealapi" in name or "tenseal" in name for name in hospital)
    assert not any("sealapi" in name or "tenseal" in name for name in server)
    # What every hospital starts from is in its memory in the first round, so the search would have found it.
    start = a_few(initial_weights())
    assert found_in(spy.dumps["hospital"], start)
    wanted = start | a_few(final_weights(outcome))
    for site in SITES:
        wanted[f"{site} private key"] = (outcome.kit(site) / "startup" / "client.key").read_bytes()[40:120]
    assert found_in(spy.dumps["server"], wanted) == set()


def a_few(weights: dict[str, np.ndarray]) -> dict[str, bytes]:
    """One needle for each of the four largest tensors: each is a walk through some hundred megabytes."""
    largest = sorted(weights, key=lambda name: weights[name].size)[-4:]
    windows = needles({name: weights[name] for name in largest}).values()
    return {window[:4].hex(): window for window in list(windows)[::4]}


def found_in(dumps: list[Path], wanted: dict[str, bytes]) -> set[str]:
    found = set()
    for path in dumps:
        memory = path.read_bytes()
        found |= {name for name, value in wanted.items() if value in memory}
    return found


def test_no_planted_identifier_is_anywhere_behind_the_front_door(outcome: Outcome) -> None:
    planted = {text: text.encode() for letter in "ab" for text in IDENTITIES[letter].planted if len(text) > 5}
    assert len(planted) > 20
    behind = [outcome.folder / "kits", outcome.folder / "server-storage", outcome.folder / "logs"]
    files, found = search(behind, planted)
    assert files > 300
    assert found == []


def test_everything_that_was_started_has_ended(outcome: Outcome) -> None:
    assert list(processes.marked(outcome.folder.name)) == []


def test_the_model_is_a_bundle_and_the_report_is_whole(outcome: Outcome) -> None:
    assert (outcome.folder / "model" / "configs" / "metadata.json").is_file()
    assert (outcome.folder / "model" / "docs" / "README.md").is_file()
    page = (outcome.folder / "report.html").read_text()
    assert page.count("<svg") >= 3
    assert DemoResult.load(outcome.folder).rounds == outcome.result.rounds
