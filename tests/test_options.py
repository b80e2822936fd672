"""Every option of every command, found in the applications themselves: no number and no word ends in a traceback.

An option that comes later is tested without a word here. What a command is given besides is in `BESIDE`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest
import typer

from lut import cli as cli_lut
from pnag import cli_generate, cli_train
from pnag.space.spaces import load_space
from profiler import cli as cli_profile
from profiler.console import _at_home
from tests.pnag.commands import MAIN, Ended, Run, runner

APPS = {
    "pnag-profile": cli_profile.app,
    "pnag-train": cli_train.app,
    "pnag-generate": cli_generate.app,
    "pnag-lut": cli_lut.app,
}
# What each command is given, so that it looks at its options: the files named here are not there.
BESIDE = {
    "pnag-profile": "--device fake.toml --check --calibrate 0 --holdout 0",
    "pnag-train": "--lut none.parquet",
    "pnag-generate": "3.2 --from none",
    "pnag-lut diff": "none.parquet none.parquet",
    "pnag-lut import": "none.csv --device x --out o.parquet",
    "pnag-lut report": "none.parquet --out o.html",
    "pnag-lut refit": "none.parquet --out o.parquet",
    "pnag-lut trace": "none.parquet --out o.json",
    "pnag-lut export": "none.parquet --out o.csv",
    "pnag-lut add": "none.parquet none",
    "pnag-lut fleet add": "none.parquet --to fleet",
}


@dataclass(frozen=True)
class Asked:
    """An option of a command: its first name, and the type of its value."""

    command: str
    name: str
    kind: type

    def __str__(self) -> str:
        return f"{self.command} {self.name}"


def commands() -> Iterator[tuple[str, Callable[..., Any]]]:
    """The functions behind all commands."""
    for program, app in APPS.items():
        groups = [(program, app)] + [
            (f"{program} {group.name}", group.typer_instance) for group in app.registered_groups
        ]
        for prefix, each in groups:
            for command in each.registered_commands:
                function = command.callback
                assert function is not None
                name = command.name or function.__name__.removesuffix("_command").replace("_", "-")
                yield (prefix if len(app.registered_commands) == 1 else f"{prefix} {name}"), function


def options() -> list[Asked]:
    """All options that take a value."""
    found = []
    for command, function in commands():
        for parameter, hint in get_type_hints(function, include_extras=True).items():
            kind, *more = get_args(hint) or (hint,)
            if not (more and isinstance(more[0], typer.models.OptionInfo)):
                continue
            kinds = [k for k in (get_args(kind) or (kind,)) if k is not type(None)]
            if kinds != [bool]:
                names = more[0].param_decls or (f"--{parameter.rstrip('_').replace('_', '-')}",)
                found.append(Asked(command, names[0], kinds[0]))
    return found


OPTIONS = options()
NUMBERS = [option for option in OPTIONS if option.kind in (int, float)]


@pytest.fixture
def type_(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Ended]:
    """Gives an option a value, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "fake.toml").write_text('name = "fake"\ntitle = "fake"\nbackend = "fake"\n')

    def call(option: Asked, value: str) -> Ended:
        program, *words = option.command.split(" ")
        run: Run = runner(MAIN[program], capsys, monkeypatch)
        beside = BESIDE.get(option.command, "none.parquet").split(" ")
        if option.name in beside:
            at = beside.index(option.name)
            del beside[at : at + 2]
        return run(*words, *beside, option.name, value)

    return call


def assert_one_line(ended: Ended, option: Asked) -> None:
    assert ended.code in (2, 3, 4), (option, ended.err)
    assert "Traceback" not in ended.err
    if ended.out:  # what --check finds
        assert "wrong" in ended.out
    else:
        assert ended.err.startswith(f"{option.command.partition(' ')[0]}: ")
        assert ended.err.count("\n") == 1, ended.err


def test_all_commands_are_found():
    assert {command for command, _ in commands()} >= {*BESIDE, "pnag-lut show", "pnag-lut check"}
    assert len(NUMBERS) > 20
    assert {str(option) for option in OPTIONS} >= {
        "pnag-profile --zoo-only",
        "pnag-generate --from",
        "pnag-lut diff --worst",
    }


@pytest.mark.parametrize("option", NUMBERS, ids=str)
def test_numbers_that_are_none(type_: Callable[..., Ended], option: Asked) -> None:
    """`inf` minutes are no limit, and so are as many percent; all else has to be finite."""
    endless = [] if option.name in ("--max-minutes", "--fail-above") else ["inf" if option.kind is float else "9" * 400]
    for value in ("nan", "-1e9", *endless):
        ended = type_(option, value)
        assert_one_line(ended, option)
        assert "none" not in ended.err, "it looked at the number before anything else"


@pytest.mark.parametrize("option", OPTIONS, ids=str)
def test_an_option_in_the_place_of_a_value(type_: Callable[..., Ended], option: Asked) -> None:
    ended = type_(option, "--json")
    assert_one_line(ended, option)
    assert f"{option.name} needs a value" in ended.err


@pytest.mark.parametrize("option", [option for option in OPTIONS if option not in NUMBERS], ids=str)
def test_words_that_mean_nothing(type_: Callable[..., Ended], option: Asked) -> None:
    """Some are folders or names that may be; none ends in a traceback."""
    ended = type_(option, "")
    assert_one_line(ended, option)
    assert f"{option.name} is given nothing; give a value" in ended.err
    for value in ("x" * 300, "\udcff"):
        ended = type_(option, value)
        assert ended.err.count("\n") <= 1, ended.err
        if ended.code or not ended.out:
            assert_one_line(ended, option)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("pnag-profile --device fake.toml --out mine.csv", "a table is parquet, not .csv; call it mine.parquet"),
        ("pnag-lut import none.csv --device x --out o.json", "a table is parquet, not .json; call it o.parquet"),
        ("pnag-lut refit none.parquet --out o.yaml", "a table is parquet, not .yaml"),
        ("pnag-lut import none.csv --device x --out /", "cannot write /"),
        ("pnag-lut trace none.parquet --out /", "call it trace.json"),
        ("pnag-generate 3.2 --adb 10.0.0.1:5555", "--adb says how to reach what is measured on; give --verify"),
        ("pnag-generate 3.2 --benchmark-model tool", "--benchmark-model says how to reach what is measured on"),
        ("pnag-generate 3.2 --confidence 0.2", "0.2 is no such probability; give a number from 0.5 on and below 1"),
        ("pnag-generate 3.2 --verfy cpu", "there is no option --verfy; did you mean --verify"),
        ("pnag-generate 3.2 --latency", "there is no option --latency; "),
        ("pnag-generate 3.2 --Export=x.onnx", "there is no option --Export; did you mean --export"),
        ("pnag-profile --device fake.toml --precision int4", "--precision int4 is unknown; choose from float32"),
        ("pnag-profile --device fake.toml --out=", "--out is given nothing; give a value, or leave --out out"),
    ],
)
def test_what_would_not_be_what_was_meant(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, line: str, words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "fake.toml").write_text('name = "fake"\ntitle = "fake"\nbackend = "fake"\n')
    block = load_space().blocks()[0].key
    (tmp_path / "none.csv").write_text(f"block,latency_ms\n{block},1.0\n")
    program, *rest = line.split(" ")
    ended = runner(MAIN[program], capsys, monkeypatch)(*rest)
    assert ended.code == 2
    assert ended.says(words)


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("~/t.parquet", "{}/t.parquet"),
        ("--lut=~/t.parquet", "--lut={}/t.parquet"),
        ("imagefolder:~/my photos", "imagefolder:{}/my photos"),
        ("--accuracy=once-for-all:~/a.pth", "--accuracy=once-for-all:{}/a.pth"),
        ("~", "{}"),
        ("~other/x", "~other/x"),
        ("a~/b", "a~/b"),
        ("25ms", "25ms"),
    ],
)
def test_a_tilde_is_the_home_folder_where_a_place_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, word: str, meant: str
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert _at_home(word) == meant.format(tmp_path)
