from __future__ import annotations

import numpy as np
import pytest

from secure_aggregation.errors import ProtocolError, Reason
from secure_aggregation.site import State
from tests.unit.secure_aggregation.consortium import Consortium, Tensors, settings


def tensors(seed: int) -> Tensors:
    rng = np.random.default_rng(seed)
    return {
        "block.weight": rng.uniform(-1, 1, (57, 31, 3)).astype(np.float32),
        "bias": rng.uniform(-1, 1, 11).astype(np.float32),
        "scale": np.float32(rng.uniform(-1, 1)).reshape(()),
    }


@pytest.mark.parametrize("encryption", ["he", "masks", "he+masks"])
@pytest.mark.parametrize("bits", [16, 21, 24])
def test_every_site_opens_the_weighted_mean(encryption: str, bits: int) -> None:
    consortium = Consortium(3, settings(encryption, bits=bits, max_weight=2048)).ceremony()
    updates = {name: tensors(i) for i, name in enumerate(consortium.sites)}
    weights = dict(zip(consortium.sites, (1463.0, 1087.0, 415.0), strict=True))
    for opened in consortium.round(0, updates, weights).values():
        assert opened.weight == pytest.approx(2965, rel=1e-5)
        assert opened.contributors == tuple(consortium.sites)
        for key, mean in opened.tensors.items():
            exact = np.average([u[key] for u in updates.values()], axis=0, weights=list(weights.values()))
            assert mean.dtype == np.float32
            assert mean.shape == exact.shape
            assert np.abs(mean - exact).max() <= 3 * 0.75 / 2 ** (bits - 1) / (2965 / 2048)


def test_a_site_that_did_not_contribute_opens_the_sum_too() -> None:
    from secure_aggregation.layout import Layout

    consortium = Consortium(3, layout=Layout.of(tensors(0))).ceremony()
    first, second, third = consortium.sites
    opened = consortium.round(0, {first: tensors(1), second: tensors(2)}, {first: 1.0, second: 1.0})
    assert opened[third].contributors == (first, second)
    assert np.allclose(opened[third].tensors["bias"], (tensors(1)["bias"] + tensors(2)["bias"]) / 2, atol=1e-6)


def test_one_update_a_round() -> None:
    consortium = Consortium(2).ceremony()
    site = next(iter(consortium.sites.values()))
    with pytest.raises(ProtocolError, match="no update is due") as error:
        site.seal(tensors(0), 1.0)
    assert error.value.reason is Reason.OUT_OF_ORDER
    consortium.begin(0)
    site.seal(tensors(0), 1.0)
    with pytest.raises(ProtocolError, match="no update is due"):
        site.seal(tensors(0), 1.0)
    with pytest.raises(ProtocolError) as error:
        consortium.begin(0)
    assert error.value.reason is Reason.WRONG_ROUND


def test_destroyed_keys_open_nothing() -> None:
    consortium = Consortium(2).ceremony()
    site = next(iter(consortium.sites.values()))
    consortium.begin(0)
    site.destroy()
    assert site.state is State.IDLE
    with pytest.raises(ProtocolError, match="not complete"):
        site.seal(tensors(0), 1.0)


def test_not_a_number_stays_at_home() -> None:
    consortium = Consortium(2).ceremony()
    consortium.begin(0)
    bad = tensors(0)
    bad["bias"][3] = np.nan
    with pytest.raises(ProtocolError) as error:
        next(iter(consortium.sites.values())).seal(bad, 1.0)
    assert error.value.reason is Reason.NOT_FINITE
