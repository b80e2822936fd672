"""What the four commands share: one-line errors with exit codes, JSON on stdout, progress on stderr."""

from __future__ import annotations

import codecs
import difflib
import errno
import inspect
import io
import json
import math
import os
import re
import shlex
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePath
from types import NoneType, TracebackType, UnionType
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, Self, Union, get_args, get_origin, get_type_hints

import typer
from typer.core import TyperCommand
from typer.models import CommandFunctionType

from lut.errors import OutputError
from lut.version import tool_version
from lut.words import encodable, printable

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress


def _print_version(asked: bool) -> None:
    if asked:
        print_text(f"pnag {tool_version()}")
        raise typer.Exit


VersionOption = Annotated[
    bool, typer.Option("--version", is_eager=True, callback=_print_version, help="Show the version.")
]
DebugOption = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout, nothing else there.")]

MOST_SEED = 2**32 - 1  # what every library takes that is seeded


def finite(value: float | None) -> float | None:
    """For an option's `callback`: the value, unless it is nan or endless. Raises `typer.BadParameter`."""
    if value is not None and not math.isfinite(value):
        raise typer.BadParameter(f"{value:g} is not a number to count with; give a finite one")
    return value


SCHEMA_VERSION = 1  # of all documents of --json: raised where a key goes, or means another thing
INTERRUPTED = 130
_OF_A_PHONE = {"--serial": "SERIAL", "--adb": "HOST:PORT"}
_LONGEST_LINE = 2000
_LINE_EVERY_S = 10.0
_LEAST_KNOWN = 0.01  # of the work, before what is left can be estimated from it


class _Command(TyperCommand):
    """A command that takes no option's name for another's value, and words and paths as they are, but for `~`."""

    def get_params(self, ctx: Any) -> list[Any]:
        kinds = kinds_of(inspect.unwrap(self.callback)) if self.callback is not None else {}
        params = super().get_params(ctx)
        for param in params:
            _take_plainly(param, kinds.get(param.name or ""))
        return params

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        args = [_at_home(word) for word in args]
        if not ctx.resilient_parsing:
            _require_values(self, args)
            if ctx.ignore_unknown_options:
                _require_known(self, args)
        return super().parse_args(ctx, args)


# Where shells leave a `~` as it is: `--lut=~/t.parquet`, `--data imagefolder:~/photos`, in quotes.
_TILDE = re.compile(r"((?:--[a-z-]+=)?(?:[a-z0-9-]+:)?)~(/.*)?", re.DOTALL)


def _at_home(word: str) -> str:
    """A word of a command with the user's home for the `~` that its place begins with."""
    found = _TILDE.fullmatch(word)
    return word if found is None else f"{found[1]}{os.path.expanduser('~')}{found[2] or ''}"  # noqa: PTH111


# -- words, paths and defaults are taken as they are ------------------------------------------------------
# Typer reads each value through pydantic, which takes longer to load than all that a quick answer needs.


def _take_plainly(param: Any, kind: type | None) -> None:
    """Let a parameter of a Typer command take its default, and words (`kind` is str) or paths, without reading them.

    What cannot be taken so (a missing value, a number, a path that may not be read) stays Typer's.
    """
    if "process_value" in vars(param):
        return  # done before
    otherwise: Callable[[Any, Any], Any] = param.process_value
    several = param.multiple or param.nargs != 1

    def process(ctx: Any, value: Any) -> Any:
        if not param.required and (value is None or value is param.default):
            taken = () if several and value is None else value
        else:
            taken = _taken(value, kind)
            if taken is None:
                return otherwise(ctx, value)
        return taken if param.callback is None else param.callback(ctx, param, taken)

    param.process_value = process


def kinds_of(function: Callable[..., Any]) -> Mapping[str, type]:
    """Which parameters of a command's function are words or paths, or lists of these, by name."""
    found = {name: _kind(hint) for name, hint in get_type_hints(function).items()}
    return {name: kind for name, kind in found.items() if kind is not None}


def _kind(hint: Any) -> type | None:
    if get_origin(hint) in (Union, UnionType, list):
        inner = [each for each in get_args(hint) if each is not NoneType]
        return _kind(inner[0]) if len(inner) == 1 else None
    return hint if hint in (str, Path) else None


def _taken(value: Any, kind: type | None) -> Any:
    """A word or path, or a list of them; None where that is not what was given."""
    if isinstance(value, list | tuple):
        parts = [_taken(part, kind) for part in value]
        return parts if parts and None not in parts else None
    if kind is None or not isinstance(value, str) or (kind is Path and not _may_be_read(value)):
        return None
    return kind(value)


def _may_be_read(path: str) -> bool:
    """Whether it may be read, or is not there, which is for the command to say."""
    return os.access(path, os.R_OK) if os.path.exists(path) else True  # noqa: PTH110  what pathlib refuses is not there


def _require_values(command: TyperCommand, words: Sequence[str]) -> None:
    """Raise `typer.BadParameter` where an option that needs a value is followed by an option, or given nothing."""
    options = {name: param for param in command.params for name in (*param.opts, *param.secondary_opts)}
    words = words[: words.index("--")] if "--" in words else words
    values = iter(words)
    for word in values:
        name, joined, rest = word.partition("=")
        option = options.get(name)
        if option is None or getattr(option, "is_flag", True):
            continue
        value = rest if joined else next(values, None)
        if value is not None and not value.strip():
            raise typer.BadParameter(f"{name} is given nothing; give a value, or leave {name} out")
        if not joined and value is not None and value.startswith("--"):
            known = "the option" if value.partition("=")[0] in options else "like an option:"
            wanted = f"a value ({option.metavar})" if getattr(option, "metavar", None) else "a value"
            raise typer.BadParameter(
                f"{name} needs {wanted}, and what follows it is {known} {value}; give the value, or leave {name} out"
            )


def _require_known(command: TyperCommand, words: Sequence[str]) -> None:
    """Raise `typer.BadParameter` for a word that can only be an option, and is none: for commands that take others."""
    options = [name for param in command.params for name in (*param.opts, *param.secondary_opts)]
    words = words[: words.index("--")] if "--" in words else words
    for word in words:
        name = word.partition("=")[0]
        if re.match(r"--[a-z]", name, re.IGNORECASE) and name not in (*options, "--help"):
            near = difflib.get_close_matches(name, options, 3)
            meant = f"did you mean {' or '.join(near)}?" if near else "see --help"
            raise typer.BadParameter(f"there is no option {name}; {meant}")


class _App(typer.Typer):
    """A Typer application of such commands."""

    def command(self, *args: Any, **more: Any) -> Callable[[CommandFunctionType], CommandFunctionType]:
        return super().command(*args, **{"cls": _Command, **more})


def new_app() -> typer.Typer:
    """A Typer application whose errors are left to `run_app`; `--install-completion` teaches the shell its options."""
    return _App(pretty_exceptions_enable=False, rich_markup_mode=None)


def run_app(app: typer.Typer, name: str) -> NoReturn:
    """Run a command and exit with its status: 0, or an error's own `exit_code` after one line on stderr.

    Errors of this project carry `exit_code`; what the system refuses (no permission, a full disk) ends
    with 2. Anything else is a bug and keeps its traceback, as everything does with `--debug`.
    """
    _fit_to_terminal()
    _sleep_while_waiting()
    try:
        status = app(prog_name=name, standalone_mode=False)
    except (KeyboardInterrupt, typer.Abort):
        _fail(name, "interrupted; run the same command again to go on", INTERRUPTED)
    except Exception as error:
        code: int | None = getattr(error, "exit_code", None)
        if code is None and isinstance(error, OSError):
            code = 2
        if code is None or "--debug" in sys.argv:
            traceback.print_exc()
            sys.exit(code or 1)
        _fail(name, _message(error), code)
    sys.exit(status if isinstance(status, int) else 0)


# What stands for signs that an encoding lacks; a question mark for all others.
_PLAIN = {
    "±": "+-", "…": "...", "×": "x", "·": "*", "–": "-", "—": "-", "−": "-", "≤": "<=", "≥": ">=", "→": "->", "°": " ",
    "µ": "u", "μ": "u", "“": '"', "”": '"', "‘": "'", "’": "'", "━": "-", "╸": "-", "╺": "-", "─": "-", "█": "#",
}  # fmt: skip


def _sleep_while_waiting() -> None:
    """Threads of torch that wait for one another give their core away, unless the environment says how they wait.

    They would spin: quicker by a sixth where no other work is, and half as quick where there is, as each then waits for
    one that has no core (benchmarks/results/waiting_threads.md). Has to be said before torch is loaded.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def _fit_to_terminal() -> None:
    """Let no answer be lost to a sign that stdout's or stderr's encoding lacks."""
    codecs.register_error("pnag.plain", _plain)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="pnag.plain")


def _plain(error: UnicodeError) -> tuple[str, int]:
    """The error handler of `_fit_to_terminal`: plain signs, and raw bytes of file names as `\\xNN`."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    signs = (encodable(sign) for sign in error.object[error.start : error.end])
    return "".join(_PLAIN.get(sign, sign if sign.isascii() else "?") for sign in signs), error.end


def _message(error: Exception) -> str:
    if usage := getattr(error, "format_message", None):  # Typer's own errors, wherever it keeps their class
        return str(usage())
    if not isinstance(error, OSError):
        return str(error)
    place, reason = f"cannot use {error.filename}: " if error.filename else "", error.strerror or str(error)
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"{place}{reason}; make room, or choose another place (TMPDIR says where temporary files go)"
    if "temporary directory" in reason:
        return f"{reason}; set TMPDIR to a folder that can be written"
    return f"{place}{reason}; check the path and its permissions" if place else str(error)


def _fail(name: str, message: str, code: int) -> NoReturn:
    print(f"{name}: {printable(message, _LONGEST_LINE)}", file=sys.stderr)  # noqa: T201
    sys.exit(code)


def command_line() -> str:
    """The words of this command as they would be typed again, but for where a phone is: that is not for a report."""
    program, *words = sys.argv
    for index, word in enumerate(words):
        name, given, _ = word.partition("=")
        if name in _OF_A_PHONE and given:
            words[index] = f"{name}={_OF_A_PHONE[name]}"
        elif index and words[index - 1] in _OF_A_PHONE:
            words[index] = _OF_A_PHONE[words[index - 1]]
    return shlex.join([PurePath(program).name, *words])


def say(message: str) -> None:
    """A message for the user, on stderr."""
    print(message, file=sys.stderr, flush=True)  # noqa: T201


def print_text(text: str) -> None:
    """A command's answer, on stdout. Raises `OutputError` if it cannot be written, but not if nobody reads it."""
    try:
        print(text, flush=True)  # noqa: T201
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or the flush at exit complains too
        if isinstance(error, BrokenPipeError):
            return  # the reader, such as `head`, has seen enough
        raise OutputError(f"cannot write the answer: {error.strerror or error}; send it to another place") from error


def print_json(document: Mapping[str, Any]) -> None:
    """A command's answer as one JSON document on stdout, with the version of its form; NaN becomes null.

    docs/json.md tells the form of each command's document. Raises as `print_text` does.
    """
    print_text(json.dumps(_finite({"schema_version": SCHEMA_VERSION, **document}), indent=2, sort_keys=False))


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, str):
        return encodable(value)
    return value


class Progress:
    """Progress of long work: a bar with an estimate on a terminal, plain lines elsewhere. A context manager."""

    def __init__(self, label: str, total: float) -> None:
        self._label, self._total, self._done = label, total, 0.0
        self._started_s = self._spoke_s = time.monotonic()
        self._rich: RichProgress | None = None

    def __enter__(self) -> Self:
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

            columns = (
                TextColumn("{task.description}"),
                BarColumn(),
                TextColumn("{task.percentage:>3.0f}%"),
                TimeElapsedColumn(),
                TextColumn("left"),
                TimeRemainingColumn(),
                TextColumn("{task.fields[note]}"),
            )
            self._rich = Progress(*columns, console=Console(stderr=True))
            self._task = self._rich.add_task(self._label, total=self._total, note="")
            self._rich.start()
        return self

    def advance(self, amount: float = 1.0, note: str = "") -> None:
        """Add `amount` to what is done; `note` is shown beside it."""
        self._done += amount
        if self._rich is not None:
            self._rich.update(self._task, advance=amount, note=note)
            return
        now = time.monotonic()
        if now - self._spoke_s >= _LINE_EVERY_S:
            self._spoke_s = now
            self._line(now, note)

    def extend(self, amount: float) -> None:
        """Add `amount` to what there is to do."""
        self._total += amount
        if self._rich is not None:
            self._rich.update(self._task, total=self._total)

    def _line(self, now: float, note: str) -> None:
        passed = now - self._started_s
        known = self._done > _LEAST_KNOWN * self._total
        left = max(0.0, passed / self._done * (self._total - self._done)) if known else None
        share = 100 * self._done / self._total if self._total else 100.0
        words = [f"{share:.0f} %", f"{passed:.0f} s passed", left is not None and f"about {left:.0f} s left", note]
        say(f"{self._label}: {', '.join(word for word in words if word)}")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._rich is not None:
            self._rich.stop()
