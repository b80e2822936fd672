from profiler import console
from profiler.console import Progress


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
