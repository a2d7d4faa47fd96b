"""Throwaway certificates for NVFlare's simulator, which has no kits.

In a simulation all sites run on one machine in one person's hands, and there is nobody to protect one from another.
Who starts the simulator says so by the environment variable ``FEDPACS_SIMULATION``: a folder where the first site
that needs it makes an authority. A kit that has certificates uses them, whatever the environment says.
"""

from __future__ import annotations

import datetime
import fcntl
import os
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from cryptography.x509.oid import NameOID

from secure_aggregation.identity import Credentials

VARIABLE = "FEDPACS_SIMULATION"
SERVER = "simulated-server"
_NAME = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "simulated-consortium")])


def folder() -> Path | None:
    """Where the simulation's certificates are, or None when this is no simulation."""
    value = os.environ.get(VARIABLE)
    return Path(value) if value else None


def credentials(where: Path, name: str) -> tuple[Credentials, bytes]:
    """A certificate for ``name`` and the authority's, PEM; the authority is made by the first who asks."""
    where.mkdir(parents=True, exist_ok=True, mode=0o700)
    with (where / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (where / "rootCA.pem").exists():
            key = rsa.generate_private_key(65537, 2048)
            (where / "rootCA.key").touch(mode=0o600)
            (where / "rootCA.key").write_bytes(_pem(key))
            (where / "rootCA.pem").write_bytes(_certificate(_NAME, key, key, authority=True))
        root = (where / "rootCA.pem").read_bytes()
        issuer = load_pem_private_key((where / "rootCA.key").read_bytes(), None)
    assert isinstance(issuer, rsa.RSAPrivateKey)  # noqa: S101 - made above
    key = rsa.generate_private_key(65537, 2048)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    return Credentials(_certificate(subject, key, issuer, authority=False), _pem(key)), root


def _pem(key: rsa.RSAPrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _certificate(subject: x509.Name, key: rsa.RSAPrivateKey, issuer: rsa.RSAPrivateKey, *, authority: bool) -> bytes:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(_NAME)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=5))
        .not_valid_after(now + datetime.timedelta(days=7))
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        .sign(issuer, hashes.SHA256())
        .public_bytes(Encoding.PEM)
    )
