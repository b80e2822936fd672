"""Text from elsewhere (file names, error messages of libraries) as words that any message or file can hold."""

from __future__ import annotations

import re

# What terminals understand as commands: colours, cursor movements, titles.
_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])")
_SURROGATES = re.compile("[\ud800-\udfff]")
_FIRST_BYTE, _LAST_BYTE, _BYTES_START = 0xDC80, 0xDCFF, 0xDC00  # how Python keeps bytes that are not UTF-8 in names


def text_of(raw: bytes) -> str:
    """A text file's content: UTF-8, or the UTF-16 of spreadsheets and Windows' shells. `UnicodeDecodeError`."""
    return raw.decode("utf-16" if raw.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig")


def printable(text: object, longest: int = 200) -> str:
    """`text` as part of one line: no control characters, no line breaks, nothing that cannot be encoded, cut."""
    words = encodable(_ESCAPES.sub("", str(text)[: 20 * longest]))
    line = " ".join("".join(c if c.isprintable() else " " if c.isspace() else "?" for c in words).split())
    line = line or "nothing"
    return line if len(line) <= longest else f"{line[: longest - 1]}…"


def quoted(text: str, longest: int = 200) -> str:
    """A value in quotes as it was given, its spaces too, as part of one line; without control characters, cut."""
    words = encodable(_ESCAPES.sub("", text[: 20 * longest]))
    line = "".join(c if c.isprintable() else " " if c.isspace() else "?" for c in words)
    return f"'{line}'" if len(line) <= longest else f"'{line[: longest - 1]}…'"


def first_line(error: BaseException, longest: int = 200) -> str:
    """The first line of what a library says is wrong, as part of our message."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return printable(lines[0], longest)


def encodable(text: str) -> str:
    """`text` with `\\xNN` and `\\uNNNN` for what UTF-8 cannot hold: raw bytes of file names, lone surrogates."""
    return _SURROGATES.sub(lambda found: _escaped(ord(found[0])), text)


def is_encodable(text: str) -> bool:
    """Whether UTF-8 can hold `text`: libraries that take names as text refuse others, which a name of a file may be."""
    return _SURROGATES.search(text) is None


def _escaped(code: int) -> str:
    return f"\\x{code - _BYTES_START:02x}" if _FIRST_BYTE <= code <= _LAST_BYTE else f"\\u{code:04x}"


def class_name(text: str) -> str:
    """`text` as the name of a class: one line of a list of labels, and a value of JSON."""
    return "".join(c if c.isprintable() or c == " " else repr(c)[1:-1] for c in encodable(text)).strip() or repr(text)
