"""pynetdicom's acceptor, made to receive large objects in bounded memory and without polling.

pynetdicom collects a whole message in memory before a handler sees it, reads the socket 4 KiB at a time and looks for
work once a millisecond in each of two threads. Four of its classes are extended here, through their methods, so that

- the fragments of a C-STORE data set go, as they arrive, into a `Sink` that the listener opened for this instance,
  from the buffer that the socket was read into: pynetdicom copies each of them four times;
- a PDU larger than what we announced is refused before it is read;
- a PDU or a message that trickles in is not waited for (`client_plugin.dicom.pace`);
- a C-STORE is answered by the thread that read it, without waiting for another one to be scheduled;
- both threads of an association sleep until there is something to do.

The state machine, negotiation and every other service stay pynetdicom's.
"""

from __future__ import annotations

import contextlib
import queue
import secrets
import select
import socket
import ssl
import struct
import sys
import time
from collections.abc import Iterator
from socketserver import BaseServer
from typing import Any, Protocol

from pynetdicom import evt
from pynetdicom._globals import MODE_ACCEPTOR
from pynetdicom.association import Association
from pynetdicom.dimse import DIMSEServiceProvider
from pynetdicom.dul import DULServiceProvider
from pynetdicom.pdu_primitives import P_DATA
from pynetdicom.transport import AssociationSocket, RequestHandler, ThreadedAssociationServer

from client_plugin.dicom.c_store import StoreRequest, store_request, store_response
from client_plugin.dicom.pace import Pace

MAX_PDU = 1 << 20
"""Bytes: the longest P-DATA-TF PDU we announce, and the longest PDU of any type that we read."""
MAX_COMMAND = 64 << 10
"""Bytes: the longest command set; a real one has a few hundred."""
MAX_IDENTIFIER = 16 << 20
"""Bytes: the longest data set of a message that is no C-STORE; it is collected in memory."""
_HEADER = 6  # bytes of a PDU before its variable part: type, reserved, length
_P_DATA_TF = 0x04
_DATA_TRANSFER = "Sta6"  # the state (PS3.8, 9.2.1) in which a P-DATA-TF is no error
_POLL = 0.05  # seconds; how late a timer or a request to stop may be noticed
_YIELD = 0.002  # seconds per association: processes that share a port let the least loaded one accept first


class Service(Protocol):
    """What the acceptor is for: it takes C-STORE data sets, answers them, and hears how connections end."""

    def open(self, assoc: ReceivingAssociation, request: StoreRequest, context_id: int) -> Sink:
        """A sink for the data set whose command has arrived; raising ends the association."""

    def answer(self, assoc: ReceivingAssociation, sink: Sink | None, context_id: int) -> int:
        """The status for a complete request; ``sink`` is None if it had no data set."""

    def ended(self, assoc: ReceivingAssociation) -> None:
        """The association is over, whether it was ever established or not."""

    def refused(self, error: BaseException) -> None:
        """A connection failed before it could become an association (TLS handshake, reset)."""


class Sink(Protocol):
    """Where the fragments of one data set go. `write` never raises: it remembers what went wrong."""

    def write(self, data: bytes | memoryview) -> None: ...

    def discard(self) -> None:
        """The message will not be completed: forget it. May be called more than once, and after it was taken."""


class ReceivingDimse(DIMSEServiceProvider):
    """Receives and answers C-STORE itself; leaves every other message to pynetdicom and the association's thread."""

    assoc: ReceivingAssociation

    def __init__(self, assoc: ReceivingAssociation) -> None:
        super().__init__(assoc)
        self._command = bytearray()
        self._store: StoreRequest | None = None
        self._sink: Sink | None = None
        self._identifier_size = 0
        self._pace = Pace(assoc.network_timeout)

    def receive_data(self, pdu: memoryview) -> None:
        """Take the variable part of a P-DATA-TF PDU; nothing of it is referred to after this returns."""
        try:
            for context_id, value in presentation_data_values(pdu):
                self._receive(context_id, value)
        except Exception:  # noqa: BLE001 - whatever a peer's bytes can raise ends this association, nothing else
            self.discard()
            self.dul.event_queue.put("Evt19")  # invalid PDU: A-ABORT

    def _receive(self, context_id: int, value: memoryview) -> None:
        """One presentation data value: a message control header (PS3.8, E.2) and a fragment."""
        is_command, is_last = value[0] & 0x01, value[0] & 0x02
        self._pace.received(len(value))
        if is_command:
            self._command += value[1:]
            if len(self._command) > MAX_COMMAND:
                raise ValueError(f"a command set of more than {MAX_COMMAND} bytes")
            if is_last:
                command, self._command = bytes(self._command), bytearray()
                self._begin(context_id, command)
        elif self._store is None:
            self._identifier_size += len(value)
            if self._identifier_size > MAX_IDENTIFIER:
                raise ValueError(f"a data set of more than {MAX_IDENTIFIER} bytes in a message that is no C-STORE")
            self._forward(context_id, value)
        elif self._sink is not None:
            self._sink.write(value[1:])
            if is_last:
                self._answer(context_id)
        if is_last and (self._store is None or not is_command):
            self._pace.ended()

    def _begin(self, context_id: int, command: bytes) -> None:
        if self._store is not None:
            raise ValueError("a command before the end of the data set of the one before it")
        self._identifier_size = 0
        self._store = store_request(command)
        if self._store is None:
            self._forward(context_id, memoryview(b"\x03" + command))
        elif self._store.has_data_set:
            self._sink = self.assoc.service.open(self.assoc, self._store, context_id)
        else:
            self._answer(context_id)

    def _answer(self, context_id: int) -> None:
        request, sink, self._store, self._sink = self._store, self._sink, None, None
        if request is not None:
            status = self.assoc.service.answer(self.assoc, sink, context_id)
            self.dul.socket.send(store_response(context_id, request, status))

    def _forward(self, context_id: int, value: memoryview) -> None:
        primitive = P_DATA()
        primitive.presentation_data_value_list = [[context_id, bytes(value)]]
        self.receive_primitive(primitive)

    def get_msg(self, block: bool = False) -> Any:
        if block:
            return super().get_msg(block=True)
        try:
            return self.msg_queue.get(timeout=_POLL)
        except queue.Empty:
            return None, None

    def discard(self) -> None:
        """Forget the data set of a C-STORE that is not complete."""
        if self._sink is not None:
            self._sink.discard()
            self._sink = None


def presentation_data_values(pdu: memoryview) -> Iterator[tuple[int, memoryview]]:
    """The presentation data value items of a P-DATA-TF PDU (PS3.8, 9.3.5.1): context ID, header and fragment.

    Parameters
    ----------
    pdu
        Without its first six bytes.

    Raises
    ------
    ValueError
        The items do not fill the PDU exactly, or one has no message control header.
    """
    position = 0
    while position < len(pdu):
        if len(pdu) - position < 5:
            raise ValueError("a PDU that ends within an item's header")
        length, context_id = struct.unpack_from(">IB", pdu, position)
        start, position = position + 5, position + 4 + length
        if length < 2 or position > len(pdu):
            raise ValueError("an item that does not fit into its PDU")
        yield context_id, pdu[start:position]


class _Indications(queue.Queue[Any]):
    """Primitives for the association's thread; one that arrives ends that thread's wait for a message."""

    def __init__(self, dimse: ReceivingDimse) -> None:
        super().__init__()
        self._dimse = dimse

    def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
        super().put(item, block, timeout)
        self._dimse.msg_queue.put((None, None))


class ReceivingDul(DULServiceProvider):
    """Sleeps in the socket's poll instead of a loop of short sleeps; another thread's request wakes it."""

    assoc: ReceivingAssociation
    socket: ReceivingSocket

    def __init__(self, assoc: ReceivingAssociation) -> None:
        super().__init__(assoc)
        self._run_loop_delay = 0

    def _read_pdu_data(self) -> None:
        """Read a PDU. The state machine has nothing to decide about data in the state of data transfer."""
        try:
            header = self.socket.recv(_HEADER)
            if len(header) < _HEADER or header[0] != _P_DATA_TF or self._state() != _DATA_TRANSFER:
                self.socket.unread(header)
                super()._read_pdu_data()
                return
            length = int.from_bytes(header[2:], "big")
            data = self.socket.recv_in_place(length)
        except OSError:
            self.event_queue.put("Evt17")  # transport connection closed
            return
        if len(data) < length:
            self.event_queue.put("Evt17")
        else:
            self.assoc.dimse.receive_data(data)

    def _state(self) -> str:
        return str(self.state_machine.current_state)

    def send_pdu(self, primitive: Any) -> None:
        super().send_pdu(primitive)
        self.socket.wake()

    def kill_dul(self) -> None:
        super().kill_dul()
        self.socket.wake()

    def stop_dul(self) -> bool:
        if self.state_machine.current_state != "Sta1":
            return False
        self.kill_dul()
        self.join()
        return True


class ReceivingSocket(AssociationSocket):
    """Reads in large pieces, waits without spinning, refuses a PDU that is longer than what we announced.

    A PDU that has begun has ``network_timeout`` to arrive: a peer that sends a byte now and then is not waited for.
    """

    def __init__(self, assoc: ReceivingAssociation, client_socket: socket.socket) -> None:
        super().__init__(assoc, client_socket=client_socket)
        self._wakeup, self._waker = socket.socketpair()
        self._wakeup.setblocking(False)
        self._waker.setblocking(False)
        self._poller, self._polled = self._new_poller(-1), -1
        self._buffer = bytearray()
        self._unread = b""

    def wake(self) -> None:
        """End the wait in `ready` of the thread that owns the connection."""
        with contextlib.suppress(OSError):  # full: it will wake anyhow; closed: nobody waits
            self._waker.send(b"\0")

    def close_wakeup(self) -> None:
        self._wakeup.close()
        self._waker.close()

    @property
    def ready(self) -> bool:
        """Whether there is something to read; waits for it, for a `wake`, or for a twentieth of a second."""
        connection = self.socket if self._is_connected else None
        if isinstance(connection, ssl.SSLSocket) and connection.pending():
            return True
        descriptor = connection.fileno() if connection is not None else -1
        if descriptor != self._polled:
            self._poller, self._polled = self._new_poller(descriptor), descriptor
        woken = {found for found, _ in self._poller.poll(_POLL * 1000)}
        if self._wakeup.fileno() in woken:
            with contextlib.suppress(BlockingIOError):
                self._wakeup.recv(4096)
        return descriptor in woken

    def _new_poller(self, descriptor: int) -> select.poll:
        poller = select.poll()
        poller.register(self._wakeup, select.POLLIN)
        if descriptor >= 0:
            poller.register(descriptor, select.POLLIN)
        return poller

    def recv(self, nr_bytes: int) -> bytes:
        """Up to ``nr_bytes``; fewer, if the connection ends."""
        if self._unread:
            data, self._unread = self._unread, b""
            return data
        return bytes(self.recv_in_place(nr_bytes))

    def unread(self, header: bytes) -> None:
        """Have the next `recv` return ``header`` again."""
        self._unread = header

    def recv_in_place(self, nr_bytes: int) -> memoryview:
        """The same without a copy; it is overwritten by the next read.

        Raises
        ------
        OSError
            The peer announced too much, or took too long.
        """
        if nr_bytes > MAX_PDU:
            self.event_queue.put("Evt19")  # invalid PDU: A-ABORT, then the error below closes the connection
            raise OSError(f"a PDU of {nr_bytes} bytes, more than the {MAX_PDU} we announced")
        if len(self._buffer) < nr_bytes:
            self._buffer = bytearray(nr_bytes)
        view = memoryview(self._buffer)
        timeout = self.assoc.network_timeout
        end = None if timeout is None else time.monotonic() + timeout
        have = 0
        while have < nr_bytes:
            received = self.socket.recv_into(view[have:nr_bytes]) if self.socket else 0
            if not received:
                break
            have += received
            if have < nr_bytes and end is not None and time.monotonic() > end:
                raise TimeoutError("a PDU that did not arrive within the network timeout")
        return view[:have]


class ReceivingAssociation(Association):
    """An acceptor whose C-STORE data sets are streamed to the sinks that its service opens."""

    dul: ReceivingDul
    dimse: ReceivingDimse

    def __init__(self, ae: Any, service: Service) -> None:
        super().__init__(ae, MODE_ACCEPTOR)
        self.service = service
        self.peer: str | None = None
        """AE title of the configured peer, once it was recognized."""
        self.number = secrets.token_hex(4)
        """Names this association in the logs."""
        self.dul = ReceivingDul(self)
        self.dimse = ReceivingDimse(self)
        self.dul.to_user_queue = _Indications(self.dimse)
        self.acse_timeout = ae.acse_timeout  # its setter also sets the ARTIM timer of the new provider
        self.network_timeout = ae.network_timeout

    def run_reactor(self) -> None:
        try:
            super().run_reactor()
        finally:
            self.dul.kill_dul()
            self.dul.join()
            self.dimse.discard()
            self.dul.socket.close_wakeup()
            self.service.ended(self)


class ReceivingHandler(RequestHandler):
    """Makes a `ReceivingAssociation` of a connection."""

    server: ReceivingServer

    def handle(self) -> None:
        if isinstance(self.request, ssl.SSLSocket):
            self.request.settimeout(self.ae.acse_timeout)
            self.request.do_handshake()  # in this connection's own thread: a peer that stalls here stalls nobody
        self.request.settimeout(self.ae.network_timeout)
        self.request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        super().handle()

    def _create_association(self) -> ReceivingAssociation:
        assoc = ReceivingAssociation(self.ae, self.server.service)
        assoc._server = self.server
        assoc.name = f"AcceptorThread-{id(assoc)}"  # pynetdicom counts associations by this name
        assoc.set_socket(ReceivingSocket(assoc, self.request))
        assoc.acceptor.maximum_length = self.ae.maximum_pdu_size
        assoc.acceptor.ae_title = self.server.ae_title
        assoc.acceptor.address_info = self.local
        assoc.acceptor.implementation_class_uid = self.ae.implementation_class_uid
        assoc.acceptor.implementation_version_name = self.ae.implementation_version_name
        assoc.requestor.address_info = self.remote
        for event, handlers in self.server._handlers.items():
            if event.is_intervention and handlers:
                assoc.bind(event, *handlers)
            elif isinstance(event, evt.NotificationEvent):
                for handler, args in handlers:
                    assoc.bind(event, handler, args)
        return assoc


class ReceivingServer(ThreadedAssociationServer):
    """A server on a listening socket that is given to it, so that several processes can share one."""

    request_queue_size = 128

    def __init__(
        self,
        ae: Any,
        listening: socket.socket,
        service: Service,
        tls: ssl.SSLContext | None,
        handlers: list[Any],
    ) -> None:
        self.service = service
        self._listening = listening
        super().__init__(
            ae, listening.getsockname(), ae.ae_title, [], tls, evt_handlers=handlers, request_handler=ReceivingHandler
        )

    def server_bind(self) -> None:
        made_by_base: socket.socket = vars(self)["socket"]
        made_by_base.close()
        self._listening.setblocking(False)  # another process may take the connection that woke this one
        self.socket = self._listening
        self.server_address = self._listening.getsockname()

    def get_request(self) -> tuple[socket.socket, Any]:
        time.sleep(min(len(self.active_associations), 10) * _YIELD)
        connection, address = self._listening.accept()
        if self.ssl_context:
            connection = self.ssl_context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        return connection, address

    def stop_listening(self) -> None:
        """Accept no more connections in this process; the associations go on, and so do other processes."""
        BaseServer.shutdown(self)
        self._listening.close()

    def verify_request(self, _request: Any, _client_address: Any) -> bool:
        """Whether to talk to a new connection at all: a flood of them must not exhaust threads.

        Some more are let in than there may be associations, so that a peer over the limit gets its rejection.
        """
        return len(self.active_associations) < 2 * self.ae.maximum_associations

    def handle_error(self, request: Any, client_address: Any) -> None:
        if (error := sys.exception()) is not None:
            self.service.refused(error)
