"""Three hospitals train a model together on real studies, on this machine, and the server reads none of it."""

from __future__ import annotations

import argparse
import errno
import signal
import sys
from pathlib import Path

from rich.console import Console

from demo.run import Options, run
from demo.stop import stop_all
from demo.workspace import DemoError

ROOT = Path(__file__).parents[1] / ".demo"


def main() -> int:
    """Run the demo; 0 when it came to its end, 1 with one line on the cause, 130 when interrupted."""
    parser = argparse.ArgumentParser(prog="demo", description=__doc__)
    parser.add_argument(
        "--rounds", type=int, default=Options.rounds, help="rounds of federated averaging (default: %(default)s)"
    )
    parser.add_argument("--keep", action="store_true", help="leave the federation running at the end")
    parser.add_argument("--monitor", action="store_true", help="start Prometheus and Alertmanager too")
    parser.add_argument("--stop", action="store_true", help="stop what earlier runs left running")
    args = parser.parse_args()
    if args.stop:
        stop_all(ROOT)
        return 0
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is stopped
    try:
        run(Options(ROOT, rounds=args.rounds, keep=args.keep, monitor=args.monitor), Console(file=sys.stdout))
    except DemoError as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        print(f"demo: the disk of {ROOT} is full: free some room", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("demo: stopped", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
