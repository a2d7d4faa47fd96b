from __future__ import annotations

import os
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
import yaml

from client_plugin.config import ConfigError, MetricsConfig, NodeConfig
from client_plugin.metrics.exporter import MetricsServer, access

NODE = """
import subprocess, sys, urllib.request
from pathlib import Path
from client_plugin.config import NodeConfig
from observability.setup import share
config = NodeConfig.load(Path(sys.argv[1]))
share(config.root)
from client_plugin.metrics.exporter import MetricsServer
server = MetricsServer(config)
server.start()
child = '''
from client_plugin.metrics import instruments as metrics
from client_plugin.metrics.labels import Received
metrics.RECEIVED_INSTANCES.inc(Received.STORED, 5)
metrics.TRAINING_LOSS.set(0.25)
'''
subprocess.run([sys.executable, "-c", child], check=True)
print(urllib.request.urlopen(server.url).read().decode())
server.stop()
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def kit(tmp_path: Path) -> Path:
    (tmp_path / "local").mkdir()
    settings = {"site": "site-a", "metrics": {"port": free_port()}}
    (tmp_path / "local" / "fedpacs.yaml").write_text(yaml.safe_dump(settings))
    return tmp_path


def test_a_node_shows_what_its_children_counted(kit: Path) -> None:
    text = subprocess.run(
        [sys.executable, "-c", NODE, str(kit)], check=True, capture_output=True, text=True, timeout=60, env=os.environ
    ).stdout
    assert 'fedpacs_received_instances_total{outcome="stored"} 5.0' in text
    assert 'fedpacs_received_instances_total{outcome="conflict"} 0.0' in text
    assert "fedpacs_storage_free_bytes" in text
    assert 'fedpacs_processes{role="parent"} 1.0' in text
    assert "fedpacs_build_info" in text
    assert "fedpacs_training_loss" not in text  # the process that set it has ended


def test_port_in_use_is_a_configuration_error(kit: Path) -> None:
    config = NodeConfig.load(kit)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", config.metrics.port))
        taken.listen()
        with pytest.raises(ConfigError, match=r"in use.*metrics\.port"):
            MetricsServer(config).start()


def test_it_starts_again_on_the_same_port(kit: Path) -> None:
    config = NodeConfig.load(kit)
    for _ in range(2):
        server = MetricsServer(config)
        server.start()
        assert b"fedpacs_build_info" in urllib.request.urlopen(server.url, timeout=5).read()  # noqa: S310
        server.stop()


def test_secret_file(kit: Path) -> None:
    config = NodeConfig.load(kit)
    secret = kit / "local" / "metrics.secret"
    settings = MetricsConfig(secret_file=Path("local/metrics.secret"))
    with pytest.raises(ConfigError, match="cannot read"):
        access(config, settings)
    secret.write_text("t0ken\n")
    secret.chmod(0o644)
    with pytest.raises(ConfigError, match="chmod 600"):
        access(config, settings)
    secret.chmod(0o600)
    assert access(config, settings).expected == "Bearer t0ken"
    basic = settings.model_copy(update={"username": "prometheus"})
    assert access(config, basic).expected == "Basic cHJvbWV0aGV1czp0MGtlbg=="
    secret.write_text("")
    with pytest.raises(ConfigError, match="is empty"):
        access(config, settings)


def test_a_user_without_a_secret_is_refused() -> None:
    with pytest.raises(ValueError, match="username needs secret_file"):
        MetricsConfig(username="prometheus")
