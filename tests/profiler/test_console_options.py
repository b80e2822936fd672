"""What words, paths and defaults of the command line become, with Typer's own reading and with ours."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import pytest
import typer

from profiler.console import kinds_of, new_app


def command(
    *,
    words: Annotated[list[str] | None, typer.Argument()] = None,
    path: Annotated[Path | None, typer.Option()] = None,
    paths: Annotated[list[Path] | None, typer.Option()] = None,
    name: Annotated[str, typer.Option()] = "usual",
    number: Annotated[int, typer.Option(min=1)] = 16,
    share: Annotated[float | None, typer.Option()] = None,
    flag: Annotated[bool, typer.Option("--flag")] = False,
    place: Annotated[Path, typer.Option()] = Path("there"),
) -> dict[str, Any]:
    """Give back what was read."""
    return locals()


def required(*, path: Annotated[Path, typer.Option()], out: Annotated[str | None, typer.Option()] = None) -> Any:
    """Give back what was read."""
    return path, out


def refusal(app: typer.Typer, function: Any, words: list[str]) -> tuple[str, str]:
    """The kind of error and its message."""
    try:
        return "none", str(read(app, function, words))
    except Exception as error:  # Typer's own, wherever it keeps their class
        return type(error).__name__, error.format_message()  # type: ignore[attr-defined]


def read(app: typer.Typer, function: Any, words: list[str]) -> Any:
    app.command()(function)
    return app(words, standalone_mode=False)


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["one", "--flag", "two"],
        ["--path", "a/b", "--paths", "c", "--paths", "d/../e", "--name", "a b", "--place", "x~"],
        ["--number", "3", "--share", "0.5"],
        ["--name", "3", "--", "--flag"],
    ],
)
def test_our_reading_is_typers(words: list[str]) -> None:
    assert read(new_app(), command, words) == read(typer.Typer(), command, words)


@pytest.mark.parametrize("words", [["--number", "0"], ["--number", "x"], ["--share", "much"], ["--name"]])
def test_what_is_no_value_is_refused_as_typer_does(words: list[str]) -> None:
    ours = refusal(new_app(), command, words)
    assert ours == refusal(typer.Typer(), command, words)
    assert ours[0] != "none"


def test_an_option_that_must_be_there_is_asked_for() -> None:
    assert "--path" in refusal(new_app(), required, ["--out", "x"])[1]
    assert read(new_app(), required, ["--path", "x"]) == (Path("x"), None)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read anything")
def test_a_path_that_may_not_be_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "shut").mkdir(mode=0)
    assert "not readable" in refusal(new_app(), required, ["--path", str(tmp_path / "shut")])[1]


def test_kinds_are_those_of_words_and_paths_alone() -> None:
    assert kinds_of(command) == {"words": str, "path": Path, "paths": Path, "name": str, "place": Path}
