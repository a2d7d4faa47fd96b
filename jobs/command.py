"""Write a job as a folder of configuration. Submit it from the NVFlare console: `submit_job FOLDER`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from jobs import lesion_segmentation, organ_classification
from jobs.folder import BATCH_NORM, Federation

JOBS = {one.NAME: one.job for one in (organ_classification, lesion_segmentation)}
_SGD_RATE = 0.1
"""SCAFFOLD needs plain SGD, and the jobs' learning rates are AdamW's."""
_MU = 0.01


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """``NAME``, ``--out``, the federation's settings, and how hospitals are held together."""
    parser.add_argument("name", choices=sorted(JOBS), help="which job")
    parser.add_argument("--out", type=Path, default=Path(), metavar="FOLDER", help="where to write its folder")
    parser.add_argument("--rounds", type=int, default=24)
    parser.add_argument("--min-sites", type=int, default=3, help="sites needed for a round")
    parser.add_argument(
        "--min-share", type=float, default=0.0, help="least share of the data that a round needs, 0 to 1"
    )
    parser.add_argument("--max-images", type=int, default=2048, help="bound on the training images of one site")
    parser.add_argument("--encryption", choices=("he+masks", "he", "masks"), default="he+masks")
    parser.add_argument("--bits", type=int, choices=(16, 21, 24), default=24, help="precision of what is added up")
    parser.add_argument("--rekey-rounds", type=int, default=0, help="new keys every so many rounds; 0: once")
    parser.add_argument("--algorithm", choices=("fedavg", "fedprox", "scaffold"), default="fedavg", help="at the sites")
    parser.add_argument("--proximal-mu", type=float, help=f"of fedprox (default {_MU})")
    parser.add_argument("--learning-rate", type=float, help="of the sites' optimiser, in the first round")
    parser.add_argument(
        "--server-optimizer", choices=("fedavg", "fedavgm", "fedadam", "fedyogi"), default="fedavg", help="FedOpt"
    )
    parser.add_argument("--server-learning-rate", type=float, default=1.0)
    parser.add_argument(
        "--batch-norm",
        choices=("aggregate", "local"),
        help="normalise by batch, and average its tensors or keep them at each hospital (FedBN); default: another norm",
    )


def run(args: argparse.Namespace) -> int:
    """Write the folder and say where it is."""
    try:
        federation = Federation(
            rounds=args.rounds,
            min_sites=args.min_sites,
            min_share=args.min_share,
            encryption=args.encryption,
            bits=args.bits,
            max_weight=args.max_images,
            rekey_rounds=args.rekey_rounds,
            server_optimizer=args.server_optimizer,
            server_learning_rate=args.server_learning_rate,
            keep_local=BATCH_NORM if args.batch_norm == "local" else (),
        )
    except ValidationError as error:
        raise RuntimeError("; ".join(f"{e['loc'][0]}: {e['msg']}" for e in error.errors())) from None
    args.out.mkdir(parents=True, exist_ok=True)
    print(JOBS[args.name](federation, learning(args)).write(args.out).resolve())
    return 0


def learning(args: argparse.Namespace) -> dict[str, Any]:
    """What the options say about training; only what differs from the job's own arguments.

    Raises
    ------
    RuntimeError
        A proximal term without FedProx.
    """
    training: dict[str, Any] = {} if args.algorithm == "fedavg" else {"algorithm": args.algorithm}
    if args.algorithm == "fedprox":
        training["proximal_mu"] = _MU if args.proximal_mu is None else args.proximal_mu
    elif args.proximal_mu is not None:
        raise RuntimeError("--proximal-mu goes with --algorithm fedprox")
    if args.algorithm == "scaffold":
        training |= {"optimizer": "sgd", "learning_rate": _SGD_RATE}
    if args.learning_rate is not None:
        training["learning_rate"] = args.learning_rate
    network = {"network": {"args": {"norm": "batch"}}} if args.batch_norm else {}
    return {**network, **({"training": training} if training else {})}
