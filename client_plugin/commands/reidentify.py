"""Find the patient behind a pseudonym, so that a finding can get back to them. Every look is audited."""

from __future__ import annotations

import argparse
import sys

from client_plugin.archive.keys import SiteKeys
from client_plugin.archive.sealing import SealBroken
from client_plugin.commands import add_kit, load
from client_plugin.intake.deidentify import NotInVault, Vault


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """``--kit``, the reason, the pseudonym."""
    add_kit(parser)
    parser.add_argument("--reason", required=True, help="why; it becomes part of the audit log")
    parser.add_argument("pseudonym", metavar="PSEUDONYM", help="as `fedpacs studies` shows it")


def run(args: argparse.Namespace) -> int:
    """Print the identity, on this terminal alone."""
    config = load(args)
    vault = Vault.open(config, SiteKeys.open(config))
    if vault is None:
        print("this hospital keeps no way back: deidentification.reidentification is off", file=sys.stderr)
        return 1
    try:
        identity = vault.reidentify(args.pseudonym, args.reason)
    except (NotInVault, SealBroken, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    print(f"Patient ID   {identity.patient_id}")
    print(f"Issuer       {identity.issuer}")
    print(f"Name         {identity.name}")
    print(f"Born         {identity.birth_date}")
    print(f"Sex          {identity.sex}")
    print(f"Dates        those of the archive are {-identity.shift_days} days early")
    return 0
