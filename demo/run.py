"""The main job, start to end: provision, start, send, de-identify, train, compare, report, stop."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nvflare.apis.job_def import RunStatus
from rich.console import Console

from client_plugin.archive.catalogue import Catalogue
from client_plugin.config import NodeConfig
from demo import data, processes, rounds, studies
from demo.federation import SERVER, Federation, hospitals
from demo.lead import Lead
from demo.live import Board
from demo.outcome import Outcome
from demo.result import Address, DemoResult, Evaluation
from demo.summary import summary
from demo.workspace import DemoError, Workspace
from jobs.folder import Federation as FederationArguments
from jobs.organ_classification import job
from server_config.monitoring.stack import MonitoringError, Target, start_monitoring

ARCHIVE_SECONDS = 180.0
SCRAPE_INTERVAL = "2s"  # a whole round takes no longer here
MAX_IMAGES = 2048  # of one site: more than the largest has
PHASES = (
    "data packages",
    "provision",
    "start server and hospitals",
    "PACS send, nodes de-identify and archive",
    "federated training",
    "alone and pooled, to compare",
    "search the server, write the report",
)


@dataclass(frozen=True)
class Options:
    """What a run is asked for.

    Attributes
    ----------
    root
        The ``.demo`` folder.
    sites
        The hospitals' letters; each has its own data.
    rounds
        Rounds of federated averaging.
    encryption
        See `jobs.folder.Federation`; ``he+masks`` needs three hospitals.
    learning
        Learning arguments that differ from the job's own.
    keep
        Leave the federation running at the end.
    monitor
        Start Prometheus and Alertmanager too, where they are installed.
    """

    root: Path
    sites: str = "abc"
    rounds: int = 24
    encryption: str = "he+masks"
    learning: dict[str, Any] | None = None
    keep: bool = False
    monitor: bool = False

    @property
    def policy(self) -> dict[str, Any]:
        """Every hospital's floor: one patient each is all there is here, and nothing leaves unencrypted."""
        return {
            "min_patients": 1,
            "min_sites": len(self.sites),
            "encryption": [self.encryption],
            "share_metrics": ["loss", "balanced_accuracy"],
        }


def run(options: Options, console: Console) -> DemoResult:
    """Run the main job.

    Returns
    -------
    DemoResult
        Also written to ``<run>/result.json`` and ``<root>/result.json``.

    Raises
    ------
    DemoError
        It cannot go on; everything that was started is stopped.
    """
    workspace = Workspace.create(options.root, running=processes.is_running)
    federation = Federation.create(workspace, hospitals(options.sites), monitor=options.monitor)
    watch = processes.MemoryWatch(workspace.run_id)
    with _stopped_at_the_end(federation, options):
        with watch, Board(console, PHASES) as board:
            result = _Run(options, workspace, federation, board, watch).go()
        console.print(summary(result))
    return result


@contextmanager
def _stopped_at_the_end(federation: Federation, options: Options) -> Iterator[None]:
    """Stop the federation, unless the run came to its end and was asked to keep it."""
    try:
        yield
    except BaseException:
        federation.stop()
        raise
    if not options.keep:
        federation.stop()


class _Run:
    """One run: each method is a phase."""

    def __init__(
        self,
        options: Options,
        workspace: Workspace,
        federation: Federation,
        board: Board,
        watch: processes.MemoryWatch,
    ) -> None:
        self.options = options
        self.workspace = workspace
        self.federation = federation
        self.board = board
        self.watch = watch
        self._shown = 0
        self._monitoring: tuple[Address, ...] = ()
        self._expected: dict[str, int] = {}
        self._catalogues: dict[str, Catalogue] = {}

    def go(self) -> DemoResult:
        board = self.board
        with board.phase("data packages"):
            try:
                self.data = data.fetch(self.workspace.cache)
            except data.DataUnavailable as error:
                raise DemoError(str(error)) from None
        with board.phase("provision"):
            self.federation.provision(self.options.policy)
        with board.phase("start server and hospitals"):
            self._start()
        if self.options.monitor:
            with board.phase("start Prometheus and Alertmanager"):
                self._monitor()
        with board.phase("PACS send, nodes de-identify and archive"):
            self._send()
            self._wait_for_archives()
        with board.phase("federated training"):
            job_id, progress = self._train()
        with board.phase("alone and pooled, to compare"):
            evaluation = self._compare(job_id)
        outcome = Outcome(self.federation, self.arguments, job_id, progress, evaluation, self._monitoring)
        with board.phase("search the server, write the report"):
            return outcome.publish(board.phases, self.watch.peak_bytes)

    @property
    def arguments(self) -> FederationArguments:
        """What the job is submitted with: no round counts without every hospital."""
        return FederationArguments(
            rounds=self.options.rounds,
            min_sites=len(self.options.sites),
            required_sites=tuple(self._sites()),
            encryption=self.options.encryption,
            max_weight=MAX_IMAGES,
        )

    def _sites(self) -> list[str]:
        return [hospital.site for hospital in self.federation.hospitals]

    def _start(self) -> None:
        """Check every kit with NVFlare's own check, and start it from its own script."""
        sites = self._sites()
        self.federation.preflight(SERVER)
        self.federation.start([SERVER])
        self.federation.wait_for_server()
        for site in sites:
            self.board.hospital(site, status="preflight check")
        with ThreadPoolExecutor(len(sites)) as pool:
            list(pool.map(self.federation.preflight, sites))
        self.federation.start(sites)
        for site in sites:
            self.board.hospital(site, status="starting")
        self.federation.wait_for_nodes()
        self._catalogues = {site: Catalogue.open(self._config(site).catalogue_url) for site in sites}
        for hospital in self.federation.hospitals:
            self.board.hospital(hospital.site, status=f"{hospital.ae_title} on port {hospital.dicom_port}")

    def _monitor(self) -> None:
        """Prometheus and Alertmanager as a hospital would run them, with our rules, alerts and the run's targets."""
        targets = [Target(f"127.0.0.1:{h.metrics_port}", h.site) for h in self.federation.hospitals]
        targets.append(Target(f"127.0.0.1:{self.federation.metrics_port}"))
        try:
            started = start_monitoring(
                self.workspace.run / "monitoring",
                targets,
                interval=SCRAPE_INTERVAL,
                ports=self.federation.monitoring_ports,
                environment=self.federation.environment,
            )
        except MonitoringError as error:
            raise DemoError(str(error)) from None
        self._monitoring = (
            Address(name="Prometheus", url=started.prometheus),
            Address(name="Alertmanager", url=started.alertmanager),
        )

    def _send(self) -> None:
        """One sender process a hospital, all at once, as three PACS would."""
        for site in self._sites():
            self._expected[site] = studies.count(site[-1], self.data)
            self.board.hospital(site, expected=self._expected[site])
        senders = {
            h.site: self._start_python(
                f"pacs-{h.site}",
                "demo.pacs",
                h.site[-1],
                f"--data={self.workspace.cache}",
                f"--port={h.dicom_port}",
                f"--called={h.ae_title}",
                f"--calling={h.pacs_ae_title}",
            )
            for h in self.federation.hospitals
        }
        while any(sender.poll() is None for sender in senders.values()):
            self._look_at_archives()
            time.sleep(0.5)
        for site, sender in senders.items():
            if sender.returncode:
                raise DemoError(f"the PACS of {site} could not send everything: see {self._log(f'pacs-{site}')}")

    def _wait_for_archives(self) -> None:
        """Until every instance is in its hospital's archive and the studies are sealed for training."""
        deadline = time.monotonic() + ARCHIVE_SECONDS
        while not self._look_at_archives():
            if time.monotonic() > deadline:
                raise DemoError(f"not everything was archived in {ARCHIVE_SECONDS:.0f} s: see {self.workspace.logs}")
            time.sleep(0.5)
        for site in self._sites():
            self.board.hospital(site, status="studies sealed")

    def _look_at_archives(self) -> bool:
        """Show what each hospital has; true when all of it is archived and sealed."""
        done = True
        for site in self._sites():
            catalogue = self._catalogues[site]
            counts = catalogue.counts()
            sealed = counts["studies_open"] == 0
            archived, quarantined = counts["instances"], counts["quarantine"]
            received = archived + counts["spool_pending"]
            self.board.hospital(site, received=received, archived=archived, quarantined=quarantined)
            if quarantined:
                raise DemoError(f"{site} set {quarantined} instances aside: fedpacs status --kit {self.kit(site)}")
            done &= archived == self._expected[site] and sealed
        return done

    def kit(self, site: str) -> Path:
        return self.federation.kits[site]

    def _config(self, site: str) -> NodeConfig:
        return NodeConfig.load(self.kit(site))

    def _train(self) -> tuple[str, rounds.Progress]:
        """Submit the job as the consortium's lead and follow it by the admin API."""
        folder = job(self.arguments, self.options.learning).write(self.workspace.run / "job")
        with Lead(self.federation.session) as lead:
            job_id = lead.submit(folder)
            return job_id, self._follow(lead, job_id)

    def _follow(self, lead: Lead, job_id: str) -> rounds.Progress:
        """Show the rounds while they happen; at the end, read the job's result as the lead would."""
        while (status := lead.ended(job_id)) is None:
            if progress := rounds.from_stats(lead.stats(job_id), self._training_images(job_id)):
                self._show(progress)
            time.sleep(0.7)
        result = lead.download(job_id, self.workspace.run / "download")
        progress = rounds.from_journal(
            json.loads(next(result.rglob("rounds.json")).read_text()), self._training_images(job_id)
        )
        self._show(progress)
        if status != RunStatus.FINISHED_COMPLETED.value:
            reason = progress.error or f"it ended as {status}"
            raise DemoError(f"the job failed: {reason} (logs: {self.workspace.logs} and the kits)")
        return progress

    def _show(self, progress: rounds.Progress) -> None:
        """Tell the board what is new: the round that was under way, and those after it."""
        for one in progress.rounds[max(0, self._shown - 1) :]:
            self.board.round(one, total=self.options.rounds, waiting_for=progress.waiting_for(one))
        self._shown = len(progress.rounds)

    def _training_images(self, job_id: str) -> dict[str, int]:
        return rounds.training_images({site: self._models(site, job_id) for site in self._sites()})

    def _models(self, site: str, job_id: str) -> Path:
        return self._config(site).models / job_id

    def _compare(self, job_id: str) -> Evaluation:
        """Train alone and pooled on what the hospitals archived: only here, where one machine owns all of it."""
        target = self.workspace.run / "evaluation.json"
        learning = self.workspace.run / "learning.json"
        learning.write_text(json.dumps(self.options.learning or {}))
        self._python(
            "compare",
            "demo.compare",
            f"--job={job_id}",
            f"--rounds={self.options.rounds}",
            f"--learning={learning}",
            f"--out={target}",
            *(str(self.kit(site)) for site in self._sites()),
        )
        return Evaluation.model_validate_json(target.read_text())

    def _python(self, name: str, module: str, *arguments: str) -> None:
        """Run a module of ours to its end, in a process of its own."""
        process = self._start_python(name, module, *arguments)
        if process.wait():
            last = self._log(name).read_text(errors="replace").strip().splitlines()[-1:] or ["no output"]
            raise DemoError(f"{last[0]} (all of it: {self._log(name)})")

    def _start_python(self, name: str, module: str, *arguments: str) -> subprocess.Popen[bytes]:
        with self._log(name).open("wb") as log:
            return subprocess.Popen(
                [sys.executable, "-m", module, *arguments],
                env=self.federation.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def _log(self, name: str) -> Path:
        return self.workspace.logs / f"{name}.log"
