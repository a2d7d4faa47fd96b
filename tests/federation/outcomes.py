"""What a job left behind, and what it should have."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from tests.federation.consortium import Consortium
from tests.federation.numpy_executor import SHAPES, update, weight


def rounds(consortium: Consortium, job_id: str) -> dict[str, Any]:
    """What the server wrote down, from wherever NVFlare has put the job's workspace by now."""
    assert consortium.session is not None
    place = consortium.session.download_job_result(job_id)
    (found,) = Path(place).rglob("rounds.json")
    result: dict[str, Any] = json.loads(found.read_text())
    return result


def got(consortium: Consortium, site: str, job_id: str) -> list[dict[str, Any]]:
    """What the site's executor was given, in order."""
    path = consortium.kit(site) / job_id / "got.json"
    result: list[dict[str, Any]] = json.loads(path.read_text())
    return result


def means(consortium: Consortium, site: str, job_id: str) -> dict[int, dict[str, Any]]:
    """What the site was given, by the round of training that it was for."""
    return {answer["step"]: answer["mean"] for answer in got(consortium, site, job_id)}


def model(consortium: Consortium, site: str, job_id: str) -> dict[str, Any]:
    """Where the site's model is after all that it was given."""
    given = means(consortium, site, job_id).values()
    return {name: np.sum([np.array(one[name]) for one in given], axis=0) for name in SHAPES}


def expected(sites: tuple[str, ...], step: int) -> dict[str, Any]:
    """The mean of what these sites send in this round."""
    weights = [weight(site) for site in sites]
    return {
        name: np.average([update(site, step)[name] for site in sites], axis=0, weights=weights).ravel()
        for name in SHAPES
    }


def audited(consortium: Consortium, site: str, job_id: str) -> set[str]:
    """Names of the refusals in the site's audit log of a job."""
    lines = (consortium.kit(site) / job_id / "audit.log").read_text().splitlines()
    return {line.split(" refused: ")[1].split(":")[0] for line in lines if " refused: " in line}
