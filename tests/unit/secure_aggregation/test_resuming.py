"""Processes that start again: what a site keeps, what it does with it, and what nobody may bring in."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from secure_aggregation import catching_up, keeping
from secure_aggregation.errors import ProtocolError, Reason
from secure_aggregation.layout import Layout
from secure_aggregation.optimizer import ServerOptimizer
from secure_aggregation.rounds import TRAIN, round_message
from secure_aggregation.server import Ceremony
from secure_aggregation.site import Site, State
from tests.unit.secure_aggregation.consortium import Consortium, Tensors, credentials, settings

SHAPES = {"w": (40, 7), "b": (3,)}
LAYOUT = Layout.declare(SHAPES)


def tensors(seed: int) -> Tensors:
    rng = np.random.default_rng(seed)
    return {name: rng.uniform(-1, 1, shape).astype(np.float32) for name, shape in SHAPES.items()}


def after(rounds: int, consortium: Consortium, skip: tuple[str, ...] = ()) -> Consortium:
    """After so many rounds of all sites; those of ``skip`` have not opened the last sum."""
    consortium.ceremony()
    closed = None
    for step in range(rounds + 1):
        message = round_message(consortium.server.roster(), step, 9, TRAIN, closed)
        for name, site in consortium.sites.items():
            if step < rounds or name not in skip:
                site.begin(message)
        if step == rounds:
            break
        running = consortium.running(step)
        for i, (name, site) in enumerate(consortium.sites.items()):
            running.add(name, site.seal(tensors(10 * step + i), 1.0))
        for name, site in consortium.sites.items():
            running.revealed(name, site.reveal(running.reveal(name)))
        closed = running.close()
    return consortium


def started_again(site: Site, *, keys: bool = True, model: bool = True, job: str | None = None) -> Site:
    """A new process of a site, with what the old one kept."""
    again = Site(site.name, job or site.job, site.settings, site._credentials, site._authority, resumes=job is not None)
    again.declare_layout(LAYOUT)
    if model:
        kept = site.keep_model()
        assert kept is not None
        again.take_model(kept)
    if keys:
        sealed = site.keep_keys()
        assert sealed is not None
        again.take_keys(sealed)
    return again


def model_of(site: Site) -> np.ndarray:
    assert site._model.total is not None
    return site._model.total.vector


def resumed(consortium: Consortium, job: str = "another-job") -> Consortium:
    """The sites of an interrupted job in the job that resumes it, before its ceremony."""
    second = Consortium(consortium.count, consortium.agreed, LAYOUT, job)
    second.sites = {name: started_again(site, keys=False, job=job) for name, site in consortium.sites.items()}
    return second


@pytest.mark.parametrize("encryption", ["he+masks", "masks"])
def test_a_process_that_starts_again_goes_on_in_the_same_epoch(encryption: str) -> None:
    consortium = after(2, Consortium(3, settings(encryption), LAYOUT))
    first, *_ = consortium.sites
    again = started_again(consortium.sites[first])
    assert again.state is State.READY
    consortium.sites[first] = again
    running = consortium.running(2)
    for i, (name, site) in enumerate(consortium.sites.items()):
        running.add(name, site.seal(tensors(20 + i), 1.0))
    opened = consortium.close(running)
    # Its executor starts from the seed, and so gets all three rounds at once; the others get the last.
    assert np.array_equal(LAYOUT.flatten(opened[first].tensors), model_of(again))
    for name in list(consortium.sites)[1:]:
        mean = np.mean([tensors(20 + i)["w"] for i in range(3)], axis=0)
        assert np.abs(opened[name].tensors["w"] - mean).max() < 1e-6


def test_a_message_of_the_round_it_was_in_gives_it_the_whole_model() -> None:
    consortium = after(2, Consortium(3, settings("he+masks"), LAYOUT))
    first, second, _ = consortium.sites
    running = consortium.running(2)
    for i, (name, site) in enumerate(consortium.sites.items()):
        running.add(name, site.seal(tensors(20 + i), 1.0))
    for name, site in consortium.sites.items():
        running.revealed(name, site.reveal(running.reveal(name)))
    message = round_message(consortium.server.roster(), 3, 9, TRAIN, running.close())
    consortium.sites[second].begin(message)
    consortium.sites[first].begin(message)
    again = started_again(consortium.sites[first])
    for _ in range(2):  # NVFlare may deliver a task twice
        opened = again.begin(message).opened
        assert opened is not None
        assert np.array_equal(LAYOUT.flatten(opened.tensors), model_of(consortium.sites[second]))
    again.seal(tensors(1), 1.0)


def test_what_was_revealed_stays_revealed_over_a_restart() -> None:
    consortium = Consortium(4, settings("masks"), LAYOUT).ceremony()
    consortium.begin(0)
    running, smaller = consortium.running(0), consortium.running(0)
    for i, (name, site) in enumerate(consortium.sites.items()):
        running.add(name, site.seal(tensors(i), 1.0))
    for name in list(consortium.sites)[:3]:
        smaller._updates[name] = running.updates[name]
    first = next(iter(consortium.sites))
    answer = consortium.sites[first].reveal(running.reveal(first))
    kept = consortium.sites[first].keep_keys()
    assert kept is not None
    again = Site(first, consortium.job, consortium.agreed, credentials(first), consortium.authority)
    again.declare_layout(LAYOUT)
    again.take_keys(kept)
    assert (again.reveal(running.reveal(first)) == answer).all()
    with pytest.raises(ProtocolError) as error:
        again.reveal(smaller.reveal(first))
    assert error.value.reason is Reason.SECOND_REVEAL
    with pytest.raises(ProtocolError) as error:  # and no second update of the round
        again.seal(tensors(0), 1.0)
    assert error.value.reason is Reason.OUT_OF_ORDER


def test_a_job_that_resumes_another_gives_everybody_the_furthest_model() -> None:
    names = list(Consortium(3).sites)
    consortium = after(2, Consortium(3, settings("he+masks"), LAYOUT), skip=(names[1],))
    second = resumed(consortium).ceremony()
    roster = second.server.roster()
    assert roster.standing == 1
    assert roster.behind(1) == [names[1]]
    state = second.sites[names[0]].state_of(catching_up.request(roster))
    second.sites[names[1]].catch_up(state)
    message = round_message(roster, 2, 9, TRAIN, None)
    for site in second.sites.values():
        opened = site.begin(message).opened
        assert opened is not None
        assert np.abs(LAYOUT.flatten(opened.tensors) - model_of(consortium.sites[names[0]])).max() < 1e-6
        site.seal(tensors(3), 1.0)


def test_models_of_the_same_round_that_differ_stop_the_ceremony() -> None:
    consortium = after(2, Consortium(3, settings("he+masks"), LAYOUT))
    second = resumed(consortium)
    cheat = list(second.sites.values())[2]
    total = cheat._model.total
    assert total is not None
    cheat._model._total = replace(total, vector=total.vector + np.float32(1e-3))
    second.announce()
    second.share()
    second.confirm()
    with pytest.raises(ProtocolError) as error:
        second.ready()
    assert error.value.reason is Reason.MODELS_DIFFER


def test_nobody_brings_a_model_into_a_new_job() -> None:
    consortium = after(1, Consortium(3, settings("he+masks"), LAYOUT))
    fresh = Consortium(3, consortium.agreed, LAYOUT, "another-job")
    first, second, _ = fresh.sites
    fresh.sites[first] = started_again(consortium.sites[first], keys=False, job="another-job")
    fresh.announce()
    with pytest.raises(ProtocolError) as error:
        fresh.sites[second].share(fresh.server.roster().message())
    assert error.value.reason is Reason.MODELS_DIFFER


def test_a_kept_model_fits_only_the_same_kind_of_job() -> None:
    consortium = after(1, Consortium(3, settings("he+masks"), LAYOUT))
    site = next(iter(consortium.sites.values()))
    kept = site.keep_model()
    assert kept is not None
    other = replace(site.settings, optimizer=ServerOptimizer("fedavgm"))
    with pytest.raises(ProtocolError, match="other settings"):
        keeping.unpack_model(kept, other, LAYOUT)
    with pytest.raises(ProtocolError, match="other tensors"):
        keeping.unpack_model(kept, site.settings, Layout.declare({"w": (40, 7), "b": (4,)}))
    with pytest.raises(ProtocolError):
        keeping.unpack_model(kept[:40], site.settings, LAYOUT)


@pytest.mark.parametrize("damage", ["group", "roster", "own", "secret"])
def test_damaged_keys_are_not_used(damage: str) -> None:
    consortium = after(1, Consortium(3, settings("he+masks"), LAYOUT))
    site = next(iter(consortium.sites.values()))
    found = json.loads(site.keep_keys() or b"")
    found[damage] = {"group": None, "roster": "00", "own": "00", "secret": "abcd"}[damage]
    again = Site(site.name, site.job, site.settings, site._credentials, site._authority)
    with pytest.raises(ProtocolError):
        again.take_keys(json.dumps(found).encode())
    assert again.state is State.IDLE


def test_a_site_without_its_keys_comes_back_by_the_ceremony() -> None:
    """Its disk is gone: nothing of it is needed, the others hand on the model."""
    consortium = after(2, Consortium(3, settings("he+masks"), LAYOUT))
    first, second, _ = consortium.sites
    consortium.sites[first] = started_again(consortium.sites[first], keys=False, model=False)
    consortium.epoch = 1
    consortium.server = Ceremony(consortium.job, 1, consortium.agreed, consortium.authority)
    consortium.announce()
    consortium.share()
    consortium.confirm()
    consortium.ready()
    roster = consortium.server.roster()
    assert roster.behind(1) == [first]
    consortium.sites[first].catch_up(consortium.sites[second].state_of(catching_up.request(roster)))
    opened = consortium.sites[first].begin(round_message(roster, 2, 9, TRAIN, None)).opened
    assert opened is not None
    assert np.array_equal(LAYOUT.flatten(opened.tensors), model_of(consortium.sites[second]))
