"""The daemon: connections, the key dialog, streams with flow control. Services are in `services.py`."""

import contextlib
import os
import queue
import socket
import threading
from typing import TYPE_CHECKING

from tests.phone import wire
from tests.phone.faults import Fault
from tests.phone.threads import Untraced

if TYPE_CHECKING:
    from tests.phone.phone import FakePhone


class Stream:
    """One opened service. Each side may have one unacknowledged WRTE in flight."""

    def __init__(self, connection: "Connection", local: int, remote: int) -> None:
        self.connection, self.local, self.remote = connection, local, remote
        self.closed = False
        self._incoming: queue.Queue[bytes | None] = queue.Queue()
        self._acknowledged = threading.Semaphore(0)
        self._buffer = b""

    def write(self, data: bytes) -> None:
        while data and not self.closed:
            part, data = data[: self.connection.max_data], data[self.connection.max_data :]
            self.connection.send(wire.Message("WRTE", self.local, self.remote, part))
            self._acknowledged.acquire()

    def read(self, size: int) -> bytes:
        while len(self._buffer) < size:
            item = self._incoming.get()
            if item is None:
                raise EOFError
            self._buffer += item
        result, self._buffer = self._buffer[:size], self._buffer[size:]
        return result

    def receive(self, data: bytes) -> None:
        self._incoming.put(data)

    def acknowledge(self) -> None:
        self._acknowledged.release()

    def hang_up(self) -> None:
        """The other side closed, or the connection is gone."""
        self.closed = True
        self._incoming.put(None)
        self._acknowledged.release()

    def close(self) -> None:
        """Exactly one CLSE from us per stream."""
        if self.connection.streams.pop(self.local, None) is not None:
            self.closed = True
            with contextlib.suppress(OSError):
                self.connection.send(wire.Message("CLSE", self.local, self.remote))


class Connection:
    """One client. Everything that arrives may be the moment of a fault."""

    def __init__(self, phone: "FakePhone", connection: socket.socket) -> None:
        self.phone, self.socket = phone, connection
        self.streams: dict[int, Stream] = {}
        self.silent = False
        self.max_data = 4096
        self._version = wire.VERSION
        self._next_id = 1
        self._trusted = False
        self._token = b""
        self._lock = threading.Lock()

    def send(self, message: wire.Message) -> None:
        if self.silent:
            return
        with self._lock:
            self.socket.sendall(message.pack())

    def serve(self) -> None:
        try:
            while True:
                name, arg0, arg1, length = wire.unpack_header(self._receive(wire.HEADER.size))
                data = self._receive(length)
                self.phone.strike(self.phone.faults.due(message=True), self)
                if not self.silent:
                    getattr(self, f"_on_{name.lower()}")(arg0, arg1, data)
        except (EOFError, OSError, ValueError):
            pass
        finally:
            self.cut()
            self.phone.forget(self)

    def cut(self) -> None:
        """Close without a word, as a pulled cable does."""
        for stream in list(self.streams.values()):
            stream.hang_up()
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()

    def _receive(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            part = self.socket.recv(min(size - len(data), 1 << 20))
            if not part:
                raise EOFError
            data += part
        return data

    # -- the dialog ----------------------------------------------------------------------------------------

    def _on_cnxn(self, version: int, max_data: int, _: bytes) -> None:
        if self.phone.faults.tls:
            with self._lock:
                self.socket.sendall(wire.pack(wire.STLS, wire.VERSION, 0, b""))
            return
        self._version, self.max_data = min(wire.VERSION, version), min(wire.MAX_DATA, max_data)
        if self.phone.faults.trust == "all":
            self._welcome()
        else:
            self._challenge()

    def _challenge(self) -> None:
        self._token = os.urandom(20)
        self.send(wire.Message("AUTH", wire.TOKEN, 0, self._token))

    def _welcome(self) -> None:
        self._trusted = True
        model = self.phone.properties["ro.product.model"].replace(" ", "_")
        banner = f"device::ro.product.name=fake;ro.product.model={model};ro.product.device=fake;features=shell_v2,cmd"
        self.send(wire.Message("CNXN", self._version, wire.MAX_DATA, banner.encode()))

    def _on_auth(self, kind: int, _: int, data: bytes) -> None:
        if kind == wire.SIGNATURE:
            known = any(wire.verify(data, self._token, key) for key in self.phone.trusted_keys)
            self._welcome() if known else self._challenge()
        elif kind == wire.PUBLIC_KEY:
            self.phone.offered_keys.append(data.rstrip(b"\0"))
            Untraced(self._person, data).start()

    def _person(self, key: bytes) -> None:
        """The dialog is on the screen; the person may take their time."""
        faults = self.phone.faults
        if faults.tap_gate is not None:
            faults.tap_gate.wait(30)
        if faults.tap == "allow":
            self.phone.trusted_keys.append(wire.parse_public_key(key))
            with contextlib.suppress(OSError):
                self._welcome()
        elif faults.tap == "refuse":
            self.cut()

    # -- streams -------------------------------------------------------------------------------------------

    def _on_open(self, remote: int, _: int, data: bytes) -> None:
        service = data.rstrip(b"\0").decode()
        if not self._trusted:
            return
        self.phone.strike(self.phone.faults.due(service=service), self)
        if self.silent:
            return
        stream = Stream(self, self._next_id, remote)
        self._next_id += 1
        handler = self.phone.services.find(service)
        if handler is None:
            self.send(wire.Message("CLSE", 0, remote))
            return
        self.streams[stream.local] = stream
        self.send(wire.Message("OKAY", stream.local, remote))
        Untraced(self._serve_stream, stream, handler).start()

    def _serve_stream(self, stream: Stream, handler: object) -> None:
        try:
            handler(stream)  # type: ignore[operator]
        except (EOFError, OSError):
            pass
        finally:
            stream.close()

    def _on_okay(self, _: int, local: int, __: bytes) -> None:
        if local in self.streams:
            self.streams[local].acknowledge()

    def _on_wrte(self, remote: int, local: int, data: bytes) -> None:
        stream = self.streams.get(local)
        if stream is None:
            self.send(wire.Message("CLSE", 0, remote))
            return
        stream.receive(data)
        self.send(wire.Message("OKAY", stream.local, stream.remote))

    def _on_clse(self, _: int, local: int, __: bytes) -> None:
        stream = self.streams.get(local)
        if stream is not None:  # answered by a CLSE: adb-shell's push, pull and stat wait for it
            stream.close()
            stream.hang_up()


class Listener:
    """Accepts clients on a loopback port, or turns them away while the phone is gone."""

    def __init__(self, phone: "FakePhone") -> None:
        self._phone = phone
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        Untraced(self._accept).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._phone.turns_away():
                connection.close()
                continue
            client = Connection(self._phone, connection)
            self._phone.connections.append(client)
            Untraced(client.serve).start()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()


__all__ = ["Connection", "Fault", "Listener", "Stream"]
