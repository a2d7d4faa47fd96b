"""Over random shapes, sites, weights, dropouts and precisions; and at the bounds."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from secure_aggregation import encoding, lattice, packing
from secure_aggregation.errors import ProtocolError, Reason
from secure_aggregation.parameters import DEGREE, MAX_SITES, RINGS, STANDARD_128, Encryption, Parameters, check, choose
from tests.unit.secure_aggregation import consortium as world

AROUND = encoding.Round(bytes(32), bytes(32), 0)


@settings(max_examples=15, deadline=None)
@given(st.data())
def test_what_is_opened_is_the_mean_of_who_was_there(data: st.DataObject) -> None:
    encryption = data.draw(st.sampled_from(["he", "masks", "he+masks"]))
    bits = data.draw(st.sampled_from([16, 21, 24]))
    sites = data.draw(st.integers(3, 6))
    least = max(3, sites // 2 + 1) if encryption != "he" else 2
    here = data.draw(st.permutations(world.names(sites)))[: data.draw(st.integers(least, sites))]
    shapes = data.draw(
        st.dictionaries(
            st.text("abc.", min_size=1, max_size=4),
            st.lists(st.integers(1, 9), max_size=3).map(tuple),
            min_size=1,
            max_size=4,
        )
    )
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    clip = data.draw(st.sampled_from([0.01, 1.0, 30.0]))
    updates = {
        name: {key: rng.uniform(-1.2 * clip, 1.2 * clip, shape).astype(np.float32) for key, shape in shapes.items()}
        for name in here
    }
    weights = {name: data.draw(st.floats(1.0, 1000.0)) for name in here}
    layout = world.Layout.declare(shapes)
    agreed = world.settings(encryption, bits, clip, 1000.0)
    opened = world.Consortium(sites, agreed, layout).ceremony().round(0, updates, weights)
    parameters = agreed.parameters(sites)
    bound = len(here) * clip / parameters.bound / (sum(weights.values()) / 1000.0) + 4e-7 * clip
    for one in opened.values():
        assert one.contributors == tuple(sorted(here))
        assert one.weight == pytest.approx(sum(weights.values()), rel=1e-4)
        for key in shapes:
            exact = np.average(
                [np.clip(updates[n][key].astype(float), -clip, clip) for n in here],
                axis=0,
                weights=[weights[n] for n in here],
            )
            assert np.abs(one.tensors[key] - exact).max() <= bound


@pytest.mark.parametrize("bits", [16, 21, 24])
@pytest.mark.parametrize("sites", [2, 3, 4, 5, 8, 9, 16, 17, 31, 64, 100, MAX_SITES])
@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_no_overflow_at_the_bound(bits: int, sites: int, sign: float) -> None:
    """Every site sends the largest value in every field, with the largest weight."""
    parameters = choose(Encryption.HE, sites=sites, bits=bits, clip=1.0, max_weight=1.0)
    total = np.zeros((1, DEGREE), np.uint64)
    named = [f"s{i}" for i in range(sites)]
    for name in named:
        slots, clipped = encoding.encode(np.full(7, sign * 9.0, np.float32), 1.0, name, AROUND, parameters)
        assert clipped == 7
        assert int(slots.max()) < 1 << parameters.plain_bits
        total += slots
    assert int(total.max()) < 1 << parameters.plain_bits
    mean = encoding.decode(total, 7, named, AROUND, parameters)
    assert np.allclose(mean.vector, sign, atol=1e-6)
    assert mean.weight == pytest.approx(sites)


@pytest.mark.parametrize(("sites", "bits"), [(3, 24), (3, 16), (5, 24), (8, 21), (128, 24)])
def test_the_noise_bound_holds_for_the_most_sites(sites: int, bits: int) -> None:
    """Sums of as many ciphertexts as the parameters are for, of the largest plaintexts, wrapping around t."""
    parameters = choose(Encryption.HE, sites=sites, bits=bits, clip=1.0, max_weight=1.0)
    context = lattice.Lattice(parameters)
    cipher = lattice.Cipher(context, lattice.generate_secret(context))
    slots = np.full((1, DEGREE), (1 << parameters.plain_bits) - 1, np.uint64)
    sealed = [cipher.encrypt(slots) for _ in range(sites)]
    primes = np.array(parameters.primes, np.uint64)[None, :, None]
    total = np.sum([c0 for _, c0 in sealed], axis=0, dtype=np.uint64) % primes
    opened, budget = cipher.decrypt(np.stack([seeds for seeds, _ in sealed]), total)
    assert budget >= 1
    mask = np.uint64((1 << parameters.plain_bits) - 1)
    assert (opened == (slots * np.uint64(sites) & mask)).all()


@given(st.sampled_from(RINGS), st.integers(1, 3), st.integers(0, 2**32 - 1))
def test_packing_is_its_own_inverse(ring: tuple[int, ...], count: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    residues = np.stack([rng.integers(0, 1 << size, (count, 8), dtype=np.uint64) for size in ring], axis=1)
    packed = packing.pack_residues(residues, ring)
    assert packed.size * 8 == count * 8 * sum(ring)
    assert (packing.unpack_residues(packed, ring, 8) == residues).all()
    with pytest.raises(ProtocolError):
        packing.unpack_residues(packed[:-1], ring, 8)


@pytest.mark.parametrize("encryption", list(Encryption))
@pytest.mark.parametrize("bits", [16, 21, 24])
def test_parameters_are_within_the_standard_for_every_number_of_sites(encryption: Encryption, bits: int) -> None:
    for sites in range(3, MAX_SITES + 1):
        parameters = choose(encryption, sites=sites, bits=bits, clip=1.0, max_weight=1.0)
        assert parameters.value_bits >= bits - 2
        if sites <= 32:
            assert parameters.value_bits == bits
        if encryption.he:
            assert sum(parameters.key_ring) <= STANDARD_128[DEGREE]
            assert all(prime % (2 * DEGREE) == 1 for prime in parameters.primes)


@pytest.mark.parametrize(
    "change", [{"value_bits": 26}, {"fields": 3}, {"ring": (48,)}, {"ring": (56, 56)}, {"sites": 100}, {"width": 25}]
)
def test_parameters_that_prove_nothing_are_refused(change: dict[str, object]) -> None:
    good = choose(Encryption.HE, sites=3, bits=24, clip=1.0, max_weight=1.0)
    check(good)
    bad = Parameters(**{**vars(good), **change})  # type: ignore[arg-type]
    with pytest.raises(ProtocolError) as error:
        check(bad)
    assert error.value.reason is Reason.UNSUPPORTED


@pytest.mark.parametrize(
    "wrong", [{"bits": 20}, {"clip": 0.0}, {"clip": float("inf")}, {"max_weight": -1.0}, {"sites": 500}]
)
def test_settings_out_of_range(wrong: dict[str, float]) -> None:
    with pytest.raises(ProtocolError):
        choose(Encryption.HE, **{"sites": 3, "bits": 24, "clip": 1.0, "max_weight": 1.0, **wrong})  # type: ignore[arg-type]
