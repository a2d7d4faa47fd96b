from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from observability import logs


@pytest.fixture
def written(tmp_path: Path) -> Iterator:
    logs.configure("worker", "site-a", tmp_path)
    file = tmp_path / "worker.jsonl"
    yield lambda: [json.loads(line) for line in file.read_text().splitlines()]
    for name in logs.OURS:
        logger = logging.getLogger(name)
        for handler in list(logger.handlers):
            handler.close()
            logger.removeHandler(handler)
        logger.propagate = True
        logger.setLevel(logging.NOTSET)
    logs._process.clear()
    for name in logs.THEIRS:
        logging.getLogger(name).handlers.clear()
        logging.getLogger(name).propagate = True
    logging.captureWarnings(False)


def test_one_line_an_event_with_context(written) -> None:
    log = logging.getLogger("client_plugin.dicom.listener")
    with logs.bound(association="a1"), logs.bound(peer="pacs"):
        log.info("association accepted", extra=logs.fields(port=104))
    log.warning("after")
    first, second = written()
    assert (first["event"], first["level"], first["association"], first["peer"], first["port"]) == (
        "association accepted", "info", "a1", "pacs", 104,
    )  # fmt: skip
    assert first["time"].endswith("Z")
    assert (first["role"], first["site"]) == ("worker", "site-a")
    assert "association" not in second


def test_a_job_process_says_its_job_and_its_round_in_every_event(written) -> None:
    log = logging.getLogger("client_plugin.learning.executor")
    logs.always(job="3f0c", round=1)
    logs.always(round=2)
    log.info("data ready")
    with logs.bound(round=3):
        log.info("round opened")
    assert [(event["job"], event["round"]) for event in written()] == [("3f0c", 2), ("3f0c", 3)]


def test_fields_are_a_closed_list() -> None:
    with pytest.raises(ValueError, match="no log field patient_name"):
        logs.fields(patient_name="DOE^JANE")


def test_an_exception_shows_its_class_and_place_and_never_its_message(written) -> None:
    try:
        int("(0010,0010) DOE^JANE")
    except ValueError:
        logging.getLogger("client_plugin.intake").exception("instance failed")
    (event,) = written()
    assert event["exception"] == "ValueError"
    assert event["at"][-1].startswith("test_logs.py:")
    assert "DOE" not in json.dumps(event)


def test_what_libraries_say_goes_nowhere(written, capfd: pytest.CaptureFixture[str]) -> None:
    logging.getLogger("pydicom").warning("Invalid value 'DOE^JANE'")
    logging.getLogger("pynetdicom.assoc").error("DOE^JANE")
    warnings.warn("The value DOE^JANE is invalid", UserWarning, stacklevel=1)
    assert written() == []
    assert "DOE" not in "".join(capfd.readouterr())


def test_a_file_that_was_rotated_away_is_opened_anew(written, tmp_path: Path) -> None:
    log = logging.getLogger("observability")
    log.info("before")
    (tmp_path / "worker.jsonl").rename(tmp_path / "worker.jsonl.1")
    log.info("after")
    assert [event["event"] for event in written()] == ["after"]
