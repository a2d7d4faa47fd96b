"""Take studies out of the archive, so that they can come again: de-identified by the profile that is in force now.

Nothing is de-identified twice: what is archived is no longer what the PACS has. So the study has to be sent, or pulled,
again; make sure that the PACS still has it.
"""

from __future__ import annotations

import argparse

from client_plugin.archive.archive import Archive
from client_plugin.commands import add_kit, load
from client_plugin.intake.deidentify import Profile


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """``STUDY …`` or ``--outdated``, ``--yes`` and ``--kit``."""
    parser.add_argument("studies", metavar="STUDY", nargs="*", help="UID of a study, from `fedpacs studies --json`")
    parser.add_argument("--outdated", action="store_true", help="every study that another profile de-identified")
    parser.add_argument("--yes", action="store_true", help="do not ask")
    add_kit(parser)


def run(args: argparse.Namespace) -> int:
    """Withdraw, and say what was; the exit code is 1 when a study is not here."""
    config = load(args)
    if bool(args.studies) is args.outdated:
        print("Name the studies to withdraw, or give --outdated.")
        return 1
    archive = Archive.open(config)
    try:
        digest = Profile.from_config(config.deidentification).digest
        studies = archive.catalogue.of_other_rules(digest) if args.outdated else args.studies
        if not studies:
            print("Every study was de-identified by the profile in force.")
            return 0
        question = f"Take {len(studies)} studies out of the archive of {config.site}? Type yes: "
        if not args.yes and input(question) != "yes":
            print("Nothing was changed.")
            return 1
        counts = [archive.withdraw(study) for study in studies]
    finally:
        archive.close()
    print(f"{sum(map(bool, counts))} studies with {sum(counts)} instances withdrawn: send or pull them again")
    for study, count in zip(studies, counts, strict=True):
        if not count:
            print(f"{study} is not here")
    return 0 if all(counts) else 1
