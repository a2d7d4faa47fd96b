"""Who a site is: the certificate of its NVFlare startup kit, and signatures by the kit's private key.

The certificate authority is the consortium's (``rootCA.pem``). It also certifies the server and the administrators, and
a server that enrolled itself as one more hospital would be handed the hospitals' keys. So a certificate is accepted
for a *site* only: its common name is the site's name, it carries no administrator's role, it is none of the names
that are known to be servers, and it is on the hospital's list of partners where the hospital keeps one.
"""

from __future__ import annotations

import datetime
from dataclasses import dataclass, field
from functools import cached_property

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509.oid import NameOID

from secure_aggregation.errors import ProtocolError, Reason

_PSS = padding.PSS(mgf=padding.MGF1(hashes.SHA256()), salt_length=32)


@dataclass(frozen=True)
class Credentials:
    """A site's own certificate and key.

    Parameters
    ----------
    certificate
        PEM.
    key
        PEM of the RSA private key (NVFlare's kits hold RSA keys).
    """

    certificate: bytes
    key: bytes = field(repr=False)

    @cached_property
    def _private(self) -> RSAPrivateKey:
        private = load_pem_private_key(self.key, None)
        if not isinstance(private, RSAPrivateKey):
            raise ProtocolError(Reason.UNSUPPORTED, "the kit's key is no RSA key, as NVFlare's kits have")
        return private

    def sign(self, message: bytes) -> bytes:
        """RSASSA-PSS with SHA-256."""
        return self._private.sign(message, _PSS, hashes.SHA256())


@dataclass(frozen=True)
class Authority:
    """Decides whether a certificate belongs to a site of the consortium.

    Parameters
    ----------
    root
        PEM of the consortium's root certificate, from this participant's own kit.
    servers
        Names that belong to servers and never to a site.
    partners
        The only sites accepted, or None for every site that the root certifies.
    """

    root: bytes
    servers: frozenset[str] = frozenset()
    partners: frozenset[str] | None = None

    def verify(self, certificate: bytes, site: str, now: datetime.datetime) -> RSAPublicKey:
        """Check ``certificate`` for ``site`` at ``now`` (aware), and return its public key.

        Raises
        ------
        ProtocolError
            ``bad_certificate``, with what is wrong; ``unknown_site``: not one of the partners.
        """
        try:
            root = x509.load_pem_x509_certificate(self.root)
            leaf = x509.load_pem_x509_certificate(certificate)
            leaf.verify_directly_issued_by(root)
        except (ValueError, TypeError, InvalidSignature):
            raise ProtocolError(Reason.BAD_CERTIFICATE, f"{site}: not issued by this consortium's authority") from None
        for one in (leaf, root):
            if not one.not_valid_before_utc <= now <= one.not_valid_after_utc:
                raise ProtocolError(
                    Reason.BAD_CERTIFICATE, f"{site}: certificate expired or not yet valid: renew the kit"
                )
        names = [str(a.value) for a in leaf.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
        if names != [site]:
            raise ProtocolError(Reason.BAD_CERTIFICATE, f"{site}: certificate is for {names}")
        if leaf.subject.get_attributes_for_oid(NameOID.UNSTRUCTURED_NAME):
            raise ProtocolError(Reason.BAD_CERTIFICATE, f"{site}: an administrator's certificate")
        if site in self.servers:
            raise ProtocolError(Reason.BAD_CERTIFICATE, f"{site}: a server's certificate")
        if leaf.serial_number == root.serial_number or _is_authority(leaf):
            raise ProtocolError(Reason.BAD_CERTIFICATE, f"{site}: an authority's certificate")
        if self.partners is not None and site not in self.partners:
            raise ProtocolError(Reason.UNKNOWN_SITE, f"{site} is not one of this hospital's partners")
        key = leaf.public_key()
        if not isinstance(key, RSAPublicKey) or key.key_size < 2048:
            raise ProtocolError(Reason.BAD_CERTIFICATE, f"{site}: no RSA key of at least 2048 bits")
        return key


def _is_authority(certificate: x509.Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return False


def verify_signature(key: RSAPublicKey, message: bytes, signature: bytes, site: str) -> None:
    """Check an RSASSA-PSS signature.

    Raises
    ------
    ProtocolError
        ``bad_signature``.
    """
    try:
        key.verify(signature, message, _PSS, hashes.SHA256())
    except InvalidSignature:
        raise ProtocolError(Reason.BAD_SIGNATURE, f"{site}: signature does not fit the message") from None


def common_name(certificate: bytes) -> str:
    """The name in a PEM certificate."""
    leaf = x509.load_pem_x509_certificate(certificate)
    return str(leaf.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value)
