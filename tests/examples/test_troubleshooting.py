"""The messages that docs/troubleshooting.md quotes are messages of the program."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
QUOTED = re.findall(r"^\| `([^`]+)` \|", PAGE, re.M)


def text_of(node: ast.expr) -> str:
    """A string of the source, with … for what is put into it."""
    if isinstance(node, ast.JoinedStr):
        return "".join(text_of(part) for part in node.values)
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else "…"


@cache
def texts() -> str:
    """All strings of the program, a line each."""
    paths = (path for package in ("devices", "lut", "profiler", "pnag") for path in (ROOT / package).rglob("*.py"))
    nodes = (node for path in paths for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
    return "\n".join({text_of(node) for node in nodes if isinstance(node, ast.JoinedStr | ast.Constant)})


def test_the_page_quotes_messages():
    assert len(QUOTED) > 40
    assert len(set(QUOTED)) == len(QUOTED)


@pytest.mark.parametrize("message", QUOTED)
def test_a_quoted_message_is_in_the_program(message: str):
    assert message in texts()
