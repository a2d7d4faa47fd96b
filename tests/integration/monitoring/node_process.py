"""``python -m tests.integration.monitoring.node_process KIT``: a node's parent process without NVFlare around it.

It starts what the node starts, in the node's order, and ends when its standard input does.
"""

from __future__ import annotations

import sys
from pathlib import Path

from client_plugin.config import NodeConfig
from observability import logs
from observability.setup import share


def main() -> None:
    config = NodeConfig.load(Path(sys.argv[1]))
    share(config.root)
    logs.configure("node", config.site, config.root / "logs")

    from client_plugin.archive.archive import Archive
    from client_plugin.dicom.echo import PeerWatch
    from client_plugin.intake.service import Intake
    from client_plugin.metrics.exporter import MetricsServer
    from client_plugin.status_page.app import StatusPage

    catalogue = Archive.open(config).catalogue
    parts = [MetricsServer(config, catalogue), StatusPage(config, catalogue), PeerWatch(config), Intake(config)]
    for part in parts:
        part.start()
    print("ready", flush=True)
    sys.stdin.read()
    for part in reversed(parts):
        part.stop()


if __name__ == "__main__":
    main()
