"""A session with one phone over ADB that survives lost connections: commands with exit codes.

adb-shell gives the protocol but no exit codes, merges stderr, and breaks with the connection. Every command
here may run twice, once before and once after a drop, so callers give only commands that do no harm then.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, TypeVar

from adb_shell.adb_device import AdbDevice

from devices.android.adb.errors import explain, is_lost, not_found
from devices.android.adb.keys import Signer
from devices.android.adb.transport import Address, open_transport
from devices.errors import AuthorizationError, ConnectionLostError, DeviceError, RuntimeUnavailableError
from devices.numbers import whole

T = TypeVar("T")
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.1, 5.0  # between attempts at a phone that is away
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


class _BrokenError(Exception):
    """The connection is gone, because of `error`."""

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error


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
        self._lost = ""  # why the phone was given up
        self._boot = ""

    # -- connection ----------------------------------------------------------------------------------------

    def connect(self) -> None:
        """Open the connection: the first one at once or not at all, a later one for as long as patience lasts.

        Raises `RuntimeUnavailableError` or `AuthorizationError` with what to do if the first cannot be had, and
        `ConnectionLostError` if a phone that was there does not come back.
        """
        first, again = not self.connections, False
        started, pause = self.clock(), _FIRST_PAUSE_S
        while True:
            try:
                with self._watched():
                    self._open()
                return
            except _BrokenError as broken:
                error = broken.error
            if first:
                if again or isinstance(error, ConnectionRefusedError) or self.address.host is None:
                    raise not_found(error, self.address) from error
                again = True
                continue
            if self.clock() - started >= self.patience.resume_s:
                self._lost = (
                    f"the phone at {self.address} went away and did not come back within "
                    f"{self.patience.resume_s:g} s ({error}); connect it and run the same command to go on"
                )
                raise ConnectionLostError(self._lost) from error
            self.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE_S)

    @contextmanager
    def _watched(self) -> Iterator[None]:
        """What breaks the connection drops it and becomes `_BrokenError`; other errors pass through."""
        try:
            yield
        except DeviceError:
            raise
        except Exception as error:
            self.drop()
            if not is_lost(error):
                raise
            raise _BrokenError(error) from error

    def _open(self) -> None:
        """One attempt at a connection, with the check whether the phone booted meanwhile."""
        self.drop()
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
                with suppress(Exception):  # closing what is broken already may raise anything
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
        """Tell a reboot from a broken cable, and let a phone that boots anew finish booting."""
        started = self.clock()
        while True:
            boot, _, ready = self.shell(_BOOT).output.rstrip("\n").rpartition("\n")
            same = not self._boot or boot.strip() == self._boot
            if same or ready.strip() == "1" or self.clock() - started > self.patience.resume_s:
                break
            self.sleep(1.0)
        self.boots += not same
        self._boot = boot.strip()

    def drop(self) -> None:
        """Close the connection as broken; the next command opens another."""
        if self._device is not None:
            with suppress(Exception):
                self._device.close()
            self._device = None

    @property
    def boot(self) -> str:
        """What the system calls its present boot, another string after each; empty before the first connection."""
        return self._boot

    @property
    def is_open(self) -> bool:
        """Whether there is a connection, as far as this side knows."""
        return self._device is not None

    def close(self) -> None:
        """Close the connection; closing twice is harmless."""
        self.drop()

    def resuming(self, action: Callable[[Any], T], attempts: int | None = None) -> T:
        """Do `action` on the open connection, again on a new one if it breaks meanwhile.

        Raises `ConnectionLostError` after so many `attempts` (patience's unless given), or if no new
        connection can be had; errors of `action` that are no broken connection pass through.
        """
        final = attempts is None
        attempts = attempts or self.patience.attempts
        if self._lost:  # what is tidied up afterwards must not wait all over again
            raise ConnectionLostError(self._lost)
        attempt = 0
        while True:
            attempt += 1
            if self._device is None:
                self.connect()
            try:
                with self._watched():
                    return action(self._device)
            except _BrokenError as broken:
                if attempt >= attempts:
                    why = (
                        f"the phone at {self.address} connects but does not answer ({broken.error}); "
                        "check the cable or network and run the same command to go on"
                    )
                    self._lost = why if final else ""
                    raise ConnectionLostError(why) from broken.error

    # -- commands ------------------------------------------------------------------------------------------

    def run(self, command: str) -> ShellResult:
        """Run a shell command that is harmless to repeat. Raises `ConnectionLostError` if the phone stays away."""
        return self.resuming(lambda _: self.shell(command))

    def check(self, command: str) -> str:
        """The output of a command that must succeed. Raises `RuntimeUnavailableError` with what it said."""
        result = self.run(command)
        if result.status != 0:
            said = result.output.strip().splitlines()[-1:] or ["nothing"]
            raise RuntimeUnavailableError(
                f"the phone at {self.address} refused '{command[:80]}' with status {result.status}: {said[0]}"
            )
        return result.output

    def shell(self, command: str) -> ShellResult:
        """One command on the connection as it is. The status comes from the last marker line."""
        marker = f"__rc_{secrets.token_hex(4)}:"
        text = self._device.shell(
            f"(\n{command}\n) 2>&1; r=$?; echo; echo {marker}$r",
            transport_timeout_s=self.patience.silence_s,
            read_timeout_s=self.patience.silence_s,
        )
        output, found, last = text.replace("\r", "").rpartition(f"\n{marker}")
        status = whole(last) if found else None
        if status is None:
            raise ConnectionResetError("the answer was cut off")
        return ShellResult(output, status)
