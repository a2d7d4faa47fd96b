"""NVFlare builders that write fedpacs into the kits (named in ``project.yml``)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml
from nvflare.lighter.constants import ParticipantType
from nvflare.lighter.entity import Participant, Project
from nvflare.lighter.spec import Builder, ProvisionContext

from client_plugin.config import CONFIG_FILE, NodeConfig
from provisioning import policies

DEFAULT_SERVER_STORAGE = "/var/lib/fedpacs-server"


class FedpacsBuilder(Builder):
    """Writes each participant's ``local`` folder: resources, authorization, privacy and the node's configuration.

    A hospital's participant entry in ``project.yml`` may have

    ``node``
        the contents of its ``fedpacs.yaml`` (see `client_plugin.config.NodeConfig`), without ``site``;
    ``embedded``
        false to run the node as a service of its own (default: true).

    The server's entry may have ``storage``, an absolute folder for jobs and snapshots, and ``metrics``
    (``host`` and ``port`` of its Prometheus endpoint).
    """

    def build(self, project: Project, ctx: ProvisionContext) -> None:
        """Write the files.

        Raises
        ------
        ValueError
            A participant's ``node`` is not a valid NodeConfig, or the server's ``storage`` is not absolute.
        """
        for participant in project.get_all_participants():
            local = Path(ctx.get_local_dir(participant))
            if participant.type == ParticipantType.CLIENT:
                self._hospital(participant, local)
            elif participant.type == ParticipantType.SERVER:
                self._server(participant, local)

    @staticmethod
    def _hospital(participant: Participant, local: Path) -> None:
        node = {"site": participant.name, **(participant.get_prop("node") or {})}
        # A mistake stops provisioning here, rather than the hospital's first night.
        config = NodeConfig.from_mapping(node, kit=local.parent, source=f"{participant.name}: node")
        if config.site != participant.name:
            raise ValueError(f"{participant.name}: node.site is {config.site!r}; leave it out of project.yml")
        embedded = bool(participant.get_prop("embedded", True))
        _write_resources(local, policies.hospital_resources(embedded=embedded))
        _write_json(local / "authorization.json", policies.authorization())
        _write_json(local / "privacy.json", policies.privacy())
        text = yaml.safe_dump(node, sort_keys=False, allow_unicode=True)
        (local / CONFIG_FILE).write_text(f"# Configuration of this hospital's fedpacs node.\n{text}", encoding="utf-8")

    @staticmethod
    def _server(participant: Participant, local: Path) -> None:
        storage = str(participant.get_prop("storage") or DEFAULT_SERVER_STORAGE)
        if not Path(storage).is_absolute():
            raise ValueError(f"{participant.name}: storage must be an absolute folder, got {storage!r}")
        resources = policies.server_resources(storage=storage, metrics=participant.get_prop("metrics"))
        _write_resources(local, resources)
        _write_json(local / "authorization.json", policies.authorization())


def _write_resources(local: Path, resources: dict[str, Any]) -> None:
    """NVFlare takes ``resources.json.default`` where there is no other, and its POC mode makes the other from it: its
    own default would let jobs name any of NVFlare's classes, so there is none of it in a kit."""
    for name in ("resources.json", "resources.json.default"):
        _write_json(local / name, resources)


def _write_json(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
