"""An answer arrives whatever signs the terminal's encoding has."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import typer
from profiler.console import new_app, print_json, print_text, run_app, say
app = new_app()
@app.command()
def answer(bad: bool = False) -> None:
    odd = "wei\\udcdf \\u65e5 \\U0001f600"
    say("\\xb13 % \\u2026 " + odd)
    print_text("\\xb13 % \\xd7 2 \\u2026 " + odd)
    print_json({"name": odd})
    if bad:
        raise typer.BadParameter("\\u2026 " + odd)
run_app(app, "answer")
"""


@pytest.mark.parametrize(
    "environment",
    [
        {"PYTHONIOENCODING": "ascii"},
        {"PYTHONIOENCODING": "latin-1"},
        {"PYTHONIOENCODING": "cp1252"},
        {"PYTHONIOENCODING": "cp437"},
        {"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "LC_ALL": "C"},
        {"PYTHONIOENCODING": "utf-8"},
    ],
    ids=str,
)
def test_no_answer_is_lost_to_its_typography(environment):
    root = str(Path(__file__).parents[2])
    for arguments, status in (((), 0), (("--bad",), 2)):
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT, *arguments],
            capture_output=True,
            check=False,
            env={**os.environ, "PYTHONPATH": root, **environment},
        )
        assert done.returncode == status, done.stderr
        assert b"Traceback" not in done.stderr
        assert b"wei\\xdf" in done.stdout
        assert b"wei\\xdf" in done.stderr
        assert b"3 % " in done.stdout
        if environment.get("PYTHONIOENCODING") == "ascii":
            assert done.stdout.startswith(b"+-3 % x 2 ... wei\\xdf ? ?")
            assert done.stderr.startswith(b"+-3 % ... wei\\xdf ? ?")
