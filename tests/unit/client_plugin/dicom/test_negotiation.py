from pydicom.uid import AllTransferSyntaxes
from pynetdicom import ALL_TRANSFER_SYNTAXES, AllStoragePresentationContexts
from pynetdicom.presentation import build_context

from client_plugin.dicom.negotiation import (
    STORAGE_SOP_CLASSES,
    TRANSFER_SYNTAXES,
    accepted_contexts,
    preferred,
)

IMPLICIT, EXPLICIT, J2K = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.4.90"
CT, COMMITMENT, VERIFICATION = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.1.20.1", "1.2.840.10008.1.1"


def test_everything_that_the_libraries_know_is_accepted() -> None:
    assert {str(cx.abstract_syntax) for cx in AllStoragePresentationContexts} <= STORAGE_SOP_CLASSES
    assert {*ALL_TRANSFER_SYNTAXES, *AllTransferSyntaxes} <= TRANSFER_SYNTAXES


def test_services_that_only_sound_like_storage_are_not_stored() -> None:
    assert COMMITMENT not in STORAGE_SOP_CLASSES
    assert "1.2.840.10008.1.3.10" not in STORAGE_SOP_CLASSES  # DICOMDIR


def test_what_is_sent_as_stored_keeps_its_transfer_syntax() -> None:
    assert preferred([J2K, EXPLICIT, IMPLICIT])[0] == J2K
    assert preferred([IMPLICIT, J2K, EXPLICIT])[0] == EXPLICIT
    assert preferred([IMPLICIT, J2K])[0] == IMPLICIT
    assert preferred(["1.2.3.4"]) == []


def test_contexts_are_built_from_the_proposal() -> None:
    proposed = [
        build_context(CT, [J2K]),
        build_context(CT, [EXPLICIT, IMPLICIT]),
        build_context(VERIFICATION, [IMPLICIT]),
        build_context(COMMITMENT, [EXPLICIT]),
        build_context("1.2.826.0.1.3680043.1", [IMPLICIT]),
        build_context("1.2.840.10008.5.1.4.1.1.4", ["1.2.3.4"]),
    ]
    accepted = {str(cx.abstract_syntax): [str(s) for s in cx.transfer_syntax] for cx in accepted_contexts(proposed)}
    assert accepted == {CT: [J2K, EXPLICIT, IMPLICIT], VERIFICATION: [IMPLICIT], COMMITMENT: [EXPLICIT]}
