"""The rule of layers, enforced from the syntax tree of every module."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ALLOWED = {"devices": set(), "lut": set(), "profiler": {"devices", "lut"}, "pnag": {"lut", "profiler"}}
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for package in ALLOWED
    for path in sorted((ROOT / package).rglob("*.py"))
}


def is_cli(module: str) -> bool:
    return module.rpartition(".")[2].startswith("cli")


def is_type_checking(test: ast.expr) -> bool:
    return ast.unparse(test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")


def imports(node: ast.AST, inside: tuple[str, ...] = ()) -> Iterator[tuple[str, int, tuple[str, ...]]]:
    """Our modules that are imported below `node`: name, line, and the functions (or type check) around it."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            names = [alias.name for alias in child.names]
        elif isinstance(child, ast.ImportFrom):
            assert child.level == 0, f"line {child.lineno}: imports are absolute"
            base = child.module or ""
            names = [f"{base}.{a.name}" if f"{base}.{a.name}" in MODULES else base for a in child.names]
        else:
            names = []
        for name in names:
            if name.partition(".")[0] in ALLOWED:
                yield name, child.lineno, inside
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            yield from imports(child, (*inside, child.name))
        elif isinstance(child, ast.If) and is_type_checking(child.test):
            for statement in child.body:
                yield from imports(ast.Module([statement], []), (*inside, "TYPE_CHECKING"))
            for statement in child.orelse:
                yield from imports(ast.Module([statement], []), inside)
        else:
            yield from imports(child, inside)


def found(module: str) -> list[tuple[str, int, tuple[str, ...]]]:
    return list(imports(ast.parse(MODULES[module].read_text(encoding="utf-8"))))


def test_there_are_modules_in_every_package():
    assert {module.partition(".")[0] for module in MODULES} == set(ALLOWED)


@pytest.mark.parametrize("module", MODULES)
def test_modules_import_only_what_lies_below_them(module):
    package = module.partition(".")[0]
    for name, line, _ in found(module):
        target = name.partition(".")[0]
        if is_cli(module):
            continue
        assert target == package or target in ALLOWED[package], f"{module}:{line} imports {name} from above or beside"
        assert not is_cli(name), f"{module}:{line} imports the command {name}; commands import, nothing imports them"


@pytest.mark.parametrize("module", MODULES)
def test_our_own_modules_are_imported_at_the_head_of_a_module(module):
    for name, line, inside in found(module):
        hidden = [function for function in inside if function not in ("TYPE_CHECKING", "__getattr__")]
        assert not hidden or is_cli(module), f"{module}:{line} hides the import of {name} in {hidden[-1]}()"


def test_modules_import_each_other_without_cycles():
    graph = {}
    for module, path in MODULES.items():
        targets = {name for name, _, inside in found(module) if not inside}
        packages = {name.rpartition(".")[0] for name in targets if name in MODULES}
        graph[module] = {name for name in targets | packages if name in MODULES and name != module}
        if path.name != "__init__.py":  # a package's head imports its modules; they import each other, not the head
            graph[module].discard(module.partition(".")[0])
    list(TopologicalSorter(graph).static_order())


def test_importing_a_package_starts_no_heavy_library():
    script = (
        "import sys, devices, lut, profiler, pnag;"
        "heavy = {'torch', 'pandas', 'pyarrow', 'onnxruntime', 'matplotlib', 'scipy', 'sklearn'} & set(sys.modules);"
        "sys.exit(', '.join(sorted(heavy)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr
