from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from nvflare.lighter.utils import sign_folders

from client_plugin.cli import main
from client_plugin.governance.job_content import NoJobError, job_digest
from jobs.organ_classification import job
from tests.unit.secure_aggregation.consortium import credentials


def test_one_value_makes_another_job_and_formatting_does_too(tmp_path: Path) -> None:
    same = [job_digest(job().write(tmp_path / name) / "app") for name in ("one", "other")]
    assert same[0] == same[1]
    assert job_digest(job(learning={"training": {"steps": 21}}).write(tmp_path / "third") / "app") != same[0]


def test_any_file_counts_under_its_name(tmp_path: Path) -> None:
    app = job().write(tmp_path) / "app"
    before = job_digest(app)
    (app / "config" / "config_fed_client.conf").write_text("")
    added = job_digest(app)
    (app / "config" / "config_fed_client.conf").rename(app / "config" / "config_fed_client.yml")
    assert len({before, added, job_digest(app)}) == 3


def test_what_nvflare_adds_to_a_submitted_job_does_not_count(tmp_path: Path) -> None:
    app = job().write(tmp_path) / "app"
    before = job_digest(app)
    certificate = tmp_path / "submitter.crt"
    certificate.write_bytes(credentials("lead").certificate)
    sign_folders(str(app), load_pem_private_key(credentials("lead").key, None), str(certificate))
    assert len(list(app.rglob(".__nvfl_*"))) == 4
    assert job_digest(app) == before


def test_the_steward_is_told_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = job().write(tmp_path)
    assert main(["job-digest", str(folder)]) == 0
    assert capsys.readouterr().out.strip() == job_digest(folder / "app")
    assert main(["job-digest", str(tmp_path / "none")]) == 1
    with pytest.raises(NoJobError):
        job_digest(tmp_path / "none" / "app")
