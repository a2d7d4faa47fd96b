from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from client_plugin.archive.received import CatalogueReason
from client_plugin.config import NodeConfig
from client_plugin.intake.deidentify import Reason
from client_plugin.intake.reasons import IntakeReason
from client_plugin.metrics.facts import Facts
from client_plugin.status_page.cures import cure
from client_plugin.status_page.curve import HEIGHT, MARGIN, WIDTH, curve
from client_plugin.status_page.model import SetAside, problems, waiting

NOW = 1_800_000_000.0
DAY = 86400
WELL = {
    "fedpacs_processes listener": 2.0,
    "fedpacs_processes worker": 1.0,
    "fedpacs_federation_connected": 1.0,
    "fedpacs_federation_last_heartbeat_timestamp_seconds": NOW - 5,
}


@pytest.fixture
def config(tmp_path: Path) -> NodeConfig:
    return NodeConfig(site="site-a", kit=tmp_path)


def facts(**changes: object) -> Facts:
    values: dict[str, object] = {
        "at": NOW, "free_bytes": 1 << 40, "total_bytes": 1 << 41, "catalogue_bytes": 1,
        "certificates": {"kit": NOW + 300 * DAY},
    }  # fmt: skip
    return Facts(**{**values, **changes})  # type: ignore[arg-type]


def test_a_well_node_has_no_problems(config: NodeConfig) -> None:
    assert problems(config, facts(), WELL) == []


@pytest.mark.parametrize(
    ("changes", "figures", "said"),
    [
        ({"free_bytes": 1}, {}, "disk is full"),
        ({"oldest": NOW - 1000}, {}, "not processed"),
        ({"certificates": {"kit": NOW + 9.5 * DAY}}, {}, "kit certificate ends in 9 day"),
        ({"certificates": {"dicom": NOW - DAY}}, {}, "dicom certificate has ended"),
        ({}, {"fedpacs_processes listener": 1.0}, "1 listener process"),
        ({}, {"fedpacs_processes worker": 0.0}, "1 worker process"),
        ({}, {"fedpacs_federation_connected": 0.0}, "not in its federation"),
        ({}, {"fedpacs_federation_last_heartbeat_timestamp_seconds": NOW - 600}, "has not answered"),
    ],
)
def test_each_problem_is_said_with_a_cure(
    config: NodeConfig, changes: dict[str, object], figures: dict[str, float], said: str
) -> None:
    (problem,) = problems(config, facts(**changes), WELL | figures)
    assert said in problem.what
    assert problem.cure


def test_without_any_figure_the_node_does_not_look_well(config: NodeConfig) -> None:
    assert len(problems(config, facts(), {})) == 3


def test_what_waits_for_whom(config: NodeConfig) -> None:
    latest = datetime(2027, 1, 15, tzinfo=UTC)
    aside = [SetAside("unreadable", "PACS", 3, latest, "…"), SetAside("burned-in-text", "PACS", 4, latest, "…")]
    rows = waiting(facts(waiting=2, oldest=NOW - 60, counts={"studies_open": 0}), config, aside)
    assert [(row.count, row.whom) for row in rows] == [(2, "an intake worker"), (7, "the data steward")]
    assert rows[0].since == datetime.fromtimestamp(NOW - 60, UTC)


@pytest.mark.parametrize("reason", [*Reason, *IntakeReason, *CatalogueReason], ids=lambda r: f"{type(r).__name__}-{r}")
def test_every_reason_of_quarantine_has_a_cure(reason: str) -> None:
    assert "does not know the reason" not in cure(str(reason))


def test_an_unknown_reason_is_said_to_be_one() -> None:
    assert "does not know the reason" in cure("from-a-newer-node")


def test_a_curve_is_scaled_into_its_picture() -> None:
    line = curve([2.0, None, 1.0, 0.5])
    assert line is not None
    assert line.points[0] == (MARGIN, MARGIN)  # the highest value is at the top
    assert line.points[-1] == (WIDTH - MARGIN, HEIGHT - MARGIN)
    assert len(line.points) == 3
    assert (line.top, line.bottom) == ("2", "0.5")


def test_one_point_or_none_is_no_curve_and_equal_points_are_a_line() -> None:
    assert curve([]) is None
    assert curve([1.0, None]) is None
    line = curve([1.0, 1.0])
    assert line is not None
    assert line.points[0][1] == line.points[1][1]
