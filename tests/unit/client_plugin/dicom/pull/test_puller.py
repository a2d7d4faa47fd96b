"""The puller's own behaviour, with sources that follow a script. Real peers are in tests/integration/dicom."""

import threading
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from client_plugin.archive.catalogue import Catalogue
from client_plugin.archive.models import PullState
from client_plugin.archive.pulls import NewPull
from client_plugin.archive.received import NewReceived
from client_plugin.archive.sealing import seal
from client_plugin.config import PullConfig
from client_plugin.dicom.pull.command import summarize
from client_plugin.dicom.pull.puller import Puller, target_context
from client_plugin.dicom.pull.query import PullQuery
from client_plugin.dicom.pull.source import FoundStudy, PullError, PullReason, Watch

KEY = bytes(32)
Step = Callable[["Scripted", str, Watch], None]


class Scripted:
    """A source whose studies have three instances each; ``script`` says what a retrieval does."""

    def __init__(self, catalogue: Catalogue, script: Mapping[str, list[Step]]) -> None:
        self.catalogue = catalogue
        self.script = {uid: [*steps] for uid, steps in script.items()}
        self.at_once = self.most_at_once = 0
        self._lock = threading.Lock()

    def find(self, query: PullQuery) -> Iterator[FoundStudy]:
        yield from (FoundStudy(uid, 3) for uid in self.script)

    def instances(self, study_uid: str, watch: Watch) -> dict[str, str]:
        return {f"{study_uid}.{n}": "1.2" for n in range(3)} if study_uid in self.script else {}

    def retrieve(self, study_uid: str, missing: Mapping[str, str], watch: Watch) -> None:
        with self._lock:
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            self.script[study_uid].pop(0)(self, study_uid, watch)
        finally:
            with self._lock:
                self.at_once -= 1

    def arrive(self, *uids: str) -> None:
        rows = [
            NewReceived(
                spool_name=f"spool-{uid}",
                uid_digest=f"digest {uid}",
                content_digest="c",
                sop_class_uid="1.2",
                transfer_syntax_uid="1.2",
                size=1,
                source_ae="PACS",
                received_at=datetime.now(UTC),
            )
            for uid in uids
        ]
        self.catalogue.record_received(rows)


def send(*numbers: int) -> Step:
    return lambda source, uid, _watch: source.arrive(*(f"{uid}.{n}" for n in numbers))


def fail(reason: PullReason) -> Step:
    def step(_source: Scripted, _uid: str, _watch: Watch) -> None:
        raise PullError(reason)

    return step


def crash(_source: Scripted, _uid: str, _watch: Watch) -> None:
    raise ZeroDivisionError


def hang(_source: Scripted, _uid: str, watch: Watch) -> None:
    released = threading.Event()
    watch.arm(released.set)
    assert released.wait(20)
    raise PullError(watch.stopped or PullReason.LOST)


@pytest.fixture
def catalogue(tmp_path: Path) -> Catalogue:
    return Catalogue.open(f"sqlite:///{tmp_path}/catalogue.sqlite")


def enqueue(catalogue: Catalogue, *uids: str) -> None:
    new = [
        NewPull(
            study_digest=f"digest {uid}",
            study_uid=f"2.25.{uid}",
            target=seal(uid.encode(), KEY, target_context(f"digest {uid}")),
            source="PACS",
            expected=None,
        )
        for uid in uids
    ]
    catalogue.enqueue_pulls("job", new, datetime.now(UTC))


def pulled(
    catalogue: Catalogue, script: Mapping[str, list[Step]], **config: object
) -> dict[str, tuple[str, str | None]]:
    """Run to the end; state and reason of each study."""
    settings = {"retry_seconds": 0.01, "retry_max_seconds": 0.02, "max_tries": 3, "concurrency": 4, **config}
    enqueue(catalogue, *script)
    puller(catalogue, Scripted(catalogue, script), **settings).run(threading.Event(), until_empty=True)
    return {p.study_uid.removeprefix("2.25."): (p.state, p.reason) for p in catalogue.pulls()}


def puller(catalogue: Catalogue, source: Scripted, **config: object) -> Puller:
    settings = PullConfig.model_validate(config)
    return Puller(settings, catalogue, {"PACS": source}, key=KEY, digest=lambda uid: f"digest {uid}", draw=lambda: 0.0)


def test_one_study_that_fails_does_not_stop_the_others(catalogue: Catalogue) -> None:
    ends = pulled(
        catalogue,
        {
            "1": [send(0, 1, 2)],
            "2": [fail(PullReason.FAILED)] * 3,
            "3": [crash] * 3,
            "4": [fail(PullReason.NOT_AUTHORISED)],
            "5": [fail(PullReason.LOST), send(0), send(1, 2)],
            "6": [send(0, 1, 2)],
        },
    )
    assert ends == {
        "1": ("done", None),
        "2": ("failed", "source-failed"),
        "3": ("failed", "internal-error"),
        "4": ("failed", "not-authorised"),
        "5": ("done", None),
        "6": ("done", None),
    }
    assert [p.tries for p in catalogue.pulls()] == [1, 3, 3, 1, 3, 1]


def test_success_with_nothing_sent_ends_as_incomplete(catalogue: Catalogue) -> None:
    assert pulled(catalogue, {"1": [send(), send(0), send(0, 1)]}) == {"1": ("failed", "incomplete")}


def test_what_is_here_is_not_asked_for_again(catalogue: Catalogue) -> None:
    Scripted(catalogue, {}).arrive("1.0", "1.1", "1.2")
    assert pulled(catalogue, {"1": []}) == {"1": ("done", None)}


def test_an_answer_that_got_lost_after_the_last_instance_is_no_failure(catalogue: Catalogue) -> None:
    def all_then_lost(source: Scripted, uid: str, watch: Watch) -> None:
        send(0, 1, 2)(source, uid, watch)
        raise PullError(PullReason.LOST)

    assert pulled(catalogue, {"1": [all_then_lost]}) == {"1": ("done", None)}


def test_a_study_that_is_gone(catalogue: Catalogue) -> None:
    enqueue(catalogue, "7")
    puller(catalogue, Scripted(catalogue, {})).run(threading.Event(), until_empty=True)
    assert [(p.state, p.reason) for p in catalogue.pulls()] == [("failed", "not-found")]


def test_no_more_at_once_than_configured(catalogue: Catalogue) -> None:
    both = threading.Barrier(2, timeout=10)

    def together(source: Scripted, uid: str, watch: Watch) -> None:
        both.wait()
        send(0, 1, 2)(source, uid, watch)

    script = {str(n): [together] for n in range(6)}
    enqueue(catalogue, *script)
    source = Scripted(catalogue, script)
    puller(catalogue, source, concurrency=2).run(threading.Event(), until_empty=True)
    assert source.most_at_once == 2
    assert summarize(catalogue.pulls()).done == 6


def test_silence_is_broken_off_and_the_next_try_may_succeed(catalogue: Catalogue) -> None:
    ends = pulled(catalogue, {"1": [hang, send(0, 1, 2)], "2": [hang] * 3}, stall_seconds=0.2)
    assert ends == {"1": ("done", None), "2": ("failed", "stalled")}


def test_instances_that_arrive_are_a_sign_of_life(catalogue: Catalogue) -> None:
    def slow(source: Scripted, uid: str, watch: Watch) -> None:
        """Without a word on its own association."""
        stopped = threading.Event()
        watch.arm(stopped.set)
        for number in range(3):
            assert not stopped.wait(0.9), "it was broken off"
            source.arrive(f"{uid}.{number}")

    assert pulled(catalogue, {"1": [slow]}, stall_seconds=1.8) == {"1": ("done", None)}


def test_stopping_breaks_off_and_leaves_the_study_to_the_next_run(catalogue: Catalogue) -> None:
    enqueue(catalogue, "1", "2")
    stop = threading.Event()
    source = Scripted(catalogue, {"1": [hang, send(0, 1, 2)], "2": [send(0, 1, 2)]})
    made = puller(catalogue, source, concurrency=1)
    running = threading.Thread(target=made.run, args=(stop,), kwargs={"until_empty": True})
    running.start()
    while source.at_once == 0:
        pass
    stop.set()
    running.join(10)
    assert not running.is_alive()
    assert [(p.state, p.tries) for p in catalogue.pulls()] == [(PullState.WAITING, 0), (PullState.WAITING, 0)]
    puller(catalogue, source).run(threading.Event(), until_empty=True)
    assert summarize(catalogue.pulls()).done == 2


def test_outside_the_window_nothing_starts(catalogue: Catalogue) -> None:
    enqueue(catalogue, "1")
    moment = [datetime(2026, 3, 10, 12, 0, tzinfo=UTC)]
    settings = PullConfig.model_validate({"windows": ["22:00-06:00"], "time_zone": "UTC"})
    source = Scripted(catalogue, {"1": [send(0, 1, 2)]})
    made = Puller(
        settings, catalogue, {"PACS": source}, key=KEY, digest=lambda uid: f"digest {uid}", now=lambda: moment[0]
    )
    assert made.starts_at() == datetime(2026, 3, 10, 22, 0, tzinfo=UTC)
    stop = threading.Event()
    running = threading.Thread(target=made.run, args=(stop,), kwargs={"until_empty": True})
    running.start()
    running.join(1.2)
    assert running.is_alive()
    assert catalogue.pulls()[0].state is PullState.WAITING
    moment[0] = datetime(2027, 3, 10, 22, 0, tzinfo=UTC)  # after the row's next_try_at, which is now
    running.join(10)
    assert not running.is_alive()
    assert catalogue.pulls()[0].state is PullState.DONE


def test_the_rate_counts_from_the_last_start_of_any_run(catalogue: Catalogue) -> None:
    assert pulled(catalogue, {"1": [send(0, 1, 2)]}) == {"1": ("done", None)}
    (done,) = catalogue.pulls()
    assert done.started_at is not None
    starts = puller(catalogue, Scripted(catalogue, {}), studies_per_hour=60).starts_at()
    assert starts == done.started_at + timedelta(minutes=1)
