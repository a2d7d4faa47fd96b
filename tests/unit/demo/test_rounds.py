from pathlib import Path
from typing import Any

from demo import rounds

JOURNAL: dict[str, Any] = {
    "phase": "training",
    "sites": ["hospital-a", "hospital-b"],
    "error": None,
    "ceremony_seconds": 1.5,
    "rounds": [
        {
            "number": 1,
            "started": 100.0,
            "seconds": 9.0,
            "bytes_down": 100,
            "sites": {
                "hospital-a": {"seconds": 8.0, "bytes_up": 5000, "metrics": {"loss": 2.1}, "refused": None},
                "hospital-b": {"seconds": 7.0, "bytes_up": 5000, "metrics": {"loss": 2.2}, "refused": "wrong_round"},
            },
        },
        {
            "number": 2,
            "started": 109.0,
            "seconds": 0.0,
            "bytes_down": 9000,
            "sites": {"hospital-b": {"seconds": 7.0, "bytes_up": 5000, "metrics": {}, "refused": None}},
        },
    ],
}


def test_a_refused_update_is_no_contribution() -> None:
    first = rounds.from_journal(JOURNAL, {"hospital-a": 300}).rounds[0]
    assert [part.site for part in first.contributions] == ["hospital-a"]
    assert first.missing == ("hospital-b",)
    assert (first.contributions[0].images, first.contributions[0].loss) == (300, 2.1)


def test_a_round_under_way_misses_nobody_yet() -> None:
    progress = rounds.from_journal(JOURNAL, {})
    assert progress.rounds[1].missing == ()
    assert progress.waiting_for(progress.rounds[1]) == ("hospital-a",)
    assert progress.waiting_for(progress.rounds[0]) == ()


def test_a_round_is_open_until_the_server_closes_its_sum() -> None:
    both = {site: {"seconds": 7.0, "bytes_up": 5, "metrics": {}, "refused": None} for site in JOURNAL["sites"]}
    last = {**JOURNAL["rounds"][1], "sites": both}
    progress = rounds.from_journal({**JOURNAL, "rounds": [JOURNAL["rounds"][0], last]}, {})
    assert progress.waiting_for(progress.rounds[1]) == ("server",)


def test_after_the_end_nobody_is_waited_for() -> None:
    last = {**JOURNAL["rounds"][1], "seconds": 60.0}
    journal = {**JOURNAL, "phase": "failed", "error": "too few sites", "rounds": [JOURNAL["rounds"][0], last]}
    progress = rounds.from_journal(journal, {})
    assert progress.rounds[1].missing == ("hospital-a",)
    assert progress.waiting_for(progress.rounds[1]) == ()
    assert progress.error == "too few sites"


def test_the_console_reply_is_searched_for_the_workflow() -> None:
    assert rounds.from_stats({"server": {"ServerRunner": {}}}, {}) is None
    found = rounds.from_stats({"server": {"ServerRunner": {}, "EncryptedFedAvg": JOURNAL}}, {})
    assert found is not None
    assert len(found.rounds) == 2


def test_images_come_from_the_hospitals_own_disks(tmp_path: Path) -> None:
    (tmp_path / "rounds.jsonl").write_text('{"images": 10}\n{"images": 12}\n')
    assert rounds.training_images({"a": tmp_path, "b": tmp_path / "none"}) == {"a": 12, "b": 0}
