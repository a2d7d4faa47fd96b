import json
import subprocess
import sys
from pathlib import Path

import pytest

from client_plugin.archive.archive import Archive
from client_plugin.cli import COMMANDS, main
from client_plugin.config import NodeConfig
from tests.unit.client_plugin.archive.samples import ct


@pytest.fixture
def kit(tmp_path: Path) -> Path:
    (tmp_path / "local").mkdir()
    (tmp_path / "local" / "fedpacs.yaml").write_text("site: hospital-a\n")
    return tmp_path


def archive_slices(kit: Path, number: int) -> None:
    archive = Archive.open(NodeConfig.load(kit))
    for place in range(1, number + 1):
        archive.add(b"DICM" * 20, ct(place))
    archive.close()


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_explains_itself(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([name, "--help"])
    assert ended.value.code == 0
    assert f"usage: fedpacs {name}" in capsys.readouterr().out


def test_help_lists_the_commands_and_loads_none_of_their_packages() -> None:
    code = (
        "import sys; from client_plugin.cli import main\n"
        "try: main(['--help'])\nexcept SystemExit: pass\n"
        "print([m for m in ('torch', 'nvflare', 'pynetdicom', 'sqlalchemy') if m in sys.modules])"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert all(name in said for name in COMMANDS)
    assert said.rstrip().endswith("[]")


def test_studies_of_an_archive(kit: Path, capsys: pytest.CaptureFixture[str]) -> None:
    archive_slices(kit, 3)
    assert main(["studies", "--kit", str(kit), "--json"]) == 0
    (study,) = json.loads(capsys.readouterr().out)
    assert (study["pseudonym"], study["instances"], study["state"]) == ("P1", 3, "open")
    assert main(["studies", "--kit", str(kit)]) == 0
    assert "hospital-a: 1 study" in capsys.readouterr().out.replace("\n", " ")


def test_an_empty_archive_says_what_to_do(kit: Path, capsys: pytest.CaptureFixture[str]) -> None:
    NodeConfig.load(kit).root.mkdir(parents=True)
    assert main(["studies", "--kit", str(kit)]) == 0
    assert "point the PACS" in capsys.readouterr().out


def test_status_of_a_node_that_never_ran(kit: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", "--kit", str(kit), "--json"]) == 1
    said = json.loads(capsys.readouterr().out)
    assert said["running"] is False
    assert said["node"] == "never started here"


def test_status_counts_what_is_there(kit: Path, capsys: pytest.CaptureFixture[str]) -> None:
    archive_slices(kit, 2)
    main(["status", "--kit", str(kit), "--json"])
    assert json.loads(capsys.readouterr().out)["instances"] == 2


def test_no_kit_is_one_line_that_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", "--kit", str(tmp_path)]) == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "--kit" in said


def test_doctor_finds_the_missing_kit(kit: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--kit", str(kit)]) == 1
    said = capsys.readouterr().out
    assert "PROBLEM" in said
    assert "Cure:" in said


def test_job_writes_a_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["job", "organ-classification", "--out", str(tmp_path), "--rounds", "3"]) == 0
    folder = Path(capsys.readouterr().out.strip())
    server = json.loads((folder / "app" / "config" / "config_fed_server.json").read_text())
    assert server["workflows"][0]["args"]["num_rounds"] == 3


def test_job_refuses_nonsense(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["job", "organ-classification", "--out", str(tmp_path), "--rounds", "0"]) == 1
    assert "rounds" in capsys.readouterr().err


def test_provision_makes_kits(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    project = Path(__file__).parents[3] / "provisioning" / "project.yml"
    assert main(["provision", str(project), "--out", str(tmp_path)]) == 0
    assert "hospital-c" in capsys.readouterr().out
    assert main(["provision", str(tmp_path / "none.yml"), "--out", str(tmp_path)]) == 1
    assert "none.yml" in capsys.readouterr().err
