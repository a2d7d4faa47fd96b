"""Who the hospital is and what its policy asks of the aggregation, read from its kit; in a simulation, made up."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from nvflare.apis.workspace import Workspace

from client_plugin.config import GovernanceConfig, NodeConfig
from secure_aggregation import simulation
from secure_aggregation.ceremony import Settings
from secure_aggregation.identity import Authority, Credentials


class NotSentError(RuntimeError):
    """A protection could not do its work, so nothing is sent."""


@dataclass(frozen=True)
class Kit:
    """What an aggregation session takes from its hospital.

    Attributes
    ----------
    node
        The node's configuration; None in a simulation, which has no node.
    """

    name: str
    credentials: Credentials
    authority: Authority
    policy: GovernanceConfig
    node: NodeConfig | None

    @classmethod
    def open(cls, workspace: Workspace, name: str) -> Kit:
        """The kit of the site ``name``.

        Raises
        ------
        NotSentError
            The kit names no server.
        OSError, ConfigError
            It is not complete.
        """
        startup = Path(workspace.get_startup_kit_dir())
        simulated = simulation.folder()
        if simulated and not (startup / "client.crt").exists():
            credentials, root = simulation.credentials(simulated, name)
            authority = Authority(root, frozenset({simulation.SERVER}))
            return cls(name, credentials, authority, GovernanceConfig(min_sites=2), None)
        credentials = Credentials((startup / "client.crt").read_bytes(), (startup / "client.key").read_bytes())
        servers = _server_names(startup / "fed_client.json")
        node = NodeConfig.load(Path(workspace.get_root_dir()))
        policy = node.governance
        partners = frozenset((*policy.partners, name)) if policy.partners else None
        authority = Authority((startup / "rootCA.pem").read_bytes(), servers, partners)
        return cls(name, credentials, authority, policy, node)

    def check(self, wanted: Settings) -> None:
        """Compare what a job wants with what the policy asks at least.

        Raises
        ------
        NotSentError
            It wants less.
        """
        policy = self.policy
        if wanted.encryption.value not in policy.encryption:
            raise NotSentError(f"encryption '{wanted.encryption.value}' is not one of this site's: {policy.encryption}")
        if wanted.bits < policy.min_bits:
            raise NotSentError(f"{wanted.bits} bits, and this site's least is {policy.min_bits}")
        if wanted.min_sites < policy.min_sites:
            raise NotSentError(f"min_sites is {wanted.min_sites}, and this site's least is {policy.min_sites}")


def _server_names(path: Path) -> frozenset[str]:
    """Names that the kit knows as servers: their certificates are from the same authority as the sites'."""
    servers = json.loads(path.read_text(encoding="utf-8")).get("servers", [])
    names = {str(server.get("identity", "")) for server in servers} - {""}
    if not names:
        raise NotSentError(
            f"{path.name} names no server identity: a server could pass for a site; provision the kit again"
        )
    return frozenset(names)
