"""What a client may open: a shell (with and without the second protocol's exit codes) and file transfer."""

import os
import signal
import stat
import struct
import subprocess
from collections.abc import Callable
from typing import IO, TYPE_CHECKING

from tests.phone.adbd import Stream
from tests.phone.threads import Untraced

if TYPE_CHECKING:
    from tests.phone.phone import FakePhone

_STDOUT, _STDERR, _EXIT, _CLOSE_STDIN = 1, 2, 3, 3


class Services:
    def __init__(self, phone: "FakePhone") -> None:
        self._phone = phone

    def find(self, service: str) -> Callable[[Stream], None] | None:
        head, _, rest = service.partition(":")
        kind, *options = head.split(",")
        if kind in ("shell", "exec"):
            return lambda stream: self._shell(stream, rest, "v2" in options)
        if kind == "sync":
            return self._sync
        return None

    # -- shell ---------------------------------------------------------------------------------------------

    def _shell(self, stream: Stream, command: str, second: bool) -> None:
        """Without the second protocol stderr is merged and there is no exit code, as on a real phone."""
        files = self._phone.files
        self._phone.note_command(command)
        with subprocess.Popen(
            [files.shell, "-c", files.to_host(command)] if command else [files.shell],
            cwd=files.root,
            env=files.environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE if second else subprocess.STDOUT,
            start_new_session=True,
        ) as process:
            Untraced(self._feed, stream, process, second).start()
            pumps = [Untraced(self._pump, stream, process.stdout, _STDOUT, second)]
            if second:
                pumps.append(Untraced(self._pump, stream, process.stderr, _STDERR, second))
            for pump in pumps:
                pump.start()
            for pump in pumps:
                pump.join()
            status = process.wait()
        if second:
            stream.write(struct.pack("<BIB", _EXIT, 1, status & 0xFF if status >= 0 else 128 - status))

    def _pump(self, stream: Stream, source: IO[bytes], ident: int, second: bool) -> None:
        while data := os.read(source.fileno(), 4096):
            data = self._phone.files.to_device(data)
            if self._phone.faults.crlf:
                data = data.replace(b"\n", b"\r\n")  # what a terminal in between makes of it
            stream.write(struct.pack("<BI", ident, len(data)) + data if second else data)

    def _feed(self, stream: Stream, process: "subprocess.Popen[bytes]", second: bool) -> None:
        """Standard input; when the client goes, the process group is hung up, as a terminal does."""
        assert process.stdin is not None
        try:
            while True:
                if second:
                    ident, length = struct.unpack("<BI", stream.read(5))
                    body = stream.read(length)
                    if ident == _CLOSE_STDIN:
                        process.stdin.close()
                        continue
                else:
                    body = stream.read(1)
                process.stdin.write(body)
                process.stdin.flush()
        except (EOFError, OSError, ValueError):
            if process.poll() is None and stream.closed:
                os.killpg(process.pid, signal.SIGHUP)

    # -- files ---------------------------------------------------------------------------------------------

    def _sync(self, stream: Stream) -> None:
        while True:
            ident, length = struct.unpack("<4sI", stream.read(8))
            if ident == b"QUIT":
                return
            name = stream.read(length).decode()
            handlers = {b"STAT": self._stat, b"LIST": self._list, b"RECV": self._send_file, b"SEND": self._receive_file}
            if ident not in handlers:
                _fail(stream, f"unknown command {ident!r}")
                return
            handlers[ident](stream, name)

    def _stat(self, stream: Stream, name: str) -> None:
        try:
            found = os.lstat(self._phone.files.to_host(name))
        except OSError:
            stream.write(b"STAT" + bytes(12))  # absent: zeros, never a failure
        else:
            stream.write(b"STAT" + struct.pack("<3I", found.st_mode, found.st_size & 0xFFFFFFFF, int(found.st_mtime)))

    def _list(self, stream: Stream, name: str) -> None:
        folder = self._phone.files.to_host(name)
        for entry in sorted(os.listdir(folder)) if os.path.isdir(folder) else ():
            found, text = os.lstat(os.path.join(folder, entry)), entry.encode()
            stream.write(
                b"DENT" + struct.pack("<4I", found.st_mode, found.st_size, int(found.st_mtime), len(text)) + text
            )
        stream.write(b"DONE" + bytes(16))

    def _send_file(self, stream: Stream, name: str) -> None:
        try:
            with open(self._phone.files.to_host(name), "rb") as file:
                while data := file.read(65536):
                    stream.write(b"DATA" + struct.pack("<I", len(data)) + data)
        except OSError as error:
            _fail(stream, str(error.strerror))
        else:
            stream.write(b"DONE" + bytes(4))

    def _receive_file(self, stream: Stream, spec: str) -> None:
        """A failure is told after all data has been taken, which is what the daemon does too."""
        name, _, mode = spec.rpartition(",")
        path, failure, pushed = self._phone.files.to_host(name), "", 0
        try:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            file = open(path, "wb")
        except OSError as error:
            failure, file = str(error.strerror), open(os.devnull, "wb")
        with file:
            while True:
                ident, length = struct.unpack("<4sI", stream.read(8))
                if ident == b"DONE":
                    break
                data = stream.read(length)
                pushed += len(data)
                self._phone.strike(self._phone.faults.due(pushed_bytes=pushed), stream.connection)
                if not failure and self._phone.files.free_bytes() < len(data):
                    failure = "couldn't write file: No space left on device"
                if not failure:
                    file.write(data)
                    file.flush()
        if failure:
            _fail(stream, failure)
            return
        os.chmod(path, stat.S_IMODE(int(mode)))
        os.utime(path, (length, length))  # DONE carries the time of the file
        stream.write(b"OKAY" + bytes(4))


def _fail(stream: Stream, message: str) -> None:
    stream.write(b"FAIL" + struct.pack("<I", len(message.encode())) + message.encode())
