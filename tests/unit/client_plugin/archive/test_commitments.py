from client_plugin.archive.catalogue import Catalogue
from client_plugin.archive.commitments import LEASE

from .conftest import MINUTE, START


def test_a_request_is_tried_by_one_process_at_a_time_until_it_is_settled(catalogue: Catalogue) -> None:
    assert not catalogue.commitment_due(START)
    catalogue.keep_commitment("PACS", b"sealed", START)
    assert catalogue.commitment_due(START)
    due = catalogue.claim_commitment(START)
    assert due is not None
    assert (due.peer, due.request, due.tries, due.created_at) == ("PACS", b"sealed", 1, START)
    assert catalogue.claim_commitment(START) is None
    catalogue.commitment_again(due, START + MINUTE)
    assert not catalogue.commitment_due(START)
    again = catalogue.claim_commitment(START + MINUTE)
    assert again is not None
    assert again.tries == 2
    catalogue.commitment_settled(again)
    assert catalogue.claim_commitment(START + 60 * MINUTE) is None


def test_what_a_dead_process_had_claimed_is_taken_over(catalogue: Catalogue) -> None:
    catalogue.keep_commitment("PACS", b"sealed", START)
    assert catalogue.claim_commitment(START) is not None
    assert catalogue.claim_commitment(START + LEASE / 2) is None
    assert catalogue.claim_commitment(START + LEASE) is not None
