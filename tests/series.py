"""The closed set that each label of our metrics takes its values from: what tests hold every series against."""

from __future__ import annotations

import re
from collections.abc import Collection

from client_plugin.archive.models import Completeness
from client_plugin.archive.received import CatalogueReason
from client_plugin.governance.policy import Rule
from client_plugin.intake import deidentify
from client_plugin.intake.reasons import IntakeReason
from client_plugin.metrics import instruments as node_instruments
from client_plugin.metrics.exporter import COLLECTORS
from observability import nvflare_events  # noqa: F401 - fills the catalogue
from observability.instruments import CATALOGUE, Labelled, Names
from observability.processes import ROLES
from server_config import metrics as server_metrics
from server_config.exporter import COLLECTORS as SERVER_COLLECTORS

LIMIT = 2000
"""Series of one node."""
READ_AT_SCRAPE: dict[str, set[str]] = {
    "state": {"open", "sealed"},
    "role": {role for _, role in ROLES} | {"parent", "other"},
    "certificate": {"kit", "kit_root", "dicom", "metrics"},
    "collector": {*COLLECTORS, *SERVER_COLLECTORS},
}
"""Labels of what is computed for a scrape, with all values they can have."""
ENUMERATIONS: dict[str, set[str]] = {
    node_instruments.QUARANTINED.name: {str(r) for e in (IntakeReason, CatalogueReason, deidentify.Reason) for r in e},
    node_instruments.DEIDENTIFICATION_ACTIONS.name: {str(done) for done in deidentify.Done},
    node_instruments.JOBS_REFUSED.name: {str(rule) for rule in Rule if rule is not Rule.ALLOWED},
    node_instruments.STUDIES_SEALED.name: {str(completeness) for completeness in Completeness},
}
"""Instruments that take the members of another package's enumerations."""
BUCKETS = re.compile(r"\+Inf|\d+(\.\d+)?(e[-+]\d+)?")
VERSION = re.compile(r"none|\d+(\.\d+){1,3}\w*")
_OF_HISTOGRAM = re.compile(r"_(bucket|count|sum)$")


def is_closed(sample: str, label: str, value: str, *, peers: Collection[str], sites: Collection[str]) -> bool:
    """Whether a sample's label has a value that it may have.

    Parameters
    ----------
    sample
        Name of a series, for example ``fedpacs_receive_seconds_bucket``.
    peers, sites
        Names in the configuration of the nodes, and of the federation.
    """
    if label == "le":
        return BUCKETS.fullmatch(value) is not None
    if sample in ("fedpacs_build_info", "fedpacs_server_build_info"):
        return VERSION.fullmatch(value) is not None
    instrument = CATALOGUE.get(sample) or CATALOGUE.get(_OF_HISTOGRAM.sub("", sample))
    if not isinstance(instrument, Labelled):
        return value in READ_AT_SCRAPE.get(label, ())
    if label != instrument.label:
        return False
    if isinstance(instrument.values, Names):
        return value in (sites if instrument.values is server_metrics.SITES else peers)
    return value in (ENUMERATIONS.get(instrument.name) or {str(member) for member in instrument.values})
