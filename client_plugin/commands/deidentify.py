"""De-identify a folder of DICOM files by this hospital's profile and keys, as the node does with what it receives."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from client_plugin.archive.keys import SiteKeys
from client_plugin.commands import add_kit, load
from client_plugin.intake.deidentify import Deidentifier, Profile, deidentify_folder


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """``--kit``, ``--report``, and the two folders."""
    add_kit(parser)
    parser.add_argument("--report", type=Path, help="write what was done to which element under which rule, as JSON")
    parser.add_argument("source", metavar="IN", type=Path, help="folder with DICOM files, searched to the bottom")
    parser.add_argument("target", metavar="OUT", type=Path, help="new folder for the de-identified files")


def run(args: argparse.Namespace) -> int:
    """Print what became of the files; the exit code is 1 when one was refused."""
    if not args.source.is_dir():
        raise NotADirectoryError(f"{args.source} is no folder: give the one with the DICOM files")
    config = load(args)
    deidentifier = Deidentifier(Profile.from_config(config.deidentification), SiteKeys.open(config))
    try:
        summary = deidentify_folder(args.source, args.target, deidentifier, args.report)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{summary.written} instances de-identified into {args.target}")
    for reason, count in summary.refused.most_common():
        print(f"{count} refused: {reason}")
    if summary.other:
        print(f"{summary.other} files are no DICOM")
    return 1 if summary.refused else 0
