import os
import subprocess
import sys
from typing import Annotated

import pytest
import typer

from profiler import console
from profiler.console import Progress, new_app, print_text, run_app
from tests.pnag.commands import MAIN, runner


def test_a_line_says_how_far_it_is_and_how_long_it_takes_once_that_is_known(monkeypatch, capsys):
    times = iter([0.0, 12.0, 30.0])
    monkeypatch.setattr(console.time, "monotonic", lambda: next(times))
    with Progress("measuring", 10) as progress:
        progress.advance(0.0, "waiting")
        progress.advance(5.0)
    assert capsys.readouterr().err.splitlines() == [
        "measuring: 0 %, 12 s passed, waiting",
        "measuring: 50 %, 30 s passed, about 30 s left",
    ]


def test_lines_come_ten_seconds_apart(monkeypatch, capsys):
    times = iter([0.0, 9.0, 11.0])
    monkeypatch.setattr(console.time, "monotonic", lambda: next(times))
    with Progress("measuring", 4) as progress:
        progress.advance()
        progress.advance()
    (line,) = capsys.readouterr().err.splitlines()
    assert line == "measuring: 50 %, 11 s passed, about 11 s left"


@pytest.mark.parametrize(
    ("line", "option", "next_one"),
    [
        ("pnag-generate 1ms --verify --test-images 0", "--verify needs a value (DEVICE)", "the option --test-images"),
        ("pnag-generate 1ms --from --export=x.onnx", "--from needs a value", "the option --export=x.onnx"),
        ("pnag-train --lut --epochs 1", "--lut needs a value", "the option --epochs"),
        ("pnag-profile --out --jsn", "--out needs a value", "like an option: --jsn"),
        ("pnag-lut import t.csv --device --out t.parquet", "--device needs a value (NAME)", "the option --out"),
        ("pnag-lut export t.parquet --out --no-calibrated", "--out needs a value (OUT)", "the option"),
    ],
)  # fmt: skip
def test_an_option_is_no_value_of_another_one(line, option, next_one, capsys, monkeypatch):
    name, *rest = line.split()
    ended = runner(MAIN[name], capsys, monkeypatch)(*rest)
    assert ended.code == 2
    assert ended.says(f"{option}, and what follows it is {next_one}", "leave", "out")


def test_values_that_begin_like_options_are_taken_where_they_are_meant(capsys, monkeypatch):
    app = new_app()

    @app.command()
    def answer(words: Annotated[list[str], typer.Argument()], name: str = "", plain: bool = False, n: int = 0) -> None:
        print_text(f"{words} {name} {plain} {n}")

    run = runner(lambda: run_app(app, "answer"), capsys, monkeypatch)
    assert run("--name=--plain", "--n", "-3", "a").out == "['a'] --plain False -3\n"
    assert run("--plain", "--", "--name", "--plain").out == "['--name', '--plain']  True 0\n"
    assert run("a", "--name", "--", "--plain").out == "['a'] -- True 0\n"


def test_threads_sleep_while_they_wait_unless_the_environment_says_how():
    code = "import os; from lut.cli import main\ntry: main()\nfinally: print(os.environ['OMP_WAIT_POLICY'])"
    for given, found in ((None, "PASSIVE"), ("ACTIVE", "ACTIVE")):
        environment = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
        environment |= {"OMP_WAIT_POLICY": given} if given else {}
        words = [sys.executable, "-c", code, "--version"]
        done = subprocess.run(words, env=environment, stdout=subprocess.PIPE, text=True, check=True)
        assert done.stdout.splitlines()[-1] == found


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (OSError(28, "No space left on device", "/tmp/x"),
         "cannot use /tmp/x: No space left on device; make room, or choose another place (TMPDIR says where"),
        (OSError(28, "No space left on device"), "No space left on device; make room, or choose another place"),
        (FileNotFoundError(2, "No usable temporary directory found in ['/no']"), "['/no']; set TMPDIR to a folder"),
        (PermissionError(13, "Permission denied", "x"), "cannot use x: Permission denied; check the path and its perm"),
    ],
)  # fmt: skip
def test_what_the_system_refuses_is_said_with_what_to_do(error, line, capsys, monkeypatch):
    app = new_app()

    @app.command()
    def fail() -> None:
        raise error

    ended = runner(lambda: run_app(app, "fail"), capsys, monkeypatch)()
    assert ended.code == 2
    assert ended.says(line)
