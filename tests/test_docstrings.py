"""Public classes show how they are used, and what they show is so."""

from __future__ import annotations

import doctest
import importlib
import inspect

import pytest

PACKAGES = ("devices", "lut", "pnag")
CLASSES = sorted(
    {
        (value.__module__, name)
        for package in map(importlib.import_module, PACKAGES)
        for name in package.__all__
        if inspect.isclass(value := getattr(package, name))
        and not issubclass(value, Exception)
        and not getattr(value, "_is_protocol", False)
        and name != "Candidate"  # `Generator.generate` gives it, and its example shows it
    }
)


@pytest.mark.parametrize(("module", "name"), CLASSES)
def test_a_public_class_has_a_runnable_example(module: str, name: str):
    home = importlib.import_module(module)
    found = doctest.DocTestFinder(recurse=False).find(getattr(home, name), name, globs=vars(home).copy())
    assert found[0].examples, f"{name} in {module} has no example in its docstring"
    result = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE).run(found[0])
    assert result.failed == 0
