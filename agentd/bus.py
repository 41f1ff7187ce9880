"""One connection to D-Bus: dbus-next's, with a reader of our own that decodes what is wanted and no more.

Owns the connection and the matching of replies to calls; knows nothing of systemd. Only this module and
`agentd.systemd_connection` know dbus-next. Of that library it takes addresses, authentication, and the writing
of messages.

Anybody on the bus may send us anything: a match rule asks for more, and keeps nothing away. The sender that the bus
puts on a message is the one thing that cannot be forged. A reply counts from the connection that was asked, or from
the bus itself when that has none; dbus-daemon's policies keep other replies away as well, but not on every bus.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable

from dbus_next import Message, MessageType
from dbus_next.aio import MessageBus

from agentd.pure import wire

log = logging.getLogger("fleet.systemd")

READ_BYTES = 1 << 16
READS = 4  # in one turn of the loop: who floods us must not keep it from everything else
THE_BUS = "org.freedesktop.DBus"  # as a sender: the bus itself; nobody else can have this name


class Bus(MessageBus):  # type: ignore[misc]  # dbus-next has no types
    """A connection; make it inside a running loop. `on_signal` is given every signal that the bus sends us."""

    def __init__(self, address: str, on_signal: Callable[[wire.Message], None]) -> None:
        super().__init__(bus_address=address)
        self._writer.sock = _PatientSocket(self._sock)
        self._on_signal = on_signal
        self._incoming = wire.MessageStream()
        self._asked: dict[int, tuple[str, asyncio.Future[wire.Message]]] = {}

    def send(self, call: Message) -> asyncio.Future[wire.Message]:
        """Send a call; the future brings its reply, an error perhaps, or ConnectionError when the connection ends.

        The destination is a unique name, or the bus: a reply from anybody else is no reply. Who does not wait any
        more cancels the future.
        """
        call.serial = self.next_serial()
        future: asyncio.Future[wire.Message] = asyncio.get_running_loop().create_future()
        self._asked[call.serial] = (call.destination, future)
        future.add_done_callback(lambda _: self._asked.pop(call.serial, None))
        self._writer.schedule_write(call)
        return future

    def _message_reader(self) -> None:
        """Overrides dbus-next's: as much as there is at once, instead of a field at a time."""
        try:
            for _ in range(READS):
                data = self._sock.recv(READ_BYTES)
                if not data:
                    raise EOFError("the bus closed the connection")
                for message in self._incoming.feed(data):
                    self._take(message)
                if len(data) < READ_BYTES:
                    return
        except BlockingIOError:
            return
        except Exception as error:  # noqa: BLE001 - as there: the end of the connection, told by wait_for_disconnect
            self._finalize(error)

    def _take(self, message: wire.Message) -> None:
        if message.kind == wire.SIGNAL:
            try:
                self._on_signal(message)
            except Exception:  # one signal that is not as expected must not end the connection
                log.exception("cannot make anything of the signal %s", message.member)
        elif message.kind in (wire.RETURN, wire.ERROR):
            asked, future = self._asked.get(message.reply_serial, (THE_BUS, None))
            if message.sender not in (asked, THE_BUS):
                log.debug("passed over a reply from %s, who was not asked", message.sender)
            elif future is None:
                greeting = Message(
                    message_type=MessageType(message.kind),
                    reply_serial=message.reply_serial,
                    error_name=message.error_name or None,
                    sender=message.sender or None,
                    signature=message.signature,
                    body=message.arguments(),
                )
                self._on_message(greeting)
            elif not future.done():
                future.set_result(message)

    def close(self) -> None:
        """End the connection now; who waits for a reply gets a ConnectionError. One that has ended is fine."""
        if not self._disconnected:
            self.disconnect()
            self._finalize()

    def _finalize(self, err: Exception | None = None) -> None:
        super()._finalize(err)
        self._stream.close()
        self._sock.close()
        for _, future in [*self._asked.values()]:
            if not future.done():
                future.set_exception(ConnectionError("the connection ended"))


class _PatientSocket:
    """A socket whose full buffer means "nothing sent", which dbus-next's writer then tries again."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock

    def send(self, data: memoryview) -> int:
        try:
            return self._sock.send(data)
        except BlockingIOError:
            return 0
