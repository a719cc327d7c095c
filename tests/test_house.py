"""The house: which part of the package may import which, and what must not come back."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import spiking_yolo

PACKAGE = Path(spiking_yolo.__file__).parent
# From the ground up: a part may import what stands in an earlier row, and its own files.
STOREYS = (
    ("errors",),
    ("io", "settings"),
    ("graph", "recipe"),
    ("data",),
    ("models", "snn"),
    ("decode",),
    ("log", "observe"),
    ("convert",),
    ("draw", "metrics"),
    ("result",),
    ("detector", "train"),
    ("options",),
    ("apps",),
    ("cli", ""),
)
FLOOR = {part: floor for floor, parts in enumerate(STOREYS) for part in parts}
BESIDE = {("settings", "io"), ("snn", "recipe")}  # arrows within a storey


def modules() -> dict[str, Path]:
    """Every module of the package by its dotted name without the package's."""
    names = {
        path: ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
        for path in PACKAGE.rglob("*.py")
    }
    return {name.removesuffix("__init__").rstrip("."): path for path, name in names.items()}


def package_files(name: str, known: dict[str, Path]) -> Iterator[str]:
    """The packages that a module lies in, but for the outermost."""
    while name := name.rpartition(".")[0]:
        if name in known:
            yield name


def imports(path: Path, known: dict[str, Path]) -> Iterator[tuple[str, bool]]:
    """The package's modules that a file imports, and whether it does so when it is loaded
    itself.
    """
    tree = ast.parse(path.read_text())
    later = {
        id(n)
        for f in ast.walk(tree)
        if isinstance(f, ast.FunctionDef | ast.AsyncFunctionDef)
        for n in ast.walk(f)
    }
    typing_only = {
        id(n)
        for i in ast.walk(tree)
        if isinstance(i, ast.If) and "TYPE_CHECKING" in ast.unparse(i.test)
        for n in ast.walk(i)
    }
    for node in ast.walk(tree):
        if not isinstance(node, ast.ImportFrom | ast.Import) or id(node) in typing_only:
            continue
        if isinstance(node, ast.Import):
            targets = [alias.name for alias in node.names]
        else:
            assert node.level == 0, f"{path}: imports are absolute"
            targets = [f"{node.module}.{alias.name}" for alias in node.names]
        for target in targets:
            if target.partition(".")[0] == "spiking_yolo":
                name = target.partition(".")[2]
                name = name if name in known else name.rpartition(".")[0]
                yield name, id(node) not in later
                for parent in package_files(name, known):  # which are run too
                    yield parent, id(node) not in later


MODULES = modules()
ARROWS = {
    (name, target, at_once)
    for name, path in MODULES.items()
    for target, at_once in imports(path, MODULES)
}


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
    """Among what is imported when a module is loaded: between files, and between parts for imports
    of any time.
    """
    for graph in (
        {
            name: {
                t
                for n, t, at_once in ARROWS
                if n == name and at_once and t not in ("", name) and not name.startswith(f"{t}.")
            }
            for name in MODULES
        },
        {p: {part(t) for n, t, _ in ARROWS if part(n) == p} - {p, ""} for p in map(part, MODULES)},
    ):
        try:
            TopologicalSorter(graph).prepare()
        except CycleError as error:
            pytest.fail(f"imports go in a circle: {' -> '.join(error.args[1])}")


def test_every_part_has_its_floor():
    assert {part(name) for name in MODULES} == set(FLOOR)


def test_the_top_is_a_handful_of_files():
    entries = [path for path in PACKAGE.iterdir() if path.is_file()]
    assert len(entries) < 10, sorted(path.name for path in entries)


@pytest.mark.parametrize("word", ["argparse", "SimpleNamespace"])
def test_what_must_not_come_back(word: str):
    assert [str(path) for path in PACKAGE.rglob("*.py") if word in path.read_text()] == []


def test_the_simulator_knows_no_conversion_and_no_file():
    targets = {part(target) for name, target, _ in ARROWS if part(name) == "snn"}
    assert targets <= {"snn", "graph", "recipe", "errors"}


def test_heads_are_decoded_without_seeing_a_spike():
    assert not {
        target
        for name, target, _ in ARROWS
        if part(name) == "decode" and part(target) in ("snn", "convert")
    }


def test_only_the_simulator_uses_the_fast_backend_and_only_by_its_interface():
    users = {(name, t) for name, t, _ in ARROWS if t.startswith("snn.fast")}
    outside = {(name, t) for name, t in users if not name.startswith("snn.fast")}
    assert {t for _, t in outside} == {"snn.fast"}
    assert {part(name) for name, _ in outside} == {"snn"}
