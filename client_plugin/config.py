"""NodeConfig: everything a hospital decides about its edge node, in one YAML file.

The file is ``local/fedpacs.yaml`` in the hospital's NVFlare startup kit. Relative paths in it are
relative to the kit. Unknown keys are errors, so that a typing mistake never switches a protection off.
"""

from __future__ import annotations

import ipaddress
from datetime import time
from pathlib import Path
from typing import Annotated, Any, Literal
from zoneinfo import available_timezones

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

CONFIG_FILE = "fedpacs.yaml"


class ConfigError(ValueError):
    """The node's configuration cannot be used; the message names the key and the cure."""


def _ae_title(value: str) -> str:
    """An Application Entity title (PS3.5, VR AE): 1 to 16 characters, no backslash or control character."""
    if not 1 <= len(value.strip()) <= 16 or "\\" in value or not value.isprintable() or not value.isascii():
        raise ValueError("an AE title has 1 to 16 printable ASCII characters and no backslash")
    return value


def _network(value: str) -> str:
    ipaddress.ip_network(value, strict=False)
    return value


AETitle = Annotated[str, AfterValidator(_ae_title)]
Network = Annotated[str, AfterValidator(_network)]
Port = Annotated[int, Field(ge=1, le=65535)]
Seconds = Annotated[float, Field(gt=0)]


class Section(BaseModel):
    """A part of the configuration: immutable, and an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class TlsConfig(Section):
    """TLS for DICOM (PS3.15 B.12, BCP 195 RFC 8996/9325 profile). All three files are PEM."""

    certificate: Path = Field(description="This node's certificate chain")
    private_key: Path = Field(description="Its private key, mode 0600")
    ca_certificates: Path = Field(description="The authorities that peers' certificates are checked against")
    mutual: bool = Field(default=True, description="Require a certificate of the peer as well")


class DicomPeer(Section):
    """One DICOM application entity this node talks with."""

    ae_title: AETitle
    addresses: tuple[Network, ...] = Field(description="Addresses or networks it may call from", min_length=1)
    host: str | None = Field(default=None, description="Where to call it; needed for pulling and sending")
    port: Port | None = None
    tls: bool = Field(default=False, description="Call it with TLS")


class DicomConfig(Section):
    """The DICOM listener and the peers it accepts. No peers listed: nobody can store."""

    ae_title: AETitle = "FEDPACS"
    host: str = Field(default="0.0.0.0", description="Address the listener binds to")  # noqa: S104
    port: Port = 11112
    processes: int = Field(default=2, ge=1, le=16, description="Listener processes that share the port")
    max_associations: int = Field(default=16, ge=1, description="Per process; more are rejected as transient")
    acse_timeout: Seconds = 30.0
    dimse_timeout: Seconds = 60.0
    network_timeout: Seconds = 120.0
    drain_timeout: Seconds = Field(default=30.0, description="How long running associations may finish after SIGTERM")
    peers: tuple[DicomPeer, ...] = ()
    tls: TlsConfig | None = None


class IntakeConfig(Section):
    """What happens to a received instance between the wire and the archive."""

    workers: int = Field(default=1, ge=1, le=32, description="De-identification processes")
    quiet_seconds: Seconds = Field(default=60.0, description="A study without news for so long is sealed for training")
    count_seconds: Seconds = Field(
        default=3600.0,
        description="So long a study without news waits for the instances that its PACS counts and that did not come",
    )
    min_free_bytes: int = Field(default=1 << 30, ge=0, description="Below this, associations are rejected")
    max_tries: int = Field(default=3, ge=1, description="After so many failures an instance is quarantined")
    worker_memory_bytes: int = Field(
        default=4 << 30,
        ge=1 << 30,
        description="Memory of a worker; an instance that needs more is quarantined",
    )


class Window(Section):
    """A part of the day; one that ends before it starts reaches into the next day."""

    start: time
    end: time

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        start, dash, end = value.partition("-")
        if not dash:
            raise ValueError("a window is written HH:MM-HH:MM, for example 22:00-06:00")
        return {"start": start.strip(), "end": end.strip()}


class PullConfig(Section):
    """How studies are pulled from a PACS (``fedpacs pull``)."""

    enabled: bool = Field(default=True, description="The node works on pulls; off: only `fedpacs pull` itself does")
    source: AETitle | None = Field(default=None, description="Peer to pull from; default: the only one with a host")
    method: Literal["c-move", "c-get", "dicomweb"] = Field(
        default="c-move", description="c-move needs our AE title and port in the PACS's configuration"
    )
    dicomweb_url: str | None = Field(default=None, description="For dicomweb: root of QIDO-RS and WADO-RS")
    dicomweb_token_file: Path | None = Field(default=None, description="For dicomweb: file with a bearer token")
    dicomweb_ca_certificates: Path | None = Field(
        default=None, description="For dicomweb: authorities of its https certificate (PEM); default: the public ones"
    )
    concurrency: int = Field(default=2, ge=1, le=16, description="Studies pulled at a time")
    windows: tuple[Window, ...] = Field(default=(), description="Only then, e.g. 22:00-06:00; empty: always")
    time_zone: str | None = Field(default=None, description="Of the windows, e.g. Europe/Berlin; default: ours")
    studies_per_hour: float | None = Field(default=None, gt=0, description="Studies begun per hour at most")
    instances_per_hour: float | None = Field(
        default=None, gt=0, description="Instances per hour at most, on average: a large study makes the next one wait"
    )
    max_tries: int = Field(default=8, ge=1, description="Then a study is given up, with the reason of the last try")
    retry_seconds: Seconds = Field(default=30.0, description="Before the second try; doubled for each further one")
    retry_max_seconds: Seconds = Field(default=3600.0, description="Longest time between two tries")
    stall_seconds: Seconds = Field(default=600.0, description="Without a sign of life for so long a try is broken off")

    @field_validator("time_zone")
    @classmethod
    def _known_zone(cls, value: str | None) -> str | None:
        if value is not None and value not in available_timezones():
            raise ValueError("no time zone of this name, e.g. Europe/Berlin")
        return value

    @model_validator(mode="after")
    def _web_needs_url(self) -> PullConfig:
        if self.method == "dicomweb" and not self.dicomweb_url:
            raise ValueError("method dicomweb needs dicomweb_url")
        return self


class SendConfig(Section):
    """How results are sent to a PACS from the outbox."""

    enabled: bool = Field(default=False, description="Run the sender")
    dicomweb_url: str | None = Field(default=None, description="Root of STOW-RS, for the destination DICOMWEB")
    dicomweb_token_file: Path | None = Field(default=None, description="For dicomweb: file with a bearer token")
    dicomweb_ca_certificates: Path | None = Field(
        default=None, description="For dicomweb: authorities of its https certificate (PEM); default: the public ones"
    )
    max_tries: int = Field(default=8, ge=1, description="Then an instance is given up, with the reason of the last try")
    retry_seconds: Seconds = Field(default=30.0, description="Before the second try; doubled for each further one")
    retry_max_seconds: Seconds = Field(default=3600.0, description="Longest time between two tries")


class DeidentificationConfig(Section):
    """Options of the DICOM PS3.15 Annex E confidentiality profile; the Basic Profile always applies."""

    clean_descriptors: bool = Field(default=True, description="Keep the safe words of descriptions; off: remove them")
    retain_modified_dates: bool = Field(
        default=True, description="Keep dates, all moved by one secret number of days per patient; off: remove them"
    )
    retain_patient_characteristics: bool = Field(
        default=False, description="Keep sex, size, weight, and age up to 89 years"
    )
    retain_device_identity: bool = Field(default=False, description="Keep station names, serial numbers and the like")
    retain_uids: bool = Field(default=False, description="Keep UIDs: whoever has the originals can link them")
    retain_safe_private: bool = Field(
        default=False, description="Keep the private attributes of PS3.15 Table E.3.10-1 (b-values, PET scale, …)"
    )
    clean_structured_content: bool = Field(
        default=True, description="Keep structured reports, names and free text replaced; off: quarantine them"
    )
    clean_graphics: bool = Field(
        default=True, description="Keep graphic annotations, their text cleaned; off: remove them. Overlays always go"
    )
    clean_pixel_data: bool = Field(
        default=True, description="Blank text in pictures that may carry it; off, or no detector: quarantine them"
    )
    clean_visual_features: bool = Field(
        default=True, description="Quarantine sections and photographs of heads, which show a face, and what may be one"
    )
    faceless_modalities: tuple[Literal["CT", "MR", "PT", "XC"], ...] = Field(
        default=(), description="Modalities that show no head here even where nothing says what they show, such as MR"
    )
    safe_words: tuple[str, ...] = Field(
        default=(), description="Words that identify nobody here, kept in descriptions besides the built-in ones"
    )
    reidentification: bool = Field(default=True, description="Keep the sealed vault that leads back to a patient")


class ArchiveConfig(Section):
    """The encrypted object store and its catalogue. Unset paths lie below ``storage``."""

    catalogue_url: str | None = Field(default=None, description="SQLAlchemy URL; default: SQLite below storage")
    key_file: Path | None = Field(default=None, description="Site key: 32 random bytes, mode 0600")
    key_command: tuple[str, ...] | None = Field(default=None, description="Command that prints the site key in hex")


class GovernanceConfig(Section):
    """The floor under every job. A job may be stricter, never laxer."""

    jobs: tuple[str, ...] = Field(default=("organ-classification",), description="Names of jobs that may run here")
    job_digests: tuple[Annotated[str, Field(pattern="^[0-9a-f]{64}$")], ...] = Field(
        default=(), description="Content that these jobs may have (`fedpacs job-digest`); empty: any content"
    )
    min_patients: int = Field(default=1, ge=1, description="Smallest cohort a job may train on")
    encryption: tuple[Literal["he+masks", "he", "masks"], ...] = Field(
        default=("he+masks", "he"), description="Acceptable protections of what leaves, never none", min_length=1
    )
    min_bits: int = Field(default=16, description="Coarsest fixed-point precision accepted")
    share_metrics: tuple[str, ...] = Field(
        default=("loss",), description="Training metrics that may leave in clear; empty: none"
    )
    min_sites: int = Field(default=3, ge=2, description="Sites that must take part before anything is sent")
    partners: tuple[str, ...] = Field(
        default=(), description="The only sites to add up with; empty: every site that the consortium certifies"
    )


class MetricsTlsConfig(Section):
    """TLS for the Prometheus endpoint. Both files are PEM."""

    certificate: Path
    private_key: Path


class MetricsConfig(Section):
    """The Prometheus endpoint."""

    host: str = Field(default="127.0.0.1", description="Address; loopback unless told otherwise")
    port: Port = 9464
    tls: MetricsTlsConfig | None = Field(default=None, description="Serve https; without it http")
    username: str | None = Field(default=None, description="HTTP Basic user; needs secret_file")
    secret_file: Path | None = Field(
        default=None, description="File, mode 0600, with the password of username, or without username a bearer token"
    )

    facts_seconds: Seconds = Field(
        default=10.0, description="Time between two readings of disk, catalogue and certificates"
    )
    echo_seconds: Seconds = Field(default=60.0, description="Time between two C-ECHO to the peers that can be called")

    @model_validator(mode="after")
    def _secret(self) -> MetricsConfig:
        if self.username and not self.secret_file:
            raise ValueError("username needs secret_file: a file that holds its password")
        return self


class StatusPageConfig(Section):
    """The node's own page for people: read only, without passwords, so keep it on loopback (or behind your proxy)."""

    host: str = Field(default="127.0.0.1", description="Address; loopback unless told otherwise")
    port: Port = 9466
    names: tuple[str, ...] = Field(
        default=(), description="Further names that a browser may use for it (Host header), e.g. behind a proxy"
    )
    alertmanager: str | None = Field(
        default=None, pattern=r"^https?://", description="URL of the Alertmanager whose alerts are shown"
    )
    prometheus: str | None = Field(
        default=None, pattern=r"^https?://", description="URL of the Prometheus that knows the alerts of the last day"
    )


class NodeConfig(Section):
    """A hospital's edge node. See the sections for each key."""

    site: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$", description="The site's name in the NVFlare project")
    storage: Path = Field(default=Path("node"), description="Folder for spool, archive, catalogue and models")
    dicom: DicomConfig = DicomConfig()
    intake: IntakeConfig = IntakeConfig()
    pull: PullConfig = PullConfig()
    send: SendConfig = SendConfig()
    deidentification: DeidentificationConfig = DeidentificationConfig()
    archive: ArchiveConfig = ArchiveConfig()
    governance: GovernanceConfig = GovernanceConfig()
    metrics: MetricsConfig = MetricsConfig()
    status_page: StatusPageConfig = StatusPageConfig()
    kit: Path = Field(default=Path(), exclude=True, description="The NVFlare kit; set by load()")

    @model_validator(mode="after")
    def _one_key_source(self) -> NodeConfig:
        if self.archive.key_file and self.archive.key_command:
            raise ValueError("archive: give key_file or key_command, not both")
        return self

    @classmethod
    def load(cls, path: Path) -> NodeConfig:
        """Read and validate ``path`` (``<kit>/local/fedpacs.yaml``, or the kit's folder).

        Raises
        ------
        ConfigError
            The file is missing, is no YAML mapping, or a value is out of its range.
        """
        if path.is_dir():
            path = path / "local" / CONFIG_FILE
        try:
            raw: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
        except (FileNotFoundError, NotADirectoryError):
            raise ConfigError(f"no configuration at {path}: give the hospital's startup kit with --kit") from None
        except yaml.YAMLError as error:
            raise ConfigError(f"{path} is not YAML: {error}") from None
        return cls.from_mapping(raw, kit=path.resolve().parent.parent, source=str(path))

    @classmethod
    def from_mapping(cls, raw: object, *, kit: Path, source: str) -> NodeConfig:
        """Validate what a YAML file held; ``source`` names it in errors.

        Raises
        ------
        ConfigError
            Not a mapping, or a value is out of its range; each problem is named by its key.
        """
        if not isinstance(raw, dict):
            raise ConfigError(f"{source}: expected a mapping with the keys of NodeConfig")
        try:
            return cls(**{**raw, "kit": kit})
        except ValidationError as error:
            problems = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'file'}: {e['msg']}" for e in error.errors())
            raise ConfigError(f"{source}: {problems}") from None

    def path(self, value: Path) -> Path:
        """Resolve ``value`` against the kit."""
        return value if value.is_absolute() else self.kit / value

    @property
    def can_pull(self) -> bool:
        """Whether the node is to pull, and is told from where."""
        if not self.pull.enabled or self.pull.method == "dicomweb":
            return self.pull.enabled
        callable_ = [peer.ae_title for peer in self.dicom.peers if peer.host is not None and peer.port is not None]
        return len([title for title in callable_ if self.pull.source in (None, title)]) == 1

    @property
    def root(self) -> Path:
        """The storage folder, absolute."""
        return self.path(self.storage)

    @property
    def spool(self) -> Path:
        return self.root / "spool"

    @property
    def objects(self) -> Path:
        return self.root / "archive"

    @property
    def models(self) -> Path:
        return self.root / "models"

    @property
    def key_file(self) -> Path:
        return self.path(self.archive.key_file) if self.archive.key_file else self.root / "keys" / "site.key"

    @property
    def catalogue_url(self) -> str:
        return self.archive.catalogue_url or f"sqlite:///{self.root / 'catalogue.sqlite'}"
