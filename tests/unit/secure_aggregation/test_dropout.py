"""Sites that drop out, come late, come back; keys that change between rounds."""

from __future__ import annotations

import numpy as np
import pytest

from secure_aggregation import catching_up
from secure_aggregation.errors import ProtocolError, Reason
from secure_aggregation.layout import Layout
from secure_aggregation.rounds import TRAIN, Closed, round_message
from secure_aggregation.server import Ceremony
from tests.unit.secure_aggregation.consortium import Consortium, Tensors, settings

SHAPES = {"w": (40, 7), "b": (3,)}


def tensors(seed: int) -> Tensors:
    rng = np.random.default_rng(seed)
    return {name: rng.uniform(-1, 1, shape).astype(np.float32) for name, shape in SHAPES.items()}


def masked(count: int, encryption: str = "masks") -> Consortium:
    return Consortium(count, settings(encryption), Layout.declare(SHAPES)).ceremony()


@pytest.mark.parametrize("encryption", ["masks", "he+masks"])
@pytest.mark.parametrize("dropped", [1, 2])
def test_the_sum_of_those_who_are_left(encryption: str, dropped: int) -> None:
    consortium = masked(5, encryption)
    here = list(consortium.sites)[dropped:]
    updates = {name: tensors(i) for i, name in enumerate(here)}
    opened = consortium.round(0, updates, dict.fromkeys(here, 1.0))
    exact = np.mean([u["w"] for u in updates.values()], axis=0)
    for one in opened.values():
        assert one.contributors == tuple(here)
        assert np.abs(one.tensors["w"] - exact).max() < 1e-6


def test_a_site_that_vanishes_after_its_update_is_still_in_the_sum() -> None:
    consortium = masked(5)
    running = contribute(consortium, list(consortium.sites))
    for name in list(consortium.sites)[:3]:  # three of five reveal, the threshold
        running.revealed(name, consortium.sites[name].reveal(running.reveal(name)))
    message = round_message(consortium.server.roster(), 1, 9, TRAIN, running.close())
    opened = next(iter(consortium.sites.values())).begin(message).opened
    assert opened is not None
    assert len(opened.contributors) == 5


def contribute(consortium: Consortium, here: list[str], step: int = 0):  # type: ignore[no-untyped-def]
    consortium.begin(step)
    running = consortium.running(step)
    for i, name in enumerate(here):
        running.add(name, consortium.sites[name].seal(tensors(i), 1.0))
    return running


def test_too_few_shares_open_nothing() -> None:
    consortium = masked(5)
    running = contribute(consortium, list(consortium.sites))
    for name in list(consortium.sites)[:2]:
        running.revealed(name, consortium.sites[name].reveal(running.reveal(name)))
    with pytest.raises(ProtocolError) as error:
        running.close()
    assert error.value.reason is Reason.MISSING_SHARES
    # A server that sends the sum all the same gets nowhere.
    closed = Closed(running.roster, 0, list(running.updates.values()), running.finish(), running._revealed)
    with pytest.raises(ProtocolError) as error:
        next(iter(consortium.sites.values())).begin(round_message(running.roster, 1, 9, TRAIN, closed))
    assert error.value.reason is Reason.MISSING_SHARES


def test_a_second_set_of_sites_is_refused() -> None:
    consortium = masked(5)
    first, *_, last = consortium.sites
    running = contribute(consortium, list(consortium.sites))
    smaller = consortium.running(0)
    for name in list(consortium.sites)[:4]:
        smaller._updates[name] = running.updates[name]
    site = consortium.sites[first]
    answer = site.reveal(running.reveal(first))
    assert (site.reveal(running.reveal(first)) == answer).all()  # asked again for the same: the same
    with pytest.raises(ProtocolError) as error:
        site.reveal(smaller.reveal(first))
    assert error.value.reason is Reason.SECOND_REVEAL
    assert last in running.contributors


def test_two_sites_are_no_sum() -> None:
    consortium = masked(3)
    running = contribute(consortium, list(consortium.sites)[:2])
    with pytest.raises(ProtocolError) as error:
        next(iter(consortium.sites.values())).reveal(running.reveal(next(iter(consortium.sites))))
    assert error.value.reason is Reason.TOO_FEW_SITES
    with pytest.raises(ProtocolError, match="needs 3"):
        Consortium(2, settings("masks")).agreed.parameters(2)


def test_a_dropped_site_sends_nothing_more_with_its_revealed_key() -> None:
    consortium = masked(4)
    late = list(consortium.sites)[3]
    opened = consortium.round(
        0, {n: tensors(1) for n in list(consortium.sites)[:3]}, dict.fromkeys(consortium.sites, 1.0)
    )
    assert late in opened
    consortium.begin(1)
    with pytest.raises(ProtocolError, match="new ceremony is due") as error:
        consortium.sites[late].seal(tensors(0), 1.0)
    assert error.value.reason is Reason.OUT_OF_ORDER


def test_a_late_update_is_not_added() -> None:
    consortium = masked(4)
    late = list(consortium.sites)[3]
    running = contribute(consortium, list(consortium.sites)[:3])
    update = consortium.sites[late].seal(tensors(9), 1.0)
    running.reveal(late)
    with pytest.raises(ProtocolError, match="closed"):
        running.add(late, update)


def rekey(consortium: Consortium) -> None:
    consortium.epoch += 1
    consortium.server = Ceremony(consortium.job, consortium.epoch, consortium.agreed, consortium.authority)
    consortium.announce()
    consortium.share()
    consortium.confirm()
    consortium.ready()


@pytest.mark.parametrize("encryption", ["he", "he+masks"])
def test_new_keys_between_a_sum_and_its_opening(encryption: str) -> None:
    consortium = masked(3, encryption)
    running = contribute(consortium, list(consortium.sites))
    if running.parameters.encryption.masks:
        for name, site in consortium.sites.items():
            running.revealed(name, site.reveal(running.reveal(name)))
    rekey(consortium)
    message = round_message(consortium.server.roster(), 1, 9, TRAIN, running.close())
    for site in consortium.sites.values():
        opened = site.begin(message).opened
        assert opened is not None
        assert opened.step == 0
        site.seal(tensors(3), 1.0)


def test_a_site_that_missed_sums_gets_what_it_missed() -> None:
    consortium = masked(4, "he")
    away = consortium.sites.pop(list(consortium.sites)[3])
    rekey(consortium)
    consortium.count = 3
    means: dict[int, Tensors] = {}
    closed = None
    for step in range(3):
        message = round_message(consortium.server.roster(), step, 9, TRAIN, closed)
        running = consortium.running(step)
        for i, (name, site) in enumerate(consortium.sites.items()):
            opened = site.begin(message).opened
            if opened:
                means[opened.step] = opened.tensors
            running.add(name, site.seal(tensors(10 * step + i), 1.0))
        closed = running.close()
    assert closed is not None
    # It comes back before the third sum is opened by anybody.
    consortium.sites[away.name] = away
    rekey(consortium)
    consortium.count = 4
    roster = consortium.server.roster()
    message = round_message(roster, 3, 9, TRAIN, closed)
    source = next(iter(consortium.sites.values()))
    away.catch_up(source.state_of(catching_up.request(roster, message)))
    third = source.begin(message).opened
    missed = away.begin(message).opened
    assert third is not None
    assert missed is not None
    assert np.allclose(missed.tensors["w"], means[0]["w"] + means[1]["w"] + third.tensors["w"], atol=1e-6)
    away.seal(tensors(0), 1.0)


def test_a_gap_is_noticed() -> None:
    consortium = Consortium(2, layout=Layout.declare(SHAPES)).ceremony()
    running = contribute(consortium, list(consortium.sites), step=4)
    with pytest.raises(ProtocolError) as error:
        next(iter(consortium.sites.values())).begin(round_message(running.roster, 5, 9, TRAIN, running.close()))
    assert error.value.reason is Reason.MISSED_SUM
