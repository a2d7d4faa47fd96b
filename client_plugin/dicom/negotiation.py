"""Which presentation contexts we accept: C-ECHO, commitment, every storage SOP class in every known transfer syntax.

The data set is kept as it was encoded, so a transfer syntax need not be decodable here: whether its pixels can be
used is decided when a study is trained on. Transfer syntaxes that nobody registered are refused, since not even the
length of an element could be trusted.
"""

from __future__ import annotations

from collections.abc import Iterable

from pydicom._uid_dict import UID_dictionary
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import ALL_TRANSFER_SYNTAXES, AllStoragePresentationContexts
from pynetdicom.presentation import PresentationContext, build_context
from pynetdicom.sop_class import StorageCommitmentPushModel, Verification

# They carry "Storage" in their name and are never an argument of C-STORE.
_OTHER_SERVICES = {"StorageCommitmentPushModel", "StorageCommitmentPullModel", "MediaStorageDirectoryStorage"}


_SERVICES = {str(Verification), str(StorageCommitmentPushModel)}

STORAGE_SOP_CLASSES: frozenset[str] = frozenset(str(cx.abstract_syntax) for cx in AllStoragePresentationContexts) | {
    uid
    for uid, (name, kind, _, _, keyword) in UID_dictionary.items()
    if kind == "SOP Class" and "Storage" in name and keyword not in _OTHER_SERVICES
}
"""Every storage SOP class that pydicom or pynetdicom knows; retired ones, DICOS and DICONDE too."""

TRANSFER_SYNTAXES: frozenset[str] = frozenset(ALL_TRANSFER_SYNTAXES) | {
    uid for uid, (_, kind, _, _, _) in UID_dictionary.items() if kind == "Transfer Syntax"
}
"""Every transfer syntax that pydicom or pynetdicom knows, retired ones too."""


def accepted_contexts(proposed: Iterable[PresentationContext]) -> list[PresentationContext]:
    """The contexts an acceptor supports out of those that a requestor proposed.

    Parameters
    ----------
    proposed
        The presentation contexts of an A-ASSOCIATE-RQ. The same abstract syntax may be proposed several times, once
        per transfer syntax or with all of them in one.

    Returns
    -------
    list of PresentationContext
        One per known abstract syntax, its transfer syntaxes in order of preference (`preferred`).
    """
    wanted: dict[str, list[str]] = {}
    for context in proposed:
        wanted.setdefault(str(context.abstract_syntax), []).extend(str(s) for s in context.transfer_syntax)
    return [
        build_context(abstract, preferred(syntaxes))
        for abstract, syntaxes in wanted.items()
        if (abstract in STORAGE_SOP_CLASSES or abstract in _SERVICES) and preferred(syntaxes)
    ]


def preferred(proposed: Iterable[str]) -> list[str]:
    """The known ones among the proposed transfer syntaxes, in the requestor's order, best first.

    The requestor's order is kept because it names first what it stores, and what is sent as it is stored is sent
    bit for bit. One exception: explicit VR before implicit VR, which loses the types of private elements.

    Examples
    --------
    >>> [s.rpartition(".")[2] for s in preferred(["1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.3"])]
    ['1', '2']
    """
    known = list(dict.fromkeys(str(uid) for uid in proposed if uid in TRANSFER_SYNTAXES))
    if known and known[0] == ImplicitVRLittleEndian and ExplicitVRLittleEndian in known:
        known.remove(str(ExplicitVRLittleEndian))
        known.insert(0, str(ExplicitVRLittleEndian))
    return known
