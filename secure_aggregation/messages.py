"""The wire: every message of the protocol is one byte string, signed by the site that made it.

::

    "FPA1" | header length, u32 LE | header | signature length, u16 LE | signature | body

The header is canonical JSON (sorted keys, no spaces, ASCII, integers and strings only, bytes in lower-case hex); the
signature covers ``"fedpacs/1\\0"`` and the header; the header holds the SHA-256 of the body. So there is one encoding
of one meaning, and what was signed is what was sent.

Messages of the server carry neither signature nor digest: both are empty. Its TLS session speaks for it, and no site
believes it anything that hospitals did not sign, seal or prove.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from secure_aggregation.errors import ProtocolError, Reason

VERSION = 1
_MAGIC = b"FPA1"
_DOMAIN = b"fedpacs/1\0"
_MAX_HEADER = 64 << 20
Fields = Mapping[str, Any]
Buffer = bytes | memoryview | npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Message:
    """A decoded message.

    Attributes
    ----------
    kind
        What it says it is.
    fields
        The header's other entries.
    signed
        The bytes that the signature covers.
    signature
        Empty for the server's messages.
    body
        A view into the received bytes.
    """

    kind: str
    fields: dict[str, Any]
    signed: bytes
    signature: bytes
    body: npt.NDArray[np.uint8]

    def text(self, name: str) -> str:
        """A string of the header."""
        return self._typed(name, str)

    def number(self, name: str) -> int:
        """An integer of the header."""
        value = self._typed(name, int)
        if isinstance(value, bool):
            raise ProtocolError(Reason.MALFORMED, f"{self.kind}: '{name}' is no number")
        return value

    def raw(self, name: str) -> bytes:
        """Bytes of the header."""
        try:
            return bytes.fromhex(self.text(name))
        except ValueError:
            raise ProtocolError(Reason.MALFORMED, f"{self.kind}: '{name}' is not hexadecimal") from None

    def table(self, name: str) -> dict[str, Any]:
        """A mapping of the header."""
        return self._typed(name, dict)

    def names(self, name: str) -> list[str]:
        """A list of strings of the header."""
        value: list[Any] = self._typed(name, list)
        if not all(isinstance(item, str) for item in value):
            raise ProtocolError(Reason.MALFORMED, f"{self.kind}: '{name}' is no list of names")
        return value

    def _typed(self, name: str, kind: type) -> Any:
        value = self.fields.get(name)
        if not isinstance(value, kind):
            raise ProtocolError(Reason.MALFORMED, f"{self.kind}: '{name}' is missing or of another type")
        return value


def canonical(value: Any) -> bytes:
    """Canonical JSON."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False).encode()


def encode(
    kind: str, fields: Fields, sign: Callable[[bytes], bytes] | None = None, body: Buffer = b""
) -> npt.NDArray[np.uint8]:
    """Write one message; the answer is one 1-D uint8 array."""
    content = np.frombuffer(body, np.uint8)
    digest = hashlib.sha256(content.data).hexdigest() if sign else ""
    header = canonical({**fields, "kind": kind, "version": VERSION, "body": digest})
    start = _start(header, sign(_DOMAIN + header) if sign else b"")
    out = np.empty(len(start) + content.size, np.uint8)
    out[: len(start)] = np.frombuffer(start, np.uint8)
    out[len(start) :] = content
    return out


def decode(data: Buffer, kind: str) -> Message:
    """Read one message of the expected kind. Says nothing yet about who signed it.

    Raises
    ------
    ProtocolError
        ``truncated``, ``malformed`` or ``tampered``.
    """
    message = decode_header(data, kind)
    if not message.signature and message.fields.get("body") == "":
        return message
    if hashlib.sha256(np.ascontiguousarray(message.body).data).hexdigest() != message.fields.get("body"):
        raise ProtocolError(Reason.TAMPERED, f"'{kind}': the body is not the one that was signed (changed or cut)")
    return message


def encode_header(message: Message) -> bytes:
    """A message as it came, without its body: proof of what was sent, for third parties."""
    return _start(message.signed[len(_DOMAIN) :], message.signature)


def _start(header: bytes, signature: bytes) -> bytes:
    return _MAGIC + struct.pack("<I", len(header)) + header + struct.pack("<H", len(signature)) + signature


def decode_header(data: Buffer, kind: str) -> Message:
    """Like :func:`decode`, without a look at the body, which may be missing."""
    view = np.frombuffer(data, np.uint8)
    header, start = _slice(view, len(_MAGIC), "<I")
    if view[: len(_MAGIC)].tobytes() != _MAGIC:
        raise ProtocolError(Reason.MALFORMED, "not a message of this protocol")
    signature, start = _slice(view, start, "<H")
    try:
        fields = json.loads(header)
    except ValueError:
        raise ProtocolError(Reason.MALFORMED, "header is no JSON") from None
    if not isinstance(fields, dict) or canonical(fields) != header:
        raise ProtocolError(Reason.MALFORMED, "header is not in canonical form")
    if fields.get("kind") != kind or fields.get("version") != VERSION:
        raise ProtocolError(
            Reason.MALFORMED, f"expected '{kind}' of version {VERSION}, got {str(fields.get('kind'))[:32]!r}"
        )
    return Message(kind, fields, _DOMAIN + header, signature, view[start:])


def _slice(view: npt.NDArray[np.uint8], start: int, length: str) -> tuple[bytes, int]:
    size = struct.calcsize(length)
    if view.size < start + size:
        raise ProtocolError(Reason.TRUNCATED, "message ends within its header")
    (count,) = struct.unpack(length, view[start : start + size].tobytes())
    end = start + size + count
    if count > _MAX_HEADER or view.size < end:
        raise ProtocolError(Reason.TRUNCATED, "message ends within its header")
    return view[start + size : end].tobytes(), end


def kind_of(data: Buffer) -> str:
    """What a message says it is, or '' when it cannot be read."""
    try:
        header, _ = _slice(np.frombuffer(data, np.uint8), len(_MAGIC), "<I")
        return str(json.loads(header).get("kind", ""))
    except (ProtocolError, ValueError, AttributeError):
        return ""
