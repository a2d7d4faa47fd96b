"""The ``fedpacs`` command."""

from __future__ import annotations

import argparse
import importlib
import sys
from dataclasses import dataclass

from client_plugin.config import ConfigError


@dataclass(frozen=True)
class Command:
    """A subcommand: imported only when it is used, so that ``fedpacs --help`` is instant and a server without the
    node's packages can still provision.
    """

    module: str
    help: str


COMMANDS = {
    # at a hospital
    "studies": Command("client_plugin.commands.studies", "what this hospital has archived"),
    "status": Command("client_plugin.commands.status", "how this node is doing"),
    "pull": Command("client_plugin.commands.pull", "pull a cohort from the PACS"),
    "pulls": Command("client_plugin.commands.pulls", "what was pulled, what waits, what could not be had"),
    "send": Command("client_plugin.commands.send", "send DICOM files to the PACS"),
    "outbox": Command("client_plugin.commands.outbox", "what is to be sent, and what could not be; retry or drop it"),
    "quarantine": Command("client_plugin.commands.quarantine", "what was set aside and why; release or drop it"),
    "withdraw": Command("client_plugin.commands.withdraw", "take studies out, so that they can come again"),
    "forget": Command("client_plugin.commands.forget", "destroy a patient's data"),
    "rotate-key": Command("client_plugin.commands.rotate_key", "replace the key that protects the archive"),
    "doctor": Command("client_plugin.commands.doctor", "check this installation; every problem comes with its cure"),
    "deidentify": Command("client_plugin.commands.deidentify", "de-identify a folder of DICOM files, with evidence"),
    "reidentify": Command("client_plugin.commands.reidentify", "find the patient behind a pseudonym; audited"),
    "node": Command("client_plugin.commands.node", "run the node as a service of its own"),
    "job-digest": Command("client_plugin.commands.job_digest", "the digest of a job, for the site's policy"),
    # at the consortium's lead
    "provision": Command("provisioning.command", "make a startup kit for every participant"),
    "job": Command("jobs.command", "write a job folder that the NVFlare console can submit"),
}


def parser() -> argparse.ArgumentParser:
    """The command line, with a line of help for every subcommand."""
    result = argparse.ArgumentParser(
        prog="fedpacs",
        description="A hospital's edge node for federated medical imaging on NVIDIA FLARE.",
        epilog="`fedpacs COMMAND --help` explains a command. Hospital commands take --kit FOLDER, the startup kit.",
    )
    commands = result.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, command in COMMANDS.items():
        commands.add_parser(name, help=command.help, add_help=False)
    return result


def main(argv: list[str] | None = None) -> int:
    """Run a subcommand.

    Returns
    -------
    int
        0: done. 1: a problem, explained on standard error. 2: wrong usage. 130: interrupted.
    """
    argv = sys.argv[1:] if argv is None else argv
    known, rest = parser().parse_known_args(argv)
    command = COMMANDS[known.command]
    module = importlib.import_module(command.module)
    own = argparse.ArgumentParser(prog=f"fedpacs {known.command}", description=module.__doc__)
    module.add_arguments(own)
    try:
        code: int = module.run(own.parse_args(rest))
    except (ConfigError, OSError, RuntimeError) as error:
        print(f"fedpacs {known.command}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return code


if __name__ == "__main__":
    sys.exit(main())
