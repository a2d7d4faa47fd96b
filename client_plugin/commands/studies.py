"""List the studies in this hospital's archive: de-identified, by pseudonym."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict

from rich.console import Console
from rich.table import Table

from client_plugin.archive.catalogue import Catalogue
from client_plugin.archive.models import Completeness, StudyState
from client_plugin.archive.studies import StudySummary
from client_plugin.commands import add_kit, load


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """``--kit``, ``--json`` and ``--outdated``."""
    add_kit(parser)
    parser.add_argument(
        "--outdated",
        action="store_true",
        help="only what another de-identification profile made: `fedpacs withdraw --outdated` lets it come again",
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")


def run(args: argparse.Namespace) -> int:
    """Print the studies."""
    config = load(args)
    catalogue = Catalogue.open(config.catalogue_url)
    studies = catalogue.studies()
    if args.outdated:
        from client_plugin.intake.deidentify import Profile  # its tables take a moment

        outdated = catalogue.of_other_rules(Profile.from_config(config.deidentification).digest)
        studies = [study for study in studies if study.study_uid in outdated]
    if args.json:
        print(json.dumps([asdict(study) for study in studies], default=_plain))
        return 0
    table = Table(title=f"{config.site}: {len(studies)} {'study' if len(studies) == 1 else 'studies'}")
    table.add_column("patient", no_wrap=True)
    for heading in ("study", "type", "body part"):
        table.add_column(heading)
    for heading in ("series", "images"):
        table.add_column(heading, justify="right")
    table.add_column("state")
    for study in studies:
        table.add_row(
            study.pseudonym,
            f"…{study.study_uid[-8:]}",
            "/".join(sorted(study.modalities)),
            "/".join(sorted(study.body_parts)),
            str(study.series),
            str(study.instances),
            _state(study),
        )
    Console().print(table)
    if not studies and args.outdated:
        Console().print("Every study was de-identified by the profile in force.")
    elif not studies:
        Console().print("Nothing yet: point the PACS at this node's AE title; `fedpacs doctor` checks the way.")
    return 0


def _state(study: StudySummary) -> str:
    state = f"{study.state} v{study.version}"
    if study.state is StudyState.SEALED and study.completeness is Completeness.INCOMPLETE:
        state += f", incomplete: the PACS has {study.expected}"
    return state


def _plain(value: object) -> object:
    return sorted(value) if isinstance(value, (set, frozenset)) else str(value)
