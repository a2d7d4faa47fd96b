"""The node inside NVFlare: a site component that starts it with the client and stops it with the client."""

from __future__ import annotations

from pathlib import Path

from nvflare.apis.event_type import EventType
from nvflare.apis.fl_component import FLComponent
from nvflare.apis.fl_constant import FLContextKey
from nvflare.apis.fl_context import FLContext
from nvflare.apis.workspace import Workspace
from nvflare.fuel.f3.mpm import MainProcessMonitor

from client_plugin.config import NodeConfig
from client_plugin.metrics.federation import FederationWatch
from client_plugin.node import EdgeNode, NodeError


def node_config(fl_ctx: FLContext) -> NodeConfig:
    """The configuration of the hospital whose NVFlare process asks.

    Raises
    ------
    ConfigError
        The kit has no valid ``local/fedpacs.yaml``.
    """
    workspace: Workspace = fl_ctx.get_prop(FLContextKey.WORKSPACE_OBJECT)
    return NodeConfig.load(Path(workspace.get_root_dir()))


class EdgeNodeComponent(FLComponent):
    """Starts the edge node when NVFlare's client has started (``resources.json``).

    NVFlare builds site components in the client's parent process and again in every job process, but fires
    SYSTEM_START in the parent only: so the node starts there, once.

    Parameters
    ----------
    embedded
        False: the node runs as a service of its own (``fedpacs node``) and this component leaves it alone.
    """

    def __init__(self, embedded: bool = True) -> None:
        super().__init__()
        self._embedded = embedded
        self._config: NodeConfig | None = None
        self._node: EdgeNode | None = None
        self._watch: FederationWatch | None = None

    def handle_event(self, event_type: str, fl_ctx: FLContext) -> None:
        """Start on SYSTEM_START, stop on SYSTEM_END or when NVFlare's main process is told to end."""
        if not self._embedded:
            return
        if event_type == EventType.SYSTEM_BOOTSTRAP:
            self._config = node_config(fl_ctx)  # NVFlare's client knows its workspace in this event, not in the next
        elif event_type == EventType.SYSTEM_START and self._config is not None:
            self._start(self._config, fl_ctx)
        elif event_type == EventType.SYSTEM_END:
            self._stop()
        elif self._watch is not None:
            self._watch.on_event(event_type)

    def _start(self, config: NodeConfig, fl_ctx: FLContext) -> None:
        node = EdgeNode(config)
        try:
            node.start()
        except NodeError as error:
            # NVFlare's client goes on, so that the consortium sees the site and its error; what is archived can be
            # trained on. `fedpacs status`, `fedpacs doctor` and this line say why nothing arrives.
            self.log_error(fl_ctx, str(error))
            return
        self._node = node
        self._watch = FederationWatch(fl_ctx.get_engine())
        self._watch.start()
        MainProcessMonitor.add_cleanup_cb(self._stop)

    def _stop(self) -> None:
        if self._watch is not None:
            self._watch.stop()
            self._watch = None
        if self._node is not None:
            self._node.stop()
            self._node = None
