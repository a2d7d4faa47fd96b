"""TLS for DICOM: PS3.15 B.12, the "BCP 195 RFC 8996, 9325" secure transport connection profile.

TLS 1.2 at least, 1.3 where the peer knows it; of TLS 1.2 only the four suites that RFC 9325 (section 4.2) recommends:
ephemeral Diffie-Hellman on elliptic curves with AES-GCM. No compression, no renegotiation.

Whether a certificate was revoked is not checked.
"""

from __future__ import annotations

import ssl
import stat
from pathlib import Path

from client_plugin.config import ConfigError, NodeConfig, TlsConfig

TLS12_SUITES = (
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES128-GCM-SHA256",
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES256-GCM-SHA384",
)


def server_context(config: NodeConfig) -> ssl.SSLContext | None:
    """The listener's context, or None without ``dicom.tls``.

    Raises
    ------
    ConfigError
        A file is missing, unreadable, readable by others (the key), or does not belong to the other.
    """
    tls = config.dicom.tls
    if tls is None:
        return None
    context = _profile(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), config, tls)
    context.verify_mode = ssl.CERT_REQUIRED if tls.mutual else ssl.CERT_NONE
    return context


def client_context(config: NodeConfig) -> ssl.SSLContext:
    """The context for calling peers: it shows our certificate and checks theirs, host name included.

    Raises
    ------
    ConfigError
        As for `server_context`; also if there is no ``dicom.tls``.
    """
    if config.dicom.tls is None:
        raise ConfigError("a peer has tls: true, but dicom.tls names no certificate: give one")
    return _profile(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), config, config.dicom.tls)


def _profile(context: ssl.SSLContext, config: NodeConfig, tls: TlsConfig) -> ssl.SSLContext:
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(":".join(TLS12_SUITES))
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    certificate, key, authorities = map(config.path, (tls.certificate, tls.private_key, tls.ca_certificates))
    _check_private(key)
    try:
        context.load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(
            f"dicom.tls: {certificate} and {key} are no certificate and its key ({_why(error)})"
        ) from None
    try:
        context.load_verify_locations(authorities)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"dicom.tls.ca_certificates: {authorities} holds no certificates ({_why(error)})") from None
    return context


def _check_private(key: Path) -> None:
    try:
        mode = key.stat().st_mode
    except OSError as error:
        raise ConfigError(f"dicom.tls.private_key: {key}: {error.strerror}") from None
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise ConfigError(f"dicom.tls.private_key: {key} can be read by others: chmod 600 {key}")


def _why(error: OSError) -> str:
    return getattr(error, "reason", None) or error.strerror or type(error).__name__
