"""A session with one phone over ADB that survives lost connections: commands with exit codes, verified pushes.

adb-shell gives the protocol but no exit codes, merges stderr, and breaks with the connection. Every command
here may run twice, once before and once after a drop, so callers give only commands that do no harm then.
"""

from __future__ import annotations

import hashlib
import io
import secrets
import shlex
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

from adb_shell.adb_device import AdbDevice
from adb_shell.exceptions import AdbCommandFailureException, PushFailedError

from devices.adb_errors import explain, is_lost, not_found
from devices.adb_keys import Signer
from devices.adb_transport import Address, open_transport
from devices.errors import (
    AuthorizationError,
    ConnectionLostError,
    DeviceError,
    RuntimeUnavailableError,
    StorageFullError,
)

T = TypeVar("T")
_HASHES = {"sha256sum": "sha256", "sha1sum": "sha1", "md5sum": "md5"}  # the phone's tool -> hashlib's name
_PUSH_ATTEMPTS = 4
_BOOT = "cat /proc/sys/kernel/random/boot_id 2>/dev/null; echo; getprop ro.boottime.init; getprop sys.boot_completed"


@dataclass(frozen=True)
class Patience:
    """How long to wait for what, in seconds.

    `allow_s`: for a person to tap Allow. `silence_s`: for any answer. `resume_s`: for a lost phone to come
    back. `attempts`: how often one command may lose its connection before that counts as lost for good.
    """

    allow_s: float = 60.0
    silence_s: float = 20.0
    resume_s: float = 120.0
    attempts: int = 6


@dataclass(frozen=True)
class ShellResult:
    """Output (stdout and stderr as they came, without carriage returns) and exit status of a command."""

    output: str
    status: int


class AdbSession:
    """One phone. Opens on first use, opens again whenever the connection was lost."""

    def __init__(
        self,
        address: Address,
        signer: Signer,
        *,
        announce: Callable[[str], None],
        patience: Patience | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        transport: Callable[[Address], Any] = open_transport,
    ) -> None:
        self.address = address
        self.patience = patience or Patience()
        self.clock, self.sleep = clock, sleep
        self.connections = 0  # how often a connection was opened
        self.boots = 0  # how often the phone was found to have booted anew
        self._signer, self._announce, self._transport = signer, announce, transport
        self._device: Any = None
        self._asked = False
        self._boot = ""
        self._hash_tool: str | None = None

    # -- connection ----------------------------------------------------------------------------------------

    def connect(self) -> None:
        """Open the first connection. Raises `RuntimeUnavailableError` or `AuthorizationError` with what to do."""
        for again in (True, False):
            try:
                self._open()
                return
            except DeviceError:
                raise
            except Exception as error:
                self._drop()
                if not is_lost(error):
                    raise
                if not again or isinstance(error, ConnectionRefusedError) or self.address.host is None:
                    raise not_found(error, self.address) from error

    def _open(self) -> None:
        """One attempt at a connection, with the check whether the phone booted meanwhile."""
        self._drop()
        self._asked = False
        device: Any = None
        try:
            device = AdbDevice(self._transport(self.address), banner=b"pnag")
            device.connect(
                rsa_keys=[self._signer],
                transport_timeout_s=self.patience.silence_s,
                read_timeout_s=max(self.patience.silence_s, self.patience.allow_s),
                auth_timeout_s=self.patience.allow_s,
                auth_callback=self._ask,
            )
        except Exception as error:
            if device is not None:
                with suppress(*_QUIET):
                    device.close()
            if (reason := explain(error, self.address)) is not None:
                raise reason from error
            if self._asked:
                closed = isinstance(error, ConnectionError)
                why = "was refused or broke off" if closed else f"was not given within {self.patience.allow_s:g} s"
                raise AuthorizationError(
                    f"permission to debug the phone at {self.address} {why}; "
                    "unlock the phone, run the command again and tap Allow"
                ) from error
            raise
        self._device = device
        self.connections += 1
        self._note_boot()

    def _ask(self, _: Any) -> None:
        self._asked = True
        self._announce(
            f"the phone at {self.address} asks whether this computer may debug it: "
            f"unlock it and tap Allow (waiting {self.patience.allow_s:g} s)"
        )

    def _note_boot(self) -> None:
        """Tell a reboot from a broken cable, and let a booting phone finish."""
        started = self.clock()
        while True:
            boot, _, ready = self._shell(_BOOT).output.rstrip("\n").rpartition("\n")
            if ready.strip() == "1" or self.clock() - started > self.patience.resume_s:
                break
            self.sleep(1.0)
        if self._boot and boot.strip() != self._boot:
            self.boots += 1
        self._boot = boot.strip()

    def _resume(self) -> None:
        """Open again, for as long as patience lasts; then `ConnectionLostError`."""
        started, pause = self.clock(), 0.1
        while True:
            try:
                self._open()
                return
            except DeviceError:
                raise
            except Exception as error:
                self._drop()
                if not is_lost(error):
                    raise
                if self.clock() - started >= self.patience.resume_s:
                    raise ConnectionLostError(
                        f"the phone at {self.address} went away and did not come back within "
                        f"{self.patience.resume_s:g} s ({error}); connect it and run the same command to go on"
                    ) from error
            self.sleep(pause)
            pause = min(2 * pause, 5.0)

    def _drop(self) -> None:
        if self._device is not None:
            with suppress(*_QUIET):
                self._device.close()
            self._device = None

    @property
    def is_open(self) -> bool:
        """Whether there is a connection, as far as this side knows."""
        return self._device is not None

    def close(self) -> None:
        """Close the connection; closing twice is harmless."""
        self._drop()

    def _resuming(self, action: Callable[[Any], T]) -> T:
        """Do `action` on the open connection, again on a new one if it breaks meanwhile."""
        for attempt in range(self.patience.attempts):
            if self._device is None:
                self.connect() if self.connections == 0 else self._resume()
            try:
                return action(self._device)
            except DeviceError:
                raise
            except Exception as error:
                self._drop()
                if not is_lost(error):
                    raise
                if attempt + 1 == self.patience.attempts:
                    raise ConnectionLostError(
                        f"the phone at {self.address} connects but does not answer ({error}); "
                        "check the cable or network and run the same command to go on"
                    ) from error
        raise AssertionError("unreachable")

    # -- commands ------------------------------------------------------------------------------------------

    def run(self, command: str) -> ShellResult:
        """Run a shell command that is harmless to repeat. Raises `ConnectionLostError` if the phone stays away."""
        return self._resuming(lambda _: self._shell(command))

    def check(self, command: str) -> str:
        """The output of a command that must succeed. Raises `RuntimeUnavailableError` with what it said."""
        result = self.run(command)
        if result.status != 0:
            said = result.output.strip().splitlines()[-1:] or ["nothing"]
            raise RuntimeUnavailableError(
                f"the phone at {self.address} refused '{command[:80]}' with status {result.status}: {said[0]}"
            )
        return result.output

    def _shell(self, command: str) -> ShellResult:
        """One command on the connection as it is. The status comes from the last marker line."""
        marker = f"__rc_{secrets.token_hex(4)}:"
        text = self._device.shell(
            f"(\n{command}\n) 2>&1; r=$?; echo; echo {marker}$r",
            transport_timeout_s=self.patience.silence_s,
            read_timeout_s=self.patience.silence_s,
        )
        output, found, status = text.replace("\r", "").rpartition(f"\n{marker}")
        if not found or not status.strip().isdecimal():
            raise ConnectionResetError("the answer was cut off")
        return ShellResult(output, int(status))

    # -- files ---------------------------------------------------------------------------------------------

    def push(self, local: Path, remote: str, *, executable: bool = False) -> bool:
        """Make `remote` a copy of `local`, verified by size and hash; False if it was one already.

        The copy appears whole or not at all. Raises `StorageFullError`, `ConnectionLostError`, or
        `RuntimeUnavailableError` if the phone refuses the file.
        """
        data = local.read_bytes()
        if self.holds(remote, data):
            return False
        part, folder = f"{remote}.part", str(PurePosixPath(remote).parent)
        self.check(f"mkdir -p {shlex.quote(folder)}")
        mode = 0o755 if executable else 0o644
        for _ in range(_PUSH_ATTEMPTS):
            self._send(data, part, mode)
            if self.holds(part, data):
                self.check(f"chmod {mode:o} {shlex.quote(part)} && mv -f {shlex.quote(part)} {shlex.quote(remote)}")
                return True
            self._raise_if_full(folder, len(data))
        raise ConnectionLostError(
            f"{local.name} arrived damaged on the phone {_PUSH_ATTEMPTS} times; try another cable or port"
        )

    def _send(self, data: bytes, remote: str, mode: int) -> None:
        def send(device: Any) -> None:
            try:
                device.push(
                    io.BytesIO(data),
                    remote,
                    st_mode=0o100000 | mode,
                    mtime=1,
                    transport_timeout_s=self.patience.silence_s,
                    read_timeout_s=self.patience.silence_s,
                )
            except (PushFailedError, AdbCommandFailureException) as error:
                self._drop()
                self._raise_if_full(str(PurePosixPath(remote).parent), len(data), str(error))
                raise RuntimeUnavailableError(
                    f"the phone at {self.address} refused the file {remote}: {_words(error)}"
                ) from error

        tries = 0

        def send_or_tell(device: Any) -> None:
            nonlocal tries
            tries += 1
            if tries > 1:  # a phone that is full may just close the stream
                self._raise_if_full(str(PurePosixPath(remote).parent), len(data))
                device = self._device
            send(device)

        self._resuming(send_or_tell)

    def _raise_if_full(self, folder: str, needed_bytes: int, said: str = "") -> None:
        if self._device is None:
            self._resume()
        free = free_bytes(self._shell(f"df -k {shlex.quote(folder)}").output)
        if "No space left" in said or (free is not None and free < needed_bytes):
            left = "no" if free is None else f"{free / 1e6:.1f} MB of"
            raise StorageFullError(
                f"the phone at {self.address} has {left} room left in {folder} and {needed_bytes / 1e6:.1f} MB are "
                "needed; free some storage and run the same command to go on"
            )

    def holds(self, remote: str, data: bytes) -> bool:
        """Whether the file `remote` exists on the phone with exactly this content."""
        tool, path = self._hasher(), shlex.quote(remote)
        if not tool:
            return self._pull(remote) == data
        lines = self.run(f"[ -f {path} ] && wc -c <{path} && {tool} <{path}").output.split()
        digest = hashlib.new(_HASHES[tool], data, usedforsecurity=False).hexdigest()
        return len(lines) >= 2 and lines[0] == str(len(data)) and lines[1].lstrip("\\") == digest

    def _hasher(self) -> str:
        """The best hash tool the phone has (Android 7 has no sha256sum), or an empty string."""
        if self._hash_tool is None:
            names = " ".join(_HASHES)
            found = self.run(f"for t in {names}; do $t </dev/null >/dev/null 2>&1 && echo $t && break; done").output
            self._hash_tool = found.strip() if found.strip() in _HASHES else ""
        return self._hash_tool

    def _pull(self, remote: str) -> bytes | None:
        def pull(device: Any) -> bytes | None:
            stream = io.BytesIO()
            try:
                device.pull(remote, stream, read_timeout_s=self.patience.silence_s)
            except AdbCommandFailureException:
                return None
            return stream.getvalue()

        return self._resuming(pull)


_QUIET = (Exception,)  # closing what is broken already may raise anything


def free_bytes(df: str) -> int | None:
    """Free space from `df -k`, or None if it cannot be read (the oldest versions print '1.2G')."""
    for line in reversed(df.strip().splitlines()):
        words = line.split()
        if len(words) >= 4 and words[-1].startswith("/") and words[-3].isdecimal():
            return int(words[-3]) * 1024
    return None


def _words(error: Exception) -> str:
    return " ".join(
        part.decode("utf-8", "replace") if isinstance(part, bytes | bytearray) else str(part) for part in error.args
    )
