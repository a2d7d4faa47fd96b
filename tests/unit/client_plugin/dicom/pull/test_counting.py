from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path

import pytest

from client_plugin.archive.catalogue import Catalogue
from client_plugin.archive.keys import SiteKeys
from client_plugin.archive.models import Completeness
from client_plugin.config import NodeConfig
from client_plugin.dicom.pull.counting import Counting, count
from client_plugin.dicom.pull.query import PullQuery
from client_plugin.dicom.pull.source import FoundStudy, PullError, PullReason, Watch
from client_plugin.intake.study_names import StudyNames
from tests.unit.client_plugin.archive.conftest import MINUTE, START
from tests.unit.client_plugin.archive.samples import add_instance, ct
from tests.unit.client_plugin.archive.test_studies import received

KEYS = SiteKeys(site=b"\1" * 32, root=b"\2" * 32)
ORIGINAL = "1.2.840.99.1"


class Pacs:
    """Answers with a number, with a list only, with nothing, or not at all."""

    def __init__(self, answer: int | list[str] | PullReason | None) -> None:
        self._answer = answer
        self.asked: list[str] = []

    def find(self, query: PullQuery) -> Iterator[FoundStudy]:
        self.asked += query.study_uid
        if isinstance(self._answer, PullReason):
            raise PullError(self._answer)
        if self._answer is not None:
            yield FoundStudy(query.study_uid[0], self._answer if isinstance(self._answer, int) else None)

    def instances(self, study_uid: str, watch: Watch) -> dict[str, str]:
        assert isinstance(self._answer, list)
        return dict.fromkeys(self._answer, "CT")

    def retrieve(self, study_uid: str, missing: Mapping[str, str], watch: Watch) -> int | None:
        raise AssertionError("it is only asked")


@pytest.mark.parametrize(("answer", "expected"), [(7, 7), (["1", "2"], 2), (None, None)])
def test_a_pacs_counts_or_lists_or_does_not_know(answer: int | list[str] | None, expected: int | None) -> None:
    assert count(Pacs(answer), ORIGINAL) == expected


@pytest.mark.parametrize(
    ("answer", "after"),
    [
        (1, Completeness.COMPLETE),
        (2, None),
        (PullReason.UNREACHABLE, None),
        (PullReason.REJECTED, Completeness.UNKNOWN),
        (None, Completeness.UNKNOWN),
    ],
)
def test_quiet_studies_are_asked_about_by_their_original_name(
    tmp_path: Path, answer: int | PullReason | None, after: Completeness | None
) -> None:
    config = NodeConfig(site="hospital-a", storage=tmp_path)
    names = StudyNames(config, KEYS)
    catalogue = Catalogue.open(f"sqlite:///{tmp_path}/catalogue.sqlite")
    catalogue.add_patient("P1", b"wrapped")
    meta = ct(1, study_uid=names.here(ORIGINAL))
    row = received(catalogue, "one", START)
    add_instance(catalogue, meta, size=1, sha256="0" * 64, received=row, target=names.sealed(ORIGINAL))
    pacs, now = Pacs(answer), START + MINUTE
    counting = Counting(config, catalogue, pacs, names, now=lambda: now, draw=lambda: 0.0)
    assert counting.ask_due() == 1
    assert counting.ask_due() == 0  # not at once again
    assert pacs.asked == [ORIGINAL]
    quiet = timedelta(seconds=config.intake.quiet_seconds)
    assert [study.completeness for study in catalogue.seal_quiet_studies(quiet, now)] == ([after] if after else [])
    assert all(ORIGINAL.encode() not in path.read_bytes() for path in tmp_path.iterdir() if path.is_file())
    catalogue.close()
