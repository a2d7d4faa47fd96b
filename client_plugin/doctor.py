"""The checks of ``fedpacs doctor``: what a hospital's IT would otherwise find out at night."""

from __future__ import annotations

import json
import os
import shutil
import socket
import ssl
import stat
import subprocess
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum

from cryptography import x509

from client_plugin.config import ConfigError, DicomPeer, NodeConfig
from client_plugin.node import read_state

SOON = timedelta(days=30)
CONNECT_SECONDS = 5.0


class Outcome(Enum):
    """What a check found."""

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "PROBLEM"


@dataclass(frozen=True)
class Check:
    """One finding, and what to do about it."""

    name: str
    outcome: Outcome
    finding: str
    cure: str = ""


def examine(config: NodeConfig) -> list[Check]:
    """Run every check. None of them changes anything."""
    checks: tuple[Callable[[NodeConfig], Iterable[Check]], ...] = (
        check_kit,
        check_clock,
        check_storage,
        check_key,
        check_node,
        check_ports,
        check_peers,
        check_server,
    )
    return [found for check in checks for found in check(config)]


def check_kit(config: NodeConfig) -> Iterable[Check]:
    """The startup kit is whole, and its certificates hold for another month."""
    startup = config.kit / "startup"
    missing = [n for n in ("client.crt", "client.key", "rootCA.pem", "fed_client.json") if not (startup / n).is_file()]
    if missing:
        yield Check(
            "kit", Outcome.PROBLEM, f"{', '.join(missing)} missing in {startup}", "unpack the whole startup kit again"
        )
        return
    yield Check("kit", Outcome.OK, f"complete in {startup}")
    now = datetime.now(UTC)
    for name in ("client.crt", "rootCA.pem"):
        certificate = x509.load_pem_x509_certificate((startup / name).read_bytes())
        yield _validity(name, certificate, now)
    if stat.S_IMODE((startup / "client.key").stat().st_mode) & 0o077:
        yield Check(
            "kit key", Outcome.WARNING, "client.key can be read by others", f"chmod 600 {startup / 'client.key'}"
        )


def _validity(name: str, certificate: x509.Certificate, now: datetime) -> Check:
    until = certificate.not_valid_after_utc
    ask = "ask the consortium's lead for a new kit"
    if now > until:
        return Check(name, Outcome.PROBLEM, f"expired on {until:%Y-%m-%d}", ask)
    if now > until - SOON:
        return Check(name, Outcome.WARNING, f"expires on {until:%Y-%m-%d}", ask)
    return Check(name, Outcome.OK, f"valid until {until:%Y-%m-%d}")


def check_clock(config: NodeConfig) -> Iterable[Check]:
    """The clock is not before the kit was made, and something keeps it right."""
    path = config.kit / "startup" / "client.crt"
    if path.is_file():
        made = x509.load_pem_x509_certificate(path.read_bytes()).not_valid_before_utc
        if datetime.now(UTC) < made:
            yield Check(
                "clock", Outcome.PROBLEM, f"it is before {made:%Y-%m-%d %H:%M} UTC, when this kit was made", "set it"
            )
            return
    if not shutil.which("timedatectl"):
        yield Check("clock", Outcome.OK, "later than the kit (this system does not say whether it is synchronised)")
        return
    shown = subprocess.run(
        ["timedatectl", "show", "--property=NTPSynchronized", "--value"],
        capture_output=True,
        text=True,
        check=False,
        timeout=CONNECT_SECONDS,
    )
    if shown.stdout.strip() == "no":
        yield Check("clock", Outcome.WARNING, "not synchronised", "switch NTP on: timedatectl set-ntp true")
    else:
        yield Check("clock", Outcome.OK, "later than the kit")


def check_storage(config: NodeConfig) -> Iterable[Check]:
    """The storage folder is on a disk with room, and can be written."""
    folder = config.root
    while not folder.exists():
        folder = folder.parent
    if not os.access(folder, os.W_OK):
        yield Check("storage", Outcome.PROBLEM, f"{folder} cannot be written", "give the node's user that folder")
        return
    free = shutil.disk_usage(folder).free
    floor = config.intake.min_free_bytes
    if free < floor:
        yield Check(
            "storage",
            Outcome.PROBLEM,
            f"{free / 1e9:.1f} GB free, below intake.min_free_bytes ({floor / 1e9:.1f} GB): nothing is accepted",
            "free some room or move `storage`",
        )
    elif free < 3 * floor:
        yield Check("storage", Outcome.WARNING, f"only {free / 1e9:.1f} GB free", "free some room or move `storage`")
    else:
        yield Check("storage", Outcome.OK, f"{free / 1e9:.1f} GB free at {config.root}")


def check_key(config: NodeConfig) -> Iterable[Check]:
    """The site key is there and is nobody else's to read."""
    if config.archive.key_command:
        yield Check("site key", Outcome.OK, f"comes from {config.archive.key_command[0]}")
        return
    path = config.key_file
    if not path.exists():
        yield Check(
            "site key", Outcome.OK, "will be made at the first start; then back it up: nothing opens without it"
        )
    elif stat.S_IMODE(path.stat().st_mode) & 0o077:
        yield Check("site key", Outcome.PROBLEM, "can be read by others", f"chmod 600 {path}")
    else:
        yield Check("site key", Outcome.OK, f"{path}, mode 0600: keep a copy of it offline")


def check_node(config: NodeConfig) -> Iterable[Check]:
    """The node runs."""
    state = read_state(config)
    if state and state.state == "running" and state.alive:
        yield Check("node", Outcome.OK, f"running, process {state.pid}")
    elif state and state.state == "failed":
        yield Check("node", Outcome.PROBLEM, state.detail, "mend that and start the NVFlare client again")
    else:
        yield Check("node", Outcome.WARNING, "not running", f"{config.kit / 'startup' / 'start.sh'}")


def check_ports(config: NodeConfig) -> Iterable[Check]:
    """The ports answer when the node runs, and are free when it does not."""
    state = read_state(config)
    running = bool(state and state.state == "running" and state.alive)
    for name, host, port in (
        ("DICOM port", config.dicom.host, config.dicom.port),
        ("metrics port", config.metrics.host, config.metrics.port),
    ):
        answers = _answers("127.0.0.1" if host in ("0.0.0.0", "") else host, port)  # noqa: S104
        if answers == running:
            yield Check(name, Outcome.OK, f"{port} {'answers' if running else 'is free'}")
        elif running:
            yield Check(name, Outcome.PROBLEM, f"{port} does not answer", "look into the node's log and restart it")
        else:
            yield Check(name, Outcome.PROBLEM, f"{port} is taken by another program", "stop it, or choose another port")


def _answers(host: str, port: int) -> bool:
    try:
        with socket.create_connection((host, port), timeout=CONNECT_SECONDS):
            return True
    except OSError:
        return False


def check_peers(config: NodeConfig) -> Iterable[Check]:
    """Every PACS that this node may call answers a C-ECHO."""
    if not config.dicom.peers:
        yield Check("PACS", Outcome.PROBLEM, "no peers: nobody can send here", "list the PACS under dicom.peers")
    for peer in config.dicom.peers:
        if peer.host and peer.port:
            yield _echo(config, peer)
        else:
            yield Check(f"PACS {peer.ae_title}", Outcome.OK, "may send; without host and port it is not called")


def _echo(config: NodeConfig, peer: DicomPeer) -> Check:
    from client_plugin.dicom.echo import Echo, echo

    name = f"PACS {peer.ae_title}"
    allow = f"have the PACS administrator allow AE title {config.dicom.ae_title}, and check host, port and firewall"
    try:
        answer = echo(config, peer, timeout=CONNECT_SECONDS)
    except ConfigError as error:
        return Check(name, Outcome.PROBLEM, "cannot be called", str(error))
    return {
        Echo.ANSWERED: Check(name, Outcome.OK, f"answers C-ECHO at {peer.host}:{peer.port}"),
        Echo.FAILED: Check(
            name, Outcome.PROBLEM, "accepted the association, not the C-ECHO", "ask the PACS administrator why"
        ),
        Echo.REJECTED: Check(name, Outcome.PROBLEM, f"{peer.host}:{peer.port} rejects us", allow),
        Echo.UNREACHABLE: Check(name, Outcome.PROBLEM, f"{peer.host}:{peer.port} does not answer", allow),
    }[answer]


def check_server(config: NodeConfig) -> Iterable[Check]:
    """The consortium's server answers with a certificate of this project, and takes ours."""
    startup = config.kit / "startup"
    try:
        target: str = json.loads((startup / "fed_client.json").read_text())["servers"][0]["service"]["target"]
    except (OSError, ValueError, KeyError, IndexError):
        yield Check("server", Outcome.PROBLEM, "fed_client.json names no server", "unpack the startup kit again")
        return
    host, _, port = target.rpartition(":")
    context = ssl.create_default_context(cafile=str(startup / "rootCA.pem"))
    context.check_hostname = False  # NVFlare's identity is the certificate's common name, not the host's
    context.load_cert_chain(startup / "client.crt", startup / "client.key")
    try:
        with (
            socket.create_connection((host, int(port)), timeout=CONNECT_SECONDS) as plain,
            context.wrap_socket(plain, server_hostname=host) as tls,
        ):
            yield Check("server", Outcome.OK, f"{target} answers over {tls.version()}")
    except ssl.SSLError as error:
        yield Check(
            "server",
            Outcome.PROBLEM,
            f"{target} is not this project's server or refuses our certificate ({error.reason})",
            "compare the kits with the consortium's lead",
        )
    except OSError as error:
        yield Check(
            "server", Outcome.PROBLEM, f"{target} does not answer ({error.strerror or error})", "check DNS and firewall"
        )
