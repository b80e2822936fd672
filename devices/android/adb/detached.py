"""Commands on a phone that outlive the connection: started once, polled over reconnects, killed when left over.

Each run has a folder of its own with `pid`, `out` and, at the end, `rc`. Folders are named by a random token,
so that starting twice (an answer lost on its way) starts once.
"""

from __future__ import annotations

import re
import secrets
import shlex
from dataclasses import dataclass

from devices.android.adb.session import AdbSession
from devices.errors import DeviceError
from devices.numbers import digits

_TAIL_BYTES = 200_000  # more output than any version of a tool prints
_FIRST_POLL_S, _LONGEST_POLL_S = 0.02, 0.5
_KILL_ROUNDS = 20
_START_LIMIT_S = 30.0  # the shell that starts a run may outlive its connection: its work is still to come


class RunVanishedError(DeviceError):
    """A detached run ended without leaving a status: it was killed, or the phone booted anew."""


class RunTimeoutError(DeviceError):
    """A detached run did not end in time and was killed."""


@dataclass(frozen=True)
class Finished:
    """What a detached run left: its output and exit status, and a note taken right after its end."""

    output: str
    status: int
    note: str = ""


class DetachedRunner:
    """Runs one command at a time below `root`, a folder on the phone that is ours alone."""

    def __init__(self, session: AdbSession, root: str) -> None:
        self._session = session
        self.root = root.rstrip("/")

    def run(self, command: str, *, expected_s: float, limit_s: float, note: str = "true") -> Finished:
        """Start `command`, wait until it ends, return its output.

        `note` is a command whose output is kept beside: it runs the moment `command` ends, for instance to
        read a clock before the governor lowers it. Polling begins after `expected_s`, to leave the phone
        alone while it measures. Raises `RunVanishedError`, `RunTimeoutError` or `ConnectionLostError`.
        """
        session, boots = self._session, self._session.boots
        folder = f"{self.root}/runs/{secrets.token_hex(6)}"
        session.check(_start_script(self.root, folder, command, note))
        started, pause = session.clock(), _FIRST_POLL_S
        session.sleep(expected_s)
        while True:
            head, _, rest = session.run(_poll_script(folder)).output.partition("\n")
            if ended := re.fullmatch(rf"done ({digits()})\s*", head):
                output, _, noted = rest.rpartition("\n__note:")
                return Finished(output, int(ended[1]), noted.strip())
            starting = head == "starting" and session.clock() - started < _START_LIMIT_S
            ending = head.startswith("done")  # the status is about to be written
            if not (head == "running" or ending or starting) or session.boots != boots:
                raise RunVanishedError(
                    f"a measurement on the phone at {session.address} ended without a result"
                    + (" because the phone booted anew" if session.boots != boots else "")
                    + "; if this repeats, close other apps and keep the phone on its charger"
                )
            if session.clock() - started > limit_s:
                self.kill_leftovers()
                raise RunTimeoutError(
                    f"a measurement on the phone at {session.address} took longer than {limit_s:g} s and was ended; "
                    "close other apps and let the phone cool down"
                )
            session.sleep(pause)
            pause = min(1.5 * pause, _LONGEST_POLL_S)

    def kill_leftovers(self) -> int:
        """Kill every process that runs out of `root`; how many there were.

        Asked until none is left: a shell may start its next command between being listed and being killed, and
        a killed process takes a moment to go.
        """
        killed: set[str] = set()
        for _ in range(_KILL_ROUNDS):
            found = set(self._session.run(_kill_script(self.root)).output.split())
            if not found:
                break
            killed |= found
            self._session.sleep(_FIRST_POLL_S)
        return len(killed)

    def clean(self) -> None:
        """Kill what is left over and remove the folders of past runs."""
        self.kill_leftovers()  # by itself: a command that names the folder would find and kill its own shell
        self._session.run(f"rm -rf {shlex.quote(self.root)}/runs")


def _start_script(root: str, folder: str, command: str, note: str) -> str:
    """Start in the background unless it was started already; folders of earlier runs go.

    Making the folder is what decides: of two shells with this script, at the same time or not, one goes on.
    From then on it must not end with its connection, on which the phone's daemon sends a hang-up.
    """
    home, runs = shlex.quote(folder), shlex.quote(f"{root}/runs")
    inner = (
        f"({command}) >{home}/out 2>&1; echo $? >{home}/rc.tmp; ({note}) >{home}/note 2>/dev/null; "
        f"mv {home}/rc.tmp {home}/rc"
    )
    return (
        "trap '' HUP\n"
        f"mkdir -p {runs} || exit 1\n"
        f"mkdir {home} 2>/dev/null || {{ [ -d {home} ]; exit; }}\n"
        f'for d in {runs}/*; do [ "$d" = {home} ] || rm -rf "$d"; done\n'
        f"nohup sh -c {shlex.quote(inner)} >/dev/null 2>&1 </dev/null &\n"
        f"echo $! >{home}/pid"
    )


def _poll_script(folder: str) -> str:
    """`done STATUS` and the output, `starting`, `running` or `gone`. Whether it lives is asked before whether it ended.

    While it runs, the question costs the phone no process but the shell.
    """
    home = shlex.quote(folder)
    return (
        f"p=; {{ read p <{home}/pid; }} 2>/dev/null\n"
        'a=starting; [ -n "$p" ] && { kill -0 $p 2>/dev/null && a=running || a=gone; }\n'
        f"if [ -f {home}/rc ]; then read r <{home}/rc; echo done $r; tail -c {_TAIL_BYTES} {home}/out; "
        f"echo; echo __note:$(cat {home}/note); else echo $a; fi"
    )


def _kill_script(root: str) -> str:
    """Find processes by their command line. The pattern is spelt so that it does not find this command."""
    head, last = root[:-1], root[-1]
    pattern = shlex.quote(f"{head}[{last}]/")
    return (
        f"for f in $(grep -l {pattern} /proc/[0-9]*/cmdline 2>/dev/null); do "
        "p=${f#/proc/}; p=${p%/cmdline}; kill -9 $p 2>/dev/null && echo $p; done; true"
    )
