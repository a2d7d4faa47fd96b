"""Write a job as a folder of configuration. Submit it from the NVFlare console: `submit_job FOLDER`."""

from __future__ import annotations

import argparse
from pathlib import Path

from pydantic import ValidationError

from jobs.folder import Federation
from jobs.organ_classification import NAME, job

JOBS = {NAME: job}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """``NAME``, ``--out`` and the federation's settings."""
    parser.add_argument("name", choices=sorted(JOBS), help="which job")
    parser.add_argument("--out", type=Path, default=Path(), metavar="FOLDER", help="where to write its folder")
    parser.add_argument("--rounds", type=int, default=24)
    parser.add_argument("--min-sites", type=int, default=3, help="sites needed for a round")
    parser.add_argument("--max-images", type=int, default=2048, help="bound on the training images of one site")
    parser.add_argument("--encryption", choices=("he+masks", "he", "masks"), default="he+masks")
    parser.add_argument("--bits", type=int, choices=(16, 21, 24), default=24, help="precision of what is added up")


def run(args: argparse.Namespace) -> int:
    """Write the folder and say where it is."""
    try:
        federation = Federation(
            rounds=args.rounds,
            min_sites=args.min_sites,
            encryption=args.encryption,
            bits=args.bits,
            max_weight=args.max_images,
        )
    except ValidationError as error:
        raise RuntimeError("; ".join(f"{e['loc'][0]}: {e['msg']}" for e in error.errors())) from None
    args.out.mkdir(parents=True, exist_ok=True)
    print(JOBS[args.name](federation).write(args.out).resolve())
    return 0
