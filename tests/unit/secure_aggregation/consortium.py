"""A consortium for tests: an authority, hospitals with certificates as NVFlare's provisioning makes them, and both
halves wired up.
"""

from __future__ import annotations

import datetime
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from secure_aggregation.ceremony import Settings
from secure_aggregation.identity import Authority, Credentials
from secure_aggregation.layout import Layout
from secure_aggregation.parameters import Encryption
from secure_aggregation.rounds import FINISH, TRAIN, round_message
from secure_aggregation.server import Ceremony, RunningSum
from secure_aggregation.site import Opened, Site

SERVER = "server.consortium.example"
Tensors = dict[str, npt.NDArray[np.float32]]


def _name(common: str, role: str | None = None) -> x509.Name:
    attributes = [x509.NameAttribute(NameOID.COMMON_NAME, common)]
    if role:
        attributes.append(x509.NameAttribute(NameOID.UNSTRUCTURED_NAME, role))
    return x509.Name(attributes)


class TestAuthority:
    """Signs certificates with the fields of NVFlare's ``generate_cert``."""

    __test__ = False

    def __init__(self, name: str = "consortium") -> None:
        self._name = name
        self._key = rsa.generate_private_key(65537, 2048)
        self.root = self._sign(name, self._key, authority=True).public_bytes(Encoding.PEM)

    def _sign(
        self, name: str, key: rsa.RSAPrivateKey, *, authority: bool = False, role: str | None = None, days: int = 30
    ) -> x509.Certificate:
        now = datetime.datetime.now(datetime.UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(_name(name, role))
            .issuer_name(_name(self._name))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=60))
            .not_valid_after(now + datetime.timedelta(days=days))
        )
        if authority:
            builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        return builder.sign(self._key, hashes.SHA256())

    def issue(self, name: str, *, role: str | None = None, days: int = 30, bits: int = 2048) -> Credentials:
        key = rsa.generate_private_key(65537, bits)
        certificate = self._sign(name, key, role=role, days=days).public_bytes(Encoding.PEM)
        return Credentials(
            certificate, key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
        )


AUTHORITY = TestAuthority()
_ISSUED: dict[str, Credentials] = {}


def credentials(name: str) -> Credentials:
    """A site's certificate; RSA keys are slow to make, so each name has one for the whole test run."""
    if name not in _ISSUED:
        _ISSUED[name] = AUTHORITY.issue(name)
    return _ISSUED[name]


def settings(encryption: str = "he", bits: int = 24, clip: float = 1.0, max_weight: float = 1.0) -> Settings:
    return Settings(Encryption(encryption), bits, clip, max_weight, 2)


def names(count: int) -> list[str]:
    return [f"hospital-{chr(97 + i // 26)}{chr(97 + i % 26)}" for i in range(count)]


@dataclass
class Consortium:
    """Sites and a server that talk through byte strings, as over a network."""

    count: int = 3
    agreed: Settings = field(default_factory=settings)
    layout: Layout | None = None
    job: str = "6dcf7a2c-0e51-4c4a-8b1a-1d8f0b7a9d11"
    epoch: int = 0

    def __post_init__(self) -> None:
        self.authority = Authority(AUTHORITY.root, frozenset({SERVER}))
        self.sites = {
            name: Site(name, self.job, self.agreed, credentials(name), self.authority) for name in names(self.count)
        }
        if self.layout:
            for site in self.sites.values():
                site.declare_layout(self.layout)
        self.server = Ceremony(self.job, self.epoch, self.agreed, self.authority)

    def announce(self) -> None:
        for name, site in self.sites.items():
            self.server.announced(name, site.announce(self.server.request()))

    def share(self) -> None:
        roster = self.server.roster().message()
        for name, site in self.sites.items():
            self.server.shared(name, site.share(roster))

    def confirm(self) -> None:
        for name, site in self.sites.items():
            self.server.confirmed(name, site.confirm(self.server.delivery(name)))

    def ready(self) -> None:
        message = self.server.ready()
        for site in self.sites.values():
            site.ready(message)

    def ceremony(self) -> Consortium:
        self.announce()
        self.share()
        self.confirm()
        self.ready()
        return self

    def running(self, step: int) -> RunningSum:
        parameters = self.agreed.parameters(self.count)
        return RunningSum(self.server.roster(), parameters, step, self.server.layout)

    def begin(self, step: int) -> None:
        message = round_message(self.server.roster(), step, 9, TRAIN, None)
        for site in self.sites.values():
            site.begin(message)

    def round(self, step: int, updates: dict[str, Tensors], weights: dict[str, float]) -> dict[str, Opened]:
        """One round: the sites in ``updates`` contribute, all open."""
        self.begin(step)
        running = self.running(step)
        for name, tensors in updates.items():
            running.add(name, self.sites[name].seal(tensors, weights[name]))
        return self.close(running)

    def close(self, running: RunningSum) -> dict[str, Opened]:
        """Unmask if need be, and have every site open the sum."""
        if running.parameters.encryption.masks:
            for name, site in self.sites.items():
                running.revealed(name, site.reveal(running.reveal(name)))
        message = round_message(self.server.roster(), running.step + 1, 9, FINISH, running.close())
        opened = {name: site.begin(message).opened for name, site in self.sites.items()}
        assert all(opened.values())
        return {name: one for name, one in opened.items() if one}
