from __future__ import annotations

import itertools
import secrets

import pytest
from Crypto.Protocol.SecretSharing import Shamir

from secure_aggregation import shamir
from secure_aggregation.errors import ProtocolError, Reason


@pytest.mark.parametrize("sites", [3, 4, 5])
def test_any_threshold_of_shares_gives_the_secret_as_in_pycryptodome(sites: int) -> None:
    secret = secrets.token_bytes(16)
    shares = dict(enumerate(shamir.split(secret, sites), 1))
    for places in itertools.combinations(shares, shamir.threshold(sites)):
        assert shamir.combine(shares, shamir.lagrange(places)) == secret
        assert Shamir.combine([(place, shares[place]) for place in places]) == secret


def test_fewer_shares_give_something_else() -> None:
    secret = secrets.token_bytes(16)
    shares = dict(enumerate(shamir.split(secret, 5), 1))
    assert shamir.combine(shares, shamir.lagrange((1, 2))) != secret


def test_more_than_half() -> None:
    assert [shamir.threshold(n) for n in (3, 4, 5, 100)] == [2, 3, 3, 51]


def test_a_missing_share_is_named() -> None:
    shares = dict(enumerate(shamir.split(bytes(16), 3), 1))
    del shares[2]
    with pytest.raises(ProtocolError) as error:
        shamir.combine(shares, shamir.lagrange((1, 2)))
    assert error.value.reason is Reason.MISSING_SHARES
