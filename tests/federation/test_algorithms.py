"""FedProx, SCAFFOLD, FedOpt, FedBN and full weights in NVFlare's POC mode: kits with certificates, real processes.

Each job's final model is compared with the same algorithm written down plainly here: in one process, in clear, in
float arithmetic.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from client_plugin.config import NodeConfig
from client_plugin.governance.job_content import job_digest
from client_plugin.learning.bundle import read_weights
from client_plugin.learning.config import LearningConfig
from client_plugin.learning.training import LocalTrainer, RoundResult, Weights
from jobs import organ_classification
from jobs.folder import BATCH_NORM, Federation, JobFolder, Json
from secure_aggregation.optimizer import ServerOptimizer
from tests.federation.poc import Poc
from tests.unit.client_plugin.learning import archived, phantom

pytestmark = pytest.mark.federation

SITES = ("hospital-a", "hospital-b", "hospital-c")
# Adam turns a gradient of nearly 0 into a whole step, so that the last digit decides; plain SGD can be compared.
COMMON: Json = {"optimizer": "sgd", "steps": 4, "batch_size": 8, "learning_rate": 0.1}


def job(training: Json, **federation: object) -> JobFolder:
    plain = phantom.config("batch").model_dump(mode="json")
    learning = {"task": plain["task"], "network": plain["network"], "training": {**COMMON, **training}}
    return organ_classification.job(Federation(max_weight=1024, **federation), learning)


JOBS = {
    "fedprox": job({"algorithm": "fedprox", "proximal_mu": 1.0}, rounds=2, full_weights=True, clip=16.0),
    "scaffold": job(
        {"algorithm": "scaffold"},
        rounds=3,
        server_optimizer="fedyogi",
        server_learning_rate=0.02,
        keep_local=BATCH_NORM,
    ),
}


@pytest.fixture(scope="module")
def poc(tmp_path_factory: pytest.TempPathFactory) -> Poc:
    folder = tmp_path_factory.mktemp("poc")
    # The stewards have read these two jobs, and allow no other content under the name.
    read = [job_digest(one.write(folder / name) / "app") for name, one in JOBS.items()]
    one = Poc(folder, {"jobs": [organ_classification.NAME], "job_digests": read})
    one.prepare()
    for number, site in enumerate(SITES):
        archive = archived.open_archive(one.kit(site))
        archived.add_case(archive, phantom.case(f"P-{site}", seed=number, depth=40 - 8 * (number == 2)))
        archive.close()
    return one


@pytest.fixture(scope="module")
def finished(poc: Poc) -> dict[str, dict[str, Weights]]:
    """Final weights by job and site."""
    with poc.running(hospitals=len(SITES)) as session:
        submitted = {name: session.submit_job(str(one.write(poc.folder / name))) for name, one in JOBS.items()}
        for job_id in submitted.values():
            _, meta = session.monitor_job_and_return_job_meta(job_id, timeout=240, poll_interval=0.5)
            assert meta["status"] == "FINISHED:COMPLETED", poc.log(SITES[0])[-3000:]
    return {
        name: {site: read_weights(NodeConfig.load(poc.kit(site)).models / job_id / "bundle") for site in SITES}
        for name, job_id in submitted.items()
    }


def trainers(poc: Poc, one: JobFolder) -> dict[str, LocalTrainer]:
    (executor,) = [e for e in one.client()["executors"] if "train" in e["tasks"]]
    config = LearningConfig.from_job(executor["executor"]["args"]["learning"])
    found = {}
    for site in SITES:
        archive = archived.open_archive(poc.kit(site))
        studies = archived.freeze(archive.catalogue, archived.QUERY).studies
        found[site] = LocalTrainer.open(archive, studies, config)
        archive.close()
    return found


def mean(values: list[npt.NDArray[np.float32]], done: dict[str, RoundResult]) -> npt.NDArray[np.float64]:
    images = [one.images for one in done.values()]
    return np.average(values, axis=0, weights=images)


def assert_close(said: Weights, expected: Weights) -> None:
    assert said.keys() == expected.keys()
    for name, value in said.items():
        np.testing.assert_allclose(value, expected[name], atol=1e-3, err_msg=name)


def test_fedprox_with_full_weights_and_averaged_running_statistics(
    poc: Poc, finished: dict[str, dict[str, Weights]]
) -> None:
    hospitals = trainers(poc, JOBS["fedprox"])
    x = hospitals[SITES[0]].initial_weights()
    for number in range(JOBS["fedprox"].federation.rounds):
        done = {site: one.train_round(x, number) for site, one in hospitals.items()}
        x = {name: mean([y.weights[name] for y in done.values()], done).astype(np.float32) for name in x}
    said = finished["fedprox"]
    assert_close(said[SITES[0]], x)
    for site in SITES[1:]:
        assert all(np.array_equal(value, said[site][name]) for name, value in said[SITES[0]].items())


def test_scaffold_with_fedyogi_and_local_batch_normalisation(poc: Poc, finished: dict[str, dict[str, Weights]]) -> None:
    """SCAFFOLD's algorithm 1 with option II, hospitals weighted by their images; FedYogi takes the mean's step."""
    hospitals = trainers(poc, JOBS["scaffold"])
    start = hospitals[SITES[0]].initial_weights()
    local = {name for name in start if "norm" in name}
    assert any("running_var" in name for name in local)
    names = [name for name in hospitals[SITES[0]].parameter_names if name not in local]
    models = {site: dict(start) for site in SITES}
    yogi = ServerOptimizer("fedyogi", 0.02)
    moments = {name: yogi.start(start[name].size) for name in names}
    c: Weights = {name: np.zeros_like(start[name]) for name in names}
    own = {site: dict(c) for site in SITES}
    for number in range(JOBS["scaffold"].federation.rounds):
        done = {
            site: one.train_round(models[site], number, correction={name: c[name] - own[site][name] for name in names})
            for site, one in hospitals.items()
        }
        renewed = {
            site: {
                name: own[site][name] - c[name] + (models[site][name] - y.weights[name]) / (y.steps * y.learning_rate)
                for name in names
            }
            for site, y in done.items()
        }
        for name in names:
            moved = mean([renewed[site][name] - own[site][name] for site in SITES], done)
            c[name] = (c[name] + moved).astype(np.float32)
            gradient = mean([done[site].weights[name] - models[site][name] for site in SITES], done)
            step, moments[name] = yogi.step(moments[name], gradient.astype(np.float32).ravel())
            for site in SITES:
                models[site][name] = models[site][name] + step.reshape(start[name].shape)
        own = renewed
        for site in SITES:
            models[site] |= {name: done[site].weights[name] for name in local}
    assert max(np.abs(value).max() for value in c.values()) > 0.01
    said = finished["scaffold"]
    for site in SITES:
        assert_close(said[site], models[site])
    for name in start:
        same = np.array_equal(said[SITES[0]][name], said[SITES[1]][name])
        assert same == (name not in local), name


def test_the_server_kept_nothing_of_it(poc: Poc, finished: dict[str, dict[str, Weights]]) -> None:
    names = {name.encode() for name in finished["scaffold"][SITES[0]] if "denselayer1" in name}
    written = [path for path in Path(poc.kit("localhost")).rglob("*") if path.is_file()]
    assert len(written) > 10
    assert not [path for path in written if any(name in path.read_bytes() for name in names)]
