import pytest

from client_plugin.config import DicomPeer
from client_plugin.dicom.peers import A_ASSOCIATE_RJ, Call, Load, admit, calls_from
from client_plugin.metrics.labels import Reject

PACS = DicomPeer(ae_title="PACS", addresses=("10.1.0.0/16", "192.0.2.7"))
CT = DicomPeer(ae_title="CT1", addresses=("2001:db8::/32",))
IDLE = Load(associations=0, max_associations=4, free_bytes=10, min_free_bytes=10)


def decide(called: str, calling: str, address: str, load: Load = IDLE) -> DicomPeer | Reject:
    return admit(Call(called, calling, address), load, ae_title="FEDPACS", peers=[PACS, CT])


@pytest.mark.parametrize("address", ["10.1.2.3", "192.0.2.7", "::ffff:10.1.2.3"])
def test_a_configured_peer_is_accepted_from_its_addresses(address: str) -> None:
    assert decide("FEDPACS", "PACS", address) is PACS


def test_spaces_around_ae_titles_do_not_count() -> None:
    assert decide("FEDPACS ", " PACS", "10.1.2.3") is PACS


def test_an_ipv6_peer_with_a_scope_is_recognized() -> None:
    link_local = DicomPeer(ae_title="US", addresses=("fe80::/10",))
    assert calls_from(link_local, "fe80::1%eth0")


@pytest.mark.parametrize(
    ("calling", "address", "reason"),
    [
        ("PACS", "10.2.0.1", Reject.UNKNOWN_ADDRESS),
        ("CT1", "10.1.2.3", Reject.UNKNOWN_ADDRESS),
        ("OTHER", "10.1.2.3", Reject.UNKNOWN_CALLING_AE),
        ("pacs", "10.1.2.3", Reject.UNKNOWN_CALLING_AE),
        ("", "10.1.2.3", Reject.UNKNOWN_CALLING_AE),
    ],
)
def test_title_and_address_must_belong_to_the_same_peer(calling: str, address: str, reason: Reject) -> None:
    assert decide("FEDPACS", calling, address) is reason
    assert A_ASSOCIATE_RJ[reason] == (1, 1, 3)


def test_no_peers_configured_means_nobody() -> None:
    assert admit(Call("FEDPACS", "PACS", "10.1.2.3"), IDLE, ae_title="FEDPACS", peers=()) is Reject.UNKNOWN_CALLING_AE


def test_a_call_for_another_title_is_rejected() -> None:
    assert decide("ANYTHING", "PACS", "10.1.2.3") is Reject.UNKNOWN_CALLED_AE


def test_load_and_space_are_transient_reasons() -> None:
    busy = Load(associations=4, max_associations=4, free_bytes=10, min_free_bytes=10)
    full = Load(associations=0, max_associations=4, free_bytes=9, min_free_bytes=10)
    assert decide("FEDPACS", "PACS", "10.1.2.3", busy) is Reject.TOO_MANY
    assert decide("FEDPACS", "PACS", "10.1.2.3", full) is Reject.DISK_LOW
    assert {A_ASSOCIATE_RJ[reason][0] for reason in (Reject.TOO_MANY, Reject.DISK_LOW)} == {2}  # rejected-transient


def test_a_stranger_learns_nothing_about_the_load() -> None:
    full = Load(associations=9, max_associations=4, free_bytes=0, min_free_bytes=10)
    assert decide("FEDPACS", "OTHER", "10.1.2.3", full) is Reject.UNKNOWN_CALLING_AE
