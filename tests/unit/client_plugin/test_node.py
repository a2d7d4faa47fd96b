import os
from pathlib import Path

import pytest

from client_plugin.config import NodeConfig
from client_plugin.node import EdgeNode, NodeError, Part, read_state


class Recorder:
    def __init__(self, name: str, said: list[str], fails: bool = False) -> None:
        self.name, self.said, self.fails = name, said, fails

    def start(self) -> None:
        if self.fails:
            raise OSError("port 104 is in use")
        self.said.append(f"+{self.name}")

    def stop(self) -> None:
        self.said.append(f"-{self.name}")


def node(tmp_path: Path, said: list[str], *, fails: bool = False) -> EdgeNode:
    def parts(_: NodeConfig) -> list[Part]:
        return [Recorder("metrics", said), Recorder("intake", said, fails=fails)]

    return EdgeNode(NodeConfig(site="a", kit=tmp_path), parts)


def test_parts_stop_in_reverse_and_the_state_is_told(tmp_path: Path) -> None:
    said: list[str] = []
    it = node(tmp_path, said)
    it.start()
    state = read_state(it.config)
    assert state is not None
    assert (state.state, state.pid, state.alive) == ("running", os.getpid(), True)
    it.stop()
    it.stop()
    assert said == ["+metrics", "+intake", "-intake", "-metrics"]
    state = read_state(it.config)
    assert state is not None
    assert (state.state, state.alive) == ("stopped", False)


def test_a_part_that_fails_stops_the_others_and_is_named(tmp_path: Path) -> None:
    said: list[str] = []
    it = node(tmp_path, said, fails=True)
    with pytest.raises(NodeError, match="port 104"):
        it.start()
    assert said == ["+metrics", "-metrics"]
    state = read_state(it.config)
    assert state is not None
    assert state.state == "failed"
    assert "port 104" in state.detail


def test_two_nodes_do_not_share_a_storage(tmp_path: Path) -> None:
    it = node(tmp_path, [])
    it.config.root.mkdir(parents=True)
    (it.config.root / "node.json").write_text('{"state": "running", "pid": 1, "since": 0}')
    with pytest.raises(NodeError, match="process 1"):
        it.start()


def test_a_dead_nodes_state_is_no_obstacle(tmp_path: Path) -> None:
    it = node(tmp_path, [])
    it.config.root.mkdir(parents=True)
    (it.config.root / "node.json").write_text('{"state": "running", "pid": 4194304, "since": 0}')
    it.start()
    assert (read_state(it.config) or pytest.fail("no state")).state == "running"
