"""The rule of layers, enforced from the syntax tree of every module."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ALLOWED = {"devices": set(), "lut": set(), "profiler": {"devices", "lut"}, "pnag": {"lut", "profiler"}}
# Inside a package a room imports only what stands before it, and itself. Modules without a room are rooms of their own.
ROOMS = {
    "profiler": (
        "errors",
        "progress",
        "console",
        "build",
        "measure",
        "verification",
        "refit",
        "saving",
        "profile",
        "report",
        "zoo",
    ),
    "pnag": (
        "errors",
        "arrays",
        "space",
        "data",
        "accuracy",
        "supernet",
        "search",
        "generator",
        "runs",
        "delivery",
        "reporting",
        "demo",
    ),
}
MOST_MODULES = 12
MOST_LEVELS = 8
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


@pytest.mark.parametrize("module", [m for m in MODULES if m.partition(".")[0] in ROOMS])
def test_rooms_import_only_what_stands_before_them(module):
    package, _, rest = module.partition(".")
    room = rest.partition(".")[0]
    if not room or is_cli(module):
        return
    order = ROOMS[package]
    assert room in order, f"{module} is in no room that has a place in the order; add it to ROOMS"
    for name, line, _ in found(module):
        target, _, inner = name.partition(".")
        if target == package and inner:
            other = inner.partition(".")[0]
            assert order.index(other) <= order.index(room), f"{module}:{line} imports {name} from a later room"


def test_no_folder_holds_more_modules_than_one_takes_in_at_a_glance():
    folders = Counter(path.parent for path in MODULES.values() if path.name != "__init__.py")
    crowded = {str(folder.relative_to(ROOT)): n for folder, n in folders.items() if n > MOST_MODULES}
    assert not crowded, f"more than {MOST_MODULES} modules: {crowded}"


@pytest.mark.parametrize("room", [m for m, path in MODULES.items() if path.name == "__init__.py"])
def test_every_room_says_what_it_is_for(room):
    text = ast.get_docstring(ast.parse(MODULES[room].read_text(encoding="utf-8")))
    assert text or room.endswith("specs"), f"{room} has no docstring"


def ancestors(module: str) -> set[str]:
    """The packages that a module lies in: importing it runs their heads first."""
    parts = module.split(".")
    return {".".join(parts[:n]) for n in range(1, len(parts))}


def test_modules_import_each_other_without_cycles():
    graph = {}  # imports for type checking count too: who needs the other to be understood belongs together with it
    for module in MODULES:
        targets = {name for name, _, _ in found(module)}
        targets |= {head for name in targets for head in ancestors(name)}
        # A package's head imports its modules; they import each other, not the head.
        graph[module] = (targets & set(MODULES)) - ancestors(module) - {module}
    list(TopologicalSorter(graph).static_order())


def test_few_levels_of_imports_lie_inside_a_package():
    levels: dict[str, int] = {}
    graph = {module: {name for name, _, _ in found(module)} & set(MODULES) for module in MODULES}
    for module in TopologicalSorter(graph).static_order():
        package = module.partition(".")[0]
        inner = [levels[name] for name, _, _ in found(module) if name.startswith(f"{package}.") and name in levels]
        levels[module] = 1 + max(inner, default=0)
    deepest = {module: n for module, n in levels.items() if n > MOST_LEVELS and not is_cli(module)}
    assert not deepest, f"more than {MOST_LEVELS} levels: {deepest}"


def test_importing_a_package_starts_no_heavy_library():
    script = (
        "import sys, devices, lut, profiler, pnag;"
        "heavy = {'torch', 'pandas', 'pyarrow', 'onnxruntime', 'matplotlib', 'scipy', 'sklearn', 'bokeh'};"
        "heavy &= set(sys.modules);"
        "sys.exit(', '.join(sorted(heavy)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr
