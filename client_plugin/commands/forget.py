"""Destroy a patient's data: the key, the rows, the files, and the way back to the person. It cannot be undone."""

from __future__ import annotations

import argparse

from client_plugin.commands import add_kit, load
from client_plugin.intake.forgetting import forget


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """``PATIENT``, ``--yes`` and ``--kit``."""
    parser.add_argument("patient", metavar="PATIENT", help="the pseudonym, as `fedpacs studies` shows it")
    parser.add_argument("--yes", action="store_true", help="do not ask")
    add_kit(parser)


def run(args: argparse.Namespace) -> int:
    """Forget, and say what was destroyed; the exit code is 1 when the patient is not here."""
    config = load(args)
    question = f"Destroy all data of {args.patient} at {config.site}? Type the pseudonym: "
    if not args.yes and input(question) != args.patient:
        print("Nothing was changed.")
        return 1
    gone = forget(config, args.patient)
    print(
        f"{args.patient}: {gone.studies} studies with {gone.instances} instances "
        f"and {gone.raw_copies} raw copies destroyed"
    )
    if gone.unclear:
        print(f"{gone.unclear} raw copies in quarantine were destroyed too: nobody could tell whose they were")
    return 0 if gone.known else 1
