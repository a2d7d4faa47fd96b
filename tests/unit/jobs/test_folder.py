import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from jobs.folder import BATCH_NORM, Federation
from jobs.organ_classification import job
from provisioning.allow_list import HOSPITAL_CLASSES, SERVER_CLASSES


def test_a_job_is_configuration_only(tmp_path: Path) -> None:
    folder = job().write(tmp_path)
    files = sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())
    assert files == ["app/config/config_fed_client.json", "app/config/config_fed_server.json", "meta.json"]
    for path in folder.rglob("*.json"):
        json.loads(path.read_text())


def test_it_names_only_classes_that_kits_allow(tmp_path: Path) -> None:
    def paths(value: object) -> list[str]:
        if isinstance(value, dict):
            own = [value["path"]] if isinstance(value.get("path"), str) else []
            return own + [p for v in value.values() for p in paths(v)]
        return [p for v in value for p in paths(v)] if isinstance(value, list) else []

    assert set(paths(job().client())) <= set(HOSPITAL_CLASSES)
    assert set(paths(job().server())) <= set(SERVER_CLASSES)


def test_server_and_sites_are_told_the_same_protection() -> None:
    it = job(Federation(encryption="he+masks", bits=21, rounds=2))
    server = it.server()["workflows"][0]["args"]
    session = it.client()["components"][0]["args"]
    assert server["num_rounds"] == 2
    assert {k: server[k] for k in ("encryption", "bits")} == {k: session[k] for k in ("encryption", "bits")}


def test_the_schedule_is_as_long_as_the_federation() -> None:
    client = job(Federation(rounds=7), {"training": {"steps": 3}}).client()
    assert client["executors"][1]["executor"]["args"]["learning"]["training"] == {"steps": 3, "rounds": 7}


def test_writing_again_replaces(tmp_path: Path) -> None:
    folder = job().write(tmp_path)
    (folder / "app" / "config" / "stray.py").write_text("")
    job().write(tmp_path)
    assert not list(folder.rglob("*.py"))


@pytest.mark.parametrize("bad", [{"encryption": "none"}, {"rounds": 0}, {"min_sites": 1}, {"unknown": 1}])
def test_nonsense_is_refused(bad: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Federation(**bad)  # type: ignore[arg-type]


def test_a_server_optimizer_needs_differences() -> None:
    with pytest.raises(ValidationError, match="leave full_weights off"):
        Federation(full_weights=True, server_optimizer="fedadam")


def test_both_sides_are_told_how_updates_become_a_model() -> None:
    it = job(Federation(server_optimizer="fedadam", server_learning_rate=0.1, min_share=0.5, keep_local=BATCH_NORM))
    server, session = it.server()["workflows"][0]["args"], it.client()["components"][0]["args"]
    for args in (server, session):
        assert args["server_optimizer"] == {"name": "fedadam", "learning_rate": 0.1}
        assert args["min_share"] == 0.5
    # What stays at a hospital is nothing that the server knows of.
    assert session["keep_local"] == list(BATCH_NORM)
    assert "keep_local" not in server
