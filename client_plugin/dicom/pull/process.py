"""The node's puller: ``python -m client_plugin.dicom.pull.process --kit KIT``.

Whatever is in the job table is worked on, from the start of the node to its end, within the configured windows and
rates: after a restart it goes on by itself. While a person's ``fedpacs pull`` works on the table, this one waits.
Besides, the PACS is asked how many instances the studies have that were sent to us.
"""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Sequence

from client_plugin.archive.catalogue import Catalogue
from client_plugin.archive.database import CatalogueUnusable
from client_plugin.archive.keys import KeyUnusable, SiteKeys
from client_plugin.config import ConfigError, NodeConfig
from client_plugin.dicom.pull.command import asked_source, peer_to_call, work
from client_plugin.dicom.pull.counting import Counting
from client_plugin.intake.process import Stopping, arguments
from client_plugin.intake.study_names import StudyNames
from observability import logs

log = logging.getLogger("client_plugin.dicom.pull.process")  # not __main__, which is nobody's logger

_IDLE = 1.0  # seconds between looks at whether somebody else still works on the table


def main(argv: Sequence[str] | None = None) -> int:
    """Pull until SIGTERM or the death of the parent."""
    options = arguments(__doc__.partition("\n")[0]).parse_args(argv)
    stopping = Stopping(options.supervisor)
    try:
        config = NodeConfig.load(options.kit)
        if config.pull.method != "dicomweb":
            peer_to_call(config)
    except ConfigError as error:
        print(f"puller: {error}", file=sys.stderr)
        return 2
    logs.configure("puller", config.site, config.root / "logs")
    stopping.ready()
    try:
        catalogue, keys = Catalogue.open(config.catalogue_url), SiteKeys.open(config)
        counting = Counting(config, catalogue, asked_source(config), StudyNames(config, keys))
        threading.Thread(target=counting.run, args=(stopping.event,), name="counting", daemon=True).start()
        while not stopping.event.is_set():
            if not work(config, stopping.event, until_empty=False):
                stopping.event.wait(_IDLE)
    except (ConfigError, KeyUnusable, CatalogueUnusable, OSError) as error:
        print(f"puller: {error}", file=sys.stderr)
        return 2
    log.info("puller stopped")
    return 0


if __name__ == "__main__":
    sys.exit(main())
