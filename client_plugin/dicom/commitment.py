"""Storage commitment, push model (PS3.4 annex J), as its SCP.

A peer asks with N-ACTION whether instances are in our keeping; the answer comes as N-EVENT-REPORT over an association
that we open. It is read from the catalogue when it is given: an instance counts if it was acknowledged, be it in the
archive, in the spool or set aside. Here is what the messages say; `client_plugin.dicom.reporting` keeps and answers
requests.

What it does not mean: that the original can be had back. This node keeps instances de-identified; the PACS must not
delete its own on our word.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass

from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from client_plugin.intake.peek import valid_uid

SUCCESS = 0x0000
PROCESSING_FAILURE = 0x0110
INVALID_ARGUMENT = 0x0115
NO_SUCH_ACTION = 0x0123
REQUEST_COMMITMENT = 1
"""Action type ID of the N-ACTION (table J.3.2.1-1)."""
_ALL_HELD, _SOME_FAILED = 1, 2  # event type IDs (table J.3.3.1-1)
_NO_SUCH_OBJECT_INSTANCE = 0x0112
MAX_REFERENCES = 100_000


@dataclass(frozen=True)
class Reference:
    """A referenced SOP instance."""

    sop_class_uid: str
    sop_instance_uid: str


@dataclass(frozen=True)
class Request:
    """A storage commitment request."""

    transaction_uid: str
    references: tuple[Reference, ...]


def parse(information: Dataset) -> Request:
    """The request in the Action Information of an N-ACTION.

    Raises
    ------
    ValueError
        Something is missing or is no UID.
    """
    transaction = str(information.get("TransactionUID", ""))
    items = information.get("ReferencedSOPSequence", None) or []
    if not valid_uid(transaction) or not 1 <= len(items) <= MAX_REFERENCES:
        raise ValueError("a commitment request needs a transaction UID and references")
    references = tuple(
        Reference(str(item.get("ReferencedSOPClassUID", "")), str(item.get("ReferencedSOPInstanceUID", "")))
        for item in items
    )
    if not all(valid_uid(r.sop_class_uid) and valid_uid(r.sop_instance_uid) for r in references):
        raise ValueError("a reference without SOP class or instance")
    return Request(transaction, references)


def report(request: Request, held: Callable[[Reference], bool]) -> tuple[int, Dataset]:
    """Event type and Event Information of the N-EVENT-REPORT that answers ``request``."""
    kept = [reference for reference in request.references if held(reference)]
    failed = [reference for reference in request.references if not held(reference)]
    information = Dataset()
    information.TransactionUID = request.transaction_uid
    if kept:
        information.ReferencedSOPSequence = Sequence([_item(reference) for reference in kept])
    if failed:
        information.FailedSOPSequence = Sequence([_item(reference, _NO_SUCH_OBJECT_INSTANCE) for reference in failed])
    return (_SOME_FAILED if failed else _ALL_HELD), information


def encode(request: Request) -> bytes:
    """A request as it is kept, before it is sealed.

    Examples
    --------
    >>> decode(encode(Request("1.2", (Reference("1.3", "1.4"),))))
    Request(transaction_uid='1.2', references=(Reference(sop_class_uid='1.3', sop_instance_uid='1.4'),))
    """
    return json.dumps(
        [request.transaction_uid, [[r.sop_class_uid, r.sop_instance_uid] for r in request.references]]
    ).encode()


def decode(content: bytes) -> Request:
    """The inverse of `encode`."""
    transaction, references = json.loads(content)
    return Request(transaction, tuple(Reference(*reference) for reference in references))


def _item(reference: Reference, failure: int | None = None) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = reference.sop_class_uid
    item.ReferencedSOPInstanceUID = reference.sop_instance_uid
    if failure is not None:
        item.FailureReason = failure
    return item
