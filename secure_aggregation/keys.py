"""Keys that the hospitals share and the server does not: derivation, sealing to one another, key streams.

X25519 for agreement, HKDF-SHA256 for derivation, AES-256-GCM for sealing, AES-256-CTR for key streams; all from
``cryptography``.
"""

from __future__ import annotations

import hmac
import secrets
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from secure_aggregation.errors import ProtocolError, Reason

NONCE_BYTES = 12


def derive(secret: bytes, purpose: str, context: bytes = b"", length: int = 32) -> bytes:
    """HKDF-SHA256 with ``purpose`` and ``context`` in its info."""
    info = b"fedpacs/" + purpose.encode() + b"\0" + context
    return HKDF(hashes.SHA256(), length, None, info).derive(secret)


def tag(key: bytes, purpose: str, context: bytes) -> bytes:
    """HMAC-SHA256 under a key derived for ``purpose``."""
    return hmac.digest(derive(key, purpose), context, "sha256")


def stream(key: bytes, size: int) -> npt.NDArray[np.uint8]:
    """``size`` bytes of AES-256-CTR key stream; a key is used for one stream only, so the counter starts at zero."""
    encryptor = Cipher(AES(key), CTR(bytes(16))).encryptor()
    out = np.zeros(size, np.uint8)
    encryptor.update_into(out.data, out.data)
    return out


@dataclass(frozen=True)
class Agreement:
    """One site's X25519 key pair for one epoch."""

    private: X25519PrivateKey

    @classmethod
    def generate(cls) -> Agreement:
        return cls(X25519PrivateKey.generate())

    @classmethod
    def restore(cls, private: bytes) -> Agreement:
        """From the 32 bytes of :attr:`private_bytes`."""
        return cls(X25519PrivateKey.from_private_bytes(private))

    @property
    def public(self) -> bytes:
        return self.private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)

    @property
    def private_bytes(self) -> bytes:
        return self.private.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption())

    def secret(self, peer: bytes, purpose: str, context: bytes) -> bytes:
        """The secret shared with the owner of ``peer``, for one purpose and context.

        Raises
        ------
        ProtocolError
            ``malformed``: no X25519 key, or one of small order.
        """
        try:
            shared = self.private.exchange(X25519PublicKey.from_public_bytes(peer))
        except ValueError:
            raise ProtocolError(Reason.MALFORMED, "a site's key is no usable X25519 key") from None
        # Both public keys go into the context, so that the secret belongs to this pair alone.
        return derive(shared, purpose, b"".join(sorted((self.public, peer))) + context)


def seal(key: bytes, clear: bytes, context: bytes) -> bytes:
    """AES-256-GCM with a random nonce in front; ``context`` is authenticated with it."""
    nonce = secrets.token_bytes(NONCE_BYTES)
    return nonce + AESGCM(key).encrypt(nonce, clear, context)


def unseal(key: bytes, box: bytes, context: bytes) -> bytes:
    """The inverse of :func:`seal`.

    Raises
    ------
    ProtocolError
        ``wrong_key``: sealed with another key, for another purpose, or changed on the way.
    """
    try:
        return AESGCM(key).decrypt(box[:NONCE_BYTES], box[NONCE_BYTES:], context)
    except (InvalidTag, ValueError):
        raise ProtocolError(Reason.WRONG_KEY, "a sealed message does not open: other key, or changed") from None
