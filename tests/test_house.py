"""The house: which part of the package may import which, and what must not come back."""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import spiking_yolo

PACKAGE = Path(spiking_yolo.__file__).parent
# From the ground up: a part may import what stands in an earlier row, and its own files.
STOREYS = (
    ("errors",),
    ("io", "arguments"),
    ("graph", "recipe"),
    ("data",),
    ("models", "spikes"),
    ("decode", "integer", "rate"),
    ("log", "observe"),
    ("convert",),
    ("draw", "metrics", "onnx"),
    ("result", "evaluate"),
    ("api", "train"),
    ("options",),
    ("apps",),
    ("cli", ""),
    ("__main__",),
)
FLOOR = {part: floor for floor, parts in enumerate(STOREYS) for part in parts}
BESIDE = {("arguments", "io"), ("spikes", "recipe"), ("rate", "integer")}  # arrows within a storey


def modules() -> dict[str, Path]:
    """Every module of the package by its dotted name without the package's."""
    paths = {}
    for path in PACKAGE.rglob("*.py"):
        name = ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
        paths[name.removesuffix("__init__").rstrip(".")] = path
    return paths


def imported_names(node: ast.Import | ast.ImportFrom) -> list[str]:
    """Dotted names, of which the last part may be a module or a name in it."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    assert node.level == 0, f"line {node.lineno}: imports are absolute"
    return [f"{node.module}.{alias.name}" for alias in node.names]


def nodes_in(tree: ast.AST) -> tuple[set[ast.AST], set[ast.AST]]:
    """The nodes inside of functions, and those that only type checkers see."""
    in_functions: set[ast.AST] = set()
    typing_only: set[ast.AST] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            in_functions.update(ast.walk(node))
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            typing_only.update(ast.walk(node))
    return in_functions, typing_only


def imports(path: Path, names: Collection[str]) -> Iterator[tuple[str, bool]]:
    """The package's modules that a file imports, and whether it does so when it is loaded.

    names: of all modules. The packages that a module lies in are imported with it.
    """
    tree = ast.parse(path.read_text())
    in_functions, typing_only = nodes_in(tree)
    for node in ast.walk(tree):
        if not isinstance(node, ast.ImportFrom | ast.Import) or node in typing_only:
            continue
        for target in imported_names(node):
            package, _, name = target.partition(".")
            if package != "spiking_yolo":
                continue
            if name not in names:
                name = name.rpartition(".")[0]
            yield name, node not in in_functions
            while name := name.rpartition(".")[0]:
                yield name, node not in in_functions


MODULES = modules()
# (module, module that it imports, whether it does so when it is loaded)
ARROWS: set[tuple[str, str, bool]] = set()
for module, file in MODULES.items():
    ARROWS |= {(module, *arrow) for arrow in imports(file, MODULES)}


def part(name: str) -> str:
    return name.partition(".")[0]


def test_no_arrow_points_up():
    """Also those inside of functions. The package itself, which imports its public names on demand,
    stands on top.
    """
    for name, target, _ in ARROWS:
        a, b = part(name), part(target)
        assert a == b or FLOOR[b] < FLOOR[a] or (a, b) in BESIDE or b == "", (
            f"{name} imports {target}"
        )


def test_no_circle():
    """Neither between files, of what is imported when one is loaded, nor between parts."""
    files: dict[str, set[str]] = {}
    parts: dict[str, set[str]] = {}
    for name, target, at_once in ARROWS:
        if at_once and target not in ("", name) and not name.startswith(f"{target}."):
            files.setdefault(name, set()).add(target)
        if part(target) not in ("", part(name)):
            parts.setdefault(part(name), set()).add(part(target))
    for graph in (files, parts):
        try:
            TopologicalSorter(graph).prepare()
        except CycleError as error:
            pytest.fail(f"imports go in a circle: {' -> '.join(error.args[1])}")


def test_every_part_has_its_floor():
    assert {part(name) for name in MODULES} == set(FLOOR)


def test_the_top_is_a_handful_of_files():
    entries = [path for path in PACKAGE.iterdir() if path.is_file()]
    assert len(entries) < 13, sorted(path.name for path in entries)


@pytest.mark.parametrize("word", ["argparse", "SimpleNamespace"])
def test_what_must_not_come_back(word: str):
    assert [str(path) for path in PACKAGE.rglob("*.py") if word in path.read_text()] == []


def test_the_simulator_knows_no_file_and_decoding_sees_no_spike():
    """Neither knows of conversion, which stands above them."""
    targets = {(part(name), part(target)) for name, target, _ in ARROWS}
    known = {"rate", "integer", "spikes", "graph", "recipe", "errors"}
    assert {b for a, b in targets if a == "rate"} <= known
    assert ("decode", "spikes") not in targets
