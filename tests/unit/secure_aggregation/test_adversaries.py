"""Every way of lying that the protocol knows: detected, named, and the sum is as before."""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable

import numpy as np
import pytest

from secure_aggregation import ceremony, messages
from secure_aggregation.errors import ProtocolError, Reason
from secure_aggregation.identity import Authority
from secure_aggregation.layout import Layout
from secure_aggregation.rounds import TRAIN, Closed, round_message
from secure_aggregation.server import RunningSum
from secure_aggregation.site import Site, State
from tests.unit.secure_aggregation.consortium import (
    AUTHORITY,
    SERVER,
    Consortium,
    TestAuthority,
    credentials,
    names,
    settings,
)

LAYOUT = Layout.declare({"w": (9, 5)})
NOW = datetime.datetime.now(datetime.UTC)


def tensors(seed: int = 0) -> dict[str, np.ndarray]:
    return {"w": np.random.default_rng(seed).uniform(-1, 1, (9, 5)).astype(np.float32)}


def refused(reason: Reason, action: Callable[[], object]) -> None:
    with pytest.raises(ProtocolError) as error:
        action()
    assert error.value.reason is reason, error.value


@pytest.fixture
def consortium() -> Consortium:
    return Consortium(3, settings("he+masks"), LAYOUT)


@pytest.fixture
def running(consortium: Consortium) -> RunningSum:
    consortium.ceremony().begin(0)
    return consortium.running(0)


# --- who may take part ------------------------------------------------------------------------------------------


def announce_as(name: str, issuer: TestAuthority = AUTHORITY, **kind: object) -> bytes:
    issued = issuer.issue(name, **kind)  # type: ignore[arg-type]
    site = Site(name, "job", settings(), issued, Authority(issuer.root))
    return site.announce(ceremony.announce_request("job", 0)).tobytes()


def read(wire: bytes, name: str, authority: Authority | None = None) -> object:
    chosen = authority or Authority(AUTHORITY.root, frozenset({SERVER}))
    return ceremony.read_announcement(wire, "job", 0, name, chosen, NOW)


def test_a_hospital_is_accepted() -> None:
    assert read(announce_as("hospital-a"), "hospital-a")


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        (SERVER, {}),  # the server enrols itself as one more hospital
        ("admin@consortium.example", {"role": "project_admin"}),
        ("hospital-a", {"days": -1}),
        ("hospital-a", {"bits": 1024}),
    ],
)
def test_certificates_that_are_no_hospitals(name: str, kind: dict[str, object]) -> None:
    refused(Reason.BAD_CERTIFICATE, lambda: read(announce_as(name, **kind), name))


def test_another_authority() -> None:
    wire = announce_as("hospital-a", TestAuthority())
    refused(Reason.BAD_CERTIFICATE, lambda: read(wire, "hospital-a"))


def test_another_name_than_the_certificates() -> None:
    site = Site("hospital-b", "job", settings(), credentials("hospital-a"), Authority(AUTHORITY.root))
    wire = site.announce(ceremony.announce_request("job", 0))
    refused(Reason.BAD_CERTIFICATE, lambda: read(wire.tobytes(), "hospital-b"))


def test_not_a_partner() -> None:
    chosen = Authority(AUTHORITY.root, partners=frozenset({"hospital-b"}))
    refused(Reason.UNKNOWN_SITE, lambda: read(announce_as("hospital-a"), "hospital-a", chosen))


# --- a server in the middle -------------------------------------------------------------------------------------


def change(wire: bytes, **fields: object) -> bytes:
    """The same message with other header fields; the signature stays."""
    message = messages.decode(np.frombuffer(wire, np.uint8), messages.kind_of(wire))
    new = messages.canonical({**message.fields, **fields})
    return messages._start(new, message.signature) + message.body.tobytes()


def test_a_key_replaced_on_the_way(consortium: Consortium) -> None:
    site = next(iter(consortium.sites.values()))
    wire = site.announce(consortium.server.request()).tobytes()
    forged = change(wire, seal_key="11" * 32)
    refused(Reason.BAD_SIGNATURE, lambda: consortium.server.announced(site.name, forged))


def test_a_roster_without_or_with_a_changed_entry_of_the_site(consortium: Consortium) -> None:
    consortium.announce()
    roster = json.loads(
        messages.decode(consortium.server.roster().message(), ceremony.ROSTER).signed.split(b"\0", 1)[1]
    )
    first, second, _ = consortium.sites
    old = consortium.sites[first]._epoch
    assert old
    del roster["members"][first]
    wire = messages.encode(ceremony.ROSTER, {k: roster[k] for k in ("job", "epoch", "members")})
    refused(Reason.SPLIT_VIEW, lambda: consortium.sites[first].share(wire))
    assert consortium.sites[first].state is State.IDLE
    refused(Reason.TOO_FEW_SITES, lambda: consortium.sites[second].share(smaller(consortium, second)))


def smaller(consortium: Consortium, only: str) -> np.ndarray:
    members = {only: consortium.server.roster().members[only].wire.hex()}
    return messages.encode(ceremony.ROSTER, {"job": consortium.job, "epoch": 0, "members": members})


def test_two_rosters_are_noticed_before_anything_is_sent() -> None:
    """The server shows A and B one consortium and C and D another."""
    consortium = Consortium(4, settings("he"), LAYOUT)
    consortium.announce()
    members = consortium.server.roster().members
    left, right = names(4)[:3], names(4)[1:]
    for shown in (left, right):
        view = ceremony.Roster(consortium.job, 0, {name: members[name] for name in shown})
        lonely = shown[0] if shown is left else shown[-1]
        consortium.sites[lonely].share(view.message())
    other = ceremony.Roster(consortium.job, 0, {name: members[name] for name in right})
    confirmation = ceremony.confirmation(other, names(4)[3], bytes(32), LAYOUT.digest, credentials(names(4)[3]).sign)
    mine = ceremony.Roster(consortium.job, 0, {name: members[name] for name in left})
    refused(Reason.UNKNOWN_SITE, lambda: ceremony.read_confirmation(confirmation, mine, names(4)[3]))
    shared = ceremony.confirmation(other, names(4)[1], bytes(32), LAYOUT.digest, credentials(names(4)[1]).sign)
    refused(Reason.SPLIT_VIEW, lambda: ceremony.read_confirmation(shared, mine, names(4)[1]))


def test_a_site_with_other_settings(consortium: Consortium) -> None:
    stranger = Site(names(3)[2], consortium.job, settings("he"), credentials(names(3)[2]), consortium.authority)
    wire = stranger.announce(consortium.server.request())
    refused(Reason.PARAMETERS_DIFFER, lambda: consortium.server.announced(stranger.name, wire))


def test_a_box_for_somebody_else(consortium: Consortium) -> None:
    consortium.announce()
    consortium.share()
    first, second, third = consortium.sites
    refused(Reason.WRONG_KEY, lambda: consortium.sites[second].confirm(swapped(consortium, third, second)))
    assert first


def swapped(consortium: Consortium, whose: str, reader: str) -> np.ndarray:
    """The delivery of ``whose``, relabelled for ``reader``."""
    delivery = messages.decode(consortium.server.delivery(whose), ceremony.DELIVERY)
    boxes = dict(delivery.table("boxes"))
    boxes[whose] = boxes.pop(reader)
    fields = {"job": consortium.job, "epoch": 0, "boxes": boxes}
    return messages.encode(ceremony.DELIVERY, fields, None, delivery.body)


def test_sites_that_train_different_networks() -> None:
    consortium = Consortium(2)
    for i, site in enumerate(consortium.sites.values()):
        site.declare_layout(Layout.declare({"w": (3 + i,)}))
    consortium.announce()
    consortium.share()
    refused(Reason.LAYOUT_DIFFERS, consortium.confirm)


def test_an_epoch_is_not_played_again(consortium: Consortium) -> None:
    request = consortium.server.request()
    site = next(iter(consortium.sites.values()))
    site.announce(request)
    refused(Reason.REPLAY, lambda: site.announce(request))
    refused(Reason.WRONG_JOB, lambda: site.announce(ceremony.announce_request("another job", 5)))


# --- updates ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        (lambda w: w[:-1], Reason.TAMPERED),
        (lambda w: w[:200], Reason.TRUNCATED),
        (lambda w: w[:-9] + bytes([w[-9] ^ 1]) + w[-8:], Reason.TAMPERED),
        (lambda w: b"FPA0" + w[4:], Reason.MALFORMED),
        (lambda w: b"", Reason.TRUNCATED),
        (lambda w: change(w, step=1), Reason.BAD_SIGNATURE),
        (lambda w: change(w, ciphertexts=2), Reason.BAD_SIGNATURE),
        (lambda w: change(w, job="another"), Reason.WRONG_JOB),
        (lambda w: change(w, epoch=1), Reason.WRONG_EPOCH),
    ],
)
def test_a_changed_update(
    consortium: Consortium, running: RunningSum, how: Callable[[bytes], bytes], reason: Reason
) -> None:
    first, second, third = consortium.sites
    good = consortium.sites[first].seal(tensors(), 1.0).tobytes()
    refused(reason, lambda: running.add(first, how(good)))
    assert running.contributors == ()
    running.add(first, good)
    for name in (second, third):
        running.add(name, consortium.sites[name].seal(tensors(), 1.0))
    for opened in consortium.close(running).values():
        assert np.allclose(opened.tensors["w"], tensors()["w"], atol=1e-6)


def test_the_same_update_twice_or_under_another_name_or_in_another_round(
    consortium: Consortium, running: RunningSum
) -> None:
    first, second, _ = consortium.sites
    wire = consortium.sites[first].seal(tensors(), 1.0)
    running.add(first, wire)
    refused(Reason.DUPLICATE_SITE, lambda: running.add(first, wire))
    refused(Reason.BAD_SIGNATURE, lambda: running.add(second, wire))
    refused(Reason.UNKNOWN_SITE, lambda: running.add("hospital-zz", wire))
    refused(Reason.WRONG_ROUND, lambda: consortium.running(1).add(first, wire))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_stays_at_home(consortium: Consortium, running: RunningSum, bad: float) -> None:
    update = tensors()
    update["w"][3, 3] = bad
    site = next(iter(consortium.sites.values()))
    refused(Reason.NOT_FINITE, lambda: site.seal(update, 1.0))
    refused(Reason.NOT_FINITE, lambda: site.seal(tensors(), float("nan")))
    refused(Reason.NOT_FINITE, lambda: site.seal(tensors(), 2.0))  # above max_weight
    refused(Reason.LAYOUT_DIFFERS, lambda: site.seal({"w": np.zeros((5, 9), np.float32)}, 1.0))


# --- sums -------------------------------------------------------------------------------------------------------


def closed(consortium: Consortium, running: RunningSum, seed: int = 0) -> Closed:
    for i, name in enumerate(consortium.sites):
        running.add(name, consortium.sites[name].seal(tensors(seed + i), 1.0))
    if running.parameters.encryption.masks:
        for name, site in consortium.sites.items():
            running.revealed(name, site.reveal(running.reveal(name)))
    return running.close()


def down(consortium: Consortium, total: Closed) -> object:
    message = round_message(consortium.server.roster(), 1, 9, TRAIN, total)
    return next(iter(consortium.sites.values())).begin(message)


@pytest.mark.parametrize("encryption", ["he", "masks", "he+masks"])
@pytest.mark.parametrize("place", [5, 100, -1])
def test_a_sum_that_the_server_changed(encryption: str, place: int) -> None:
    consortium = Consortium(3, settings(encryption), LAYOUT).ceremony()
    consortium.begin(0)
    total = closed(consortium, consortium.running(0))
    total.payload[place] ^= 1
    refused(Reason.WRONG_SUM, lambda: down(consortium, total))


@pytest.mark.parametrize("encryption", ["he", "masks", "he+masks"])
@pytest.mark.parametrize("times", [-1, 1])
def test_a_sum_with_one_site_left_out_or_twice(encryption: str, times: int) -> None:
    """The server adds or subtracts one site's ciphertexts once more, and still names all three."""
    consortium = Consortium(3, settings(encryption), LAYOUT).ceremony()
    consortium.begin(0)
    running = consortium.running(0)
    first = next(iter(consortium.sites))
    wire = consortium.sites[first].seal(tensors(), 1.0)
    running.add(first, wire)
    assert running._total is not None
    once = running._total.copy()
    for name in list(consortium.sites)[1:]:
        running.add(name, consortium.sites[name].seal(tensors(), 1.0))
    if running.parameters.encryption.masks:
        for name, site in consortium.sites.items():
            running.revealed(name, site.reveal(running.reveal(name)))
    p = running.parameters
    modulus = np.uint64(p.primes[0] if p.encryption.he else 1 << p.plain_bits)
    running._total = (running._total + (once if times > 0 else modulus - once)) % modulus
    refused(Reason.WRONG_SUM, lambda: down(consortium, running.close()))


def test_another_consortiums_key_opens_nothing() -> None:
    consortium = Consortium(3, settings("he"), LAYOUT).ceremony()
    other = Consortium(3, settings("he"), LAYOUT).ceremony()
    consortium.begin(0)
    other.begin(0)
    total = closed(consortium, consortium.running(0))
    site = next(iter(other.sites.values()))
    stolen = next(iter(consortium.sites.values()))
    site._epoch = stolen._epoch.__class__(  # type: ignore[union-attr]
        **{**vars(stolen._epoch), "cipher": site._epoch.cipher}  # type: ignore[union-attr]
    )
    refused(Reason.WRONG_SUM, lambda: site.begin(round_message(consortium.server.roster(), 1, 9, TRAIN, total)))


def test_an_old_sum_is_not_opened_again(consortium: Consortium, running: RunningSum) -> None:
    total = closed(consortium, running)
    site = next(iter(consortium.sites.values()))
    roster = consortium.server.roster()
    assert site.begin(round_message(roster, 1, 9, TRAIN, total)).opened
    relabelled = Closed(roster, 1, total.updates, total.payload, total.revealed)
    refused(Reason.WRONG_ROUND, lambda: site.begin(round_message(roster, 2, 9, TRAIN, relabelled)))
    refused(Reason.WRONG_ROUND, lambda: site.begin(round_message(roster, 0, 9, TRAIN, total)))


def test_a_sum_of_too_little_data() -> None:
    from dataclasses import replace

    consortium = Consortium(3, replace(settings("he"), min_share=0.5), LAYOUT).ceremony()
    everybody = {name: tensors(i) for i, name in enumerate(consortium.sites)}
    weights = dict(zip(consortium.sites, (1.0, 0.2, 0.2), strict=True))
    consortium.round(0, everybody, weights)
    del everybody[next(iter(consortium.sites))]
    refused(Reason.TOO_LITTLE_DATA, lambda: consortium.round(1, everybody, weights))
