"""Times by key, as once-for-all and those who build on it publish them: `key: {mean: ms}` in YAML or JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from lut.errors import ExchangeError
from lut.formats.csvfile import latency
from lut.words import printable

_DEEPEST = 6


def read_means_yaml(text: str) -> dict[str, float]:
    """Means in ms by key. Raises `ExchangeError` for what is not YAML, not of this form, or has a key twice.

    Aliases are refused: no such table has any, and few lines of them stand for more than memory holds.
    """
    import yaml

    try:
        _look_over(text)
        document = yaml.load(text, Loader=_unique_loader())
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f"line {mark.line + 1}: " if mark else ""
        problem = printable(getattr(error, "problem", None) or "not valid YAML")
        advice = "; write plain numbers, float(x) before yaml.dump" if ":python/" in problem else ""
        raise ExchangeError(f"{place}{problem}{advice}") from error
    except (ValueError, TypeError, RecursionError, OverflowError, AttributeError) as error:
        raise ExchangeError(f"not valid YAML: {printable(error, 120)}") from error
    return _means(document)


def read_means_json(text: str) -> dict[str, float]:
    """Means in ms by key. Raises `ExchangeError` for what is not JSON, not of this form, or has a key twice."""
    try:
        document = json.loads(text, object_pairs_hook=_unique)
    except json.JSONDecodeError as error:
        raise ExchangeError(f"line {error.lineno}: {printable(error.msg)}; not valid JSON") from error
    except (ValueError, RecursionError) as error:
        raise ExchangeError(f"not valid JSON: {printable(error, 120)}") from error
    return _means(document)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for key, value in pairs:
        if key in values:
            raise ExchangeError(f"{printable(key, 80)} occurs twice; keep one")
        values[key] = value
    return values


def _means(document: Any) -> dict[str, float]:
    if not isinstance(document, Mapping):
        raise ExchangeError("not a mapping; once-for-all's tables are 'key: {mean: ms}'")
    means = {}
    for key, value in document.items():
        if not (isinstance(key, str) and isinstance(value, Mapping) and "mean" in value):
            raise ExchangeError(
                f"{printable(str(key)[:200], 80)}: {_form(value)} is not of the form {{mean: ms}}; "
                "once-for-all's tables are"
            )
        try:
            means[key] = latency(value["mean"])
        except ExchangeError as error:
            raise ExchangeError(f"{printable(key, 80)}: {error}") from error
    return means


def _form(value: Any) -> str:
    """A value in few words, without making all of it into text."""
    if isinstance(value, Mapping):
        return f"a mapping of {printable(', '.join(str(key)[:30] for key in list(value)[:3]), 60)}"
    if isinstance(value, list | tuple | set):
        return f"a list of {len(value)}"
    if isinstance(value, str):
        return printable(repr(value[:60]))
    return str(value) if isinstance(value, bool | float) or value is None else f"a {type(value).__name__}"


def _look_over(text: str) -> None:
    """Raise for aliases and for what is nested deeper than any such table, before anything is built of it."""
    import yaml

    depth = 0
    for event in yaml.parse(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
        if isinstance(event, yaml.events.AliasEvent):
            raise ExchangeError(f"{_line(event)}an alias stands here; write the values out")
        depth += isinstance(event, yaml.events.CollectionStartEvent)
        depth -= isinstance(event, yaml.events.CollectionEndEvent)
        if depth > _DEEPEST:
            raise ExchangeError(f"{_line(event)}nested too deep; once-for-all's tables are not")


def _line(event: Any) -> str:
    return f"line {event.start_mark.line + 1}: " if event.start_mark else ""


def _unique_loader() -> Any:
    import yaml

    base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

    class UniqueLoader(base):  # type: ignore[misc]
        def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
            seen: set[str] = set()
            for key, _ in node.value:
                if isinstance(key.value, str):
                    if key.value in seen:
                        raise yaml.constructor.ConstructorError(None, None, f"{key.value} occurs twice", key.start_mark)
                    seen.add(key.value)
            mapping: dict[Any, Any] = super().construct_mapping(node, deep)
            return mapping

    return UniqueLoader
