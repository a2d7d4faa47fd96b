from pathlib import Path

import numpy as np

from demo.checks import needles, search

WEIGHTS = {
    "conv": np.random.default_rng(0).normal(size=(8, 3, 3)).astype(np.float32),
    "norm": np.ones(64, np.float32),
    "bias": np.zeros(4, np.float32),
}


def test_weights_in_a_file_are_found_wherever_they_stand(tmp_path: Path) -> None:
    np.savez(tmp_path / "archive.npz", conv=WEIGHTS["conv"])
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "raw").write_bytes(b"x" * 13 + WEIGHTS["conv"].tobytes())
    files, found = search([tmp_path], needles(WEIGHTS))
    assert files == 2
    assert {finding.path.name for finding in found} == {"archive.npz", "raw"}


def test_what_is_everywhere_is_no_needle() -> None:
    assert {name.split("@")[0] for name in needles(WEIGHTS)} == {"conv"}


def test_nothing_is_found_in_noise(tmp_path: Path) -> None:
    (tmp_path / "noise").write_bytes(np.random.default_rng(1).bytes(1_000_000))
    assert search([tmp_path], needles(WEIGHTS)) == (1, [])
