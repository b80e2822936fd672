"""Files on a phone: pushed, verified by size and hash, skipped when they are there already."""

from __future__ import annotations

import hashlib
import io
import shlex
from pathlib import Path, PurePosixPath
from typing import Any

from adb_shell.exceptions import AdbCommandFailureException, PushFailedError

from devices.android.adb.session import AdbSession
from devices.errors import ConnectionLostError, RuntimeUnavailableError, StorageFullError
from devices.numbers import whole

_HASHES = {"sha256sum": "sha256", "sha1sum": "sha1", "md5sum": "md5"}  # the phone's tool -> hashlib's name
_PUSH_ATTEMPTS = 4


class PhoneFiles:
    """The files of one phone, over its session."""

    def __init__(self, session: AdbSession) -> None:
        self._session = session
        self._hash_tool: str | None = None

    def push(self, local: Path, remote: str, *, executable: bool = False) -> bool:
        """Make `remote` a copy of `local`, verified by size and hash; False if it was one already.

        The copy appears whole or not at all. Raises `StorageFullError`, `ConnectionLostError`, or
        `RuntimeUnavailableError` if the phone refuses the file.
        """
        data = local.read_bytes()
        if self.holds(remote, data):
            return False
        part, mode = f"{remote}.part", 0o755 if executable else 0o644
        quoted, target = shlex.quote(part), shlex.quote(remote)
        for attempt in range(1, _PUSH_ATTEMPTS + 1):
            self._make_room(str(PurePosixPath(remote).parent), len(data))
            try:
                self._send(data, part, mode)
            except ConnectionLostError:  # it may have been full, which the next attempt sees
                if attempt == _PUSH_ATTEMPTS:
                    raise
                continue
            if self.holds(part, data):
                # May run twice: the second time the move has been made.
                move = f"chmod {mode:o} {quoted} && mv -f {quoted} {target}"
                self._session.check(f"if [ -e {quoted} ]; then {move}; else [ -f {target} ]; fi")
                return True
        raise ConnectionLostError(
            f"{local.name} arrived damaged on the phone {_PUSH_ATTEMPTS} times; try another cable or port"
        )

    def _make_room(self, folder: str, needed_bytes: int) -> None:
        """Make the folder; raise `StorageFullError` if the file cannot fit into it."""
        path = shlex.quote(folder)
        free = free_bytes(self._session.check(f"mkdir -p {path} && df -k {path}"))
        if free is not None and free < needed_bytes:
            raise self._full(folder, needed_bytes, f"{_size(free)} of")

    def _full(self, folder: str, needed_bytes: int, left: str) -> StorageFullError:
        return StorageFullError(
            f"the phone at {self._session.address} has {left} room left in {folder}, and {_size(needed_bytes)} "
            "are needed; free some storage and run the same command to go on"
        )

    def _send(self, data: bytes, remote: str, mode: int) -> None:
        """One attempt at a transfer."""

        def send(device: Any) -> None:
            device.push(
                io.BytesIO(data),
                remote,
                st_mode=0o100000 | mode,
                mtime=1,
                transport_timeout_s=self._session.patience.silence_s,
                read_timeout_s=self._session.patience.silence_s,
            )

        try:
            self._session.resuming(send, attempts=1)
        except (PushFailedError, AdbCommandFailureException) as error:
            said = _words(error)
            if "No space left" in said:
                raise self._full(str(PurePosixPath(remote).parent), len(data), "no") from error
            raise RuntimeUnavailableError(
                f"the phone at {self._session.address} refused the file {remote}: {said}"
            ) from error

    def holds(self, remote: str, data: bytes) -> bool:
        """Whether the file `remote` exists on the phone with exactly this content."""
        tool, path = self._hasher(), shlex.quote(remote)
        if not tool:
            return self._pull(remote) == data
        lines = self._session.run(f"[ -f {path} ] && wc -c <{path} && {tool} <{path}").output.split()
        digest = hashlib.new(_HASHES[tool], data, usedforsecurity=False).hexdigest()
        return len(lines) >= 2 and lines[0] == str(len(data)) and lines[1].lstrip("\\") == digest

    def _hasher(self) -> str:
        """The best hash tool the phone has (Android 7 has no sha256sum), or an empty string."""
        if self._hash_tool is None:
            names = " ".join(_HASHES)
            found = self._session.run(
                f"for t in {names}; do $t </dev/null >/dev/null 2>&1 && echo $t && break; done"
            ).output
            self._hash_tool = found.strip() if found.strip() in _HASHES else ""
        return self._hash_tool

    def _pull(self, remote: str) -> bytes | None:
        def pull(device: Any) -> bytes | None:
            stream = io.BytesIO()
            try:
                device.pull(remote, stream, read_timeout_s=self._session.patience.silence_s)
            except AdbCommandFailureException:
                return None
            return stream.getvalue()

        return self._session.resuming(pull)


def free_bytes(df: str) -> int | None:
    """Free space from `df -k`, or None if it cannot be read (the oldest versions print '1.2G')."""
    for line in reversed(df.strip().splitlines()):
        words = line.split()
        if len(words) >= 4 and words[-1].startswith("/") and (free_kib := whole(words[-3], 15)) is not None:
            return free_kib * 1024
    return None


def _size(count: int) -> str:
    return f"{count / 1e6:.1f} MB" if count >= 1_000_000 else f"{count / 1e3:.0f} kB"


def _words(error: Exception) -> str:
    return " ".join(
        part.decode("utf-8", "replace") if isinstance(part, bytes | bytearray) else str(part) for part in error.args
    )
