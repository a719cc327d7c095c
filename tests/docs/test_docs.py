"""The documentation says what is true: its Python runs, its commands parse, the outputs that it
shows are printed.

The rule. A fenced `python` block is executed, all blocks of a page in one namespace. A command in a
fenced `bash` block, or in backticks, has its options parsed. Where a `text` block follows, a
command is run for real, and what a `python` or `bash` block prints must be that text, in which
"..." stands for anything within a line, and a number with decimals may differ by one in its last
place: processors round differently. Blocks that are run read shipped files only. A `python` block
that imports another library of spiking networks is left out where that is not installed.
"""

import re
import shlex
import string
import subprocess
import sys
from collections.abc import Iterator
from contextlib import redirect_stdout
from dataclasses import dataclass
from importlib.util import find_spec
from io import StringIO
from itertools import zip_longest
from pathlib import Path

import pytest
from cyclopts import CycloptsError
from helpers.tiny import parse

from spiking_yolo.cli import COMMANDS, program

ROOT = Path(__file__).parents[2]
MARKDOWN = "*.md", "docs/**/*.md", "weights/*.md", "data/README.md"
PAGES = sorted(path for pattern in MARKDOWN for path in ROOT.glob(pattern))
SOURCES = [*ROOT.glob("spiking_yolo/**/*.py"), *ROOT.glob("tools/*.py"), *ROOT.glob("docs/*.py")]
# Not ours to parse.
OTHER_PROGRAMS = "bash cd curl docker git mkdir mkdocs pip pre-commit printf pyright pytest python3.11 ruff twine unzip wget yolo"
OTHER_LIBRARIES = ("norse", "snntorch", "spikingjelly")
VERBS = {
    "eval_coco": ["eval", "--metric", "coco"],
    "eval_voc": ["eval", "--metric", "voc"],
    "eval_classify": ["eval", "--metric", "accuracy"],
    "eval_video": ["eval"],
}
PLACEHOLDERS = {"METHOD": "msat", "KEY=VALUE": "neuron.gamma=4"}
NUMBER = r"\d+(?:\.\d+)?"


@dataclass(frozen=True)
class Block:
    """A fenced block; line: of its first line, from 1. output: the text block behind it, None
    without one.
    """

    page: Path
    line: int
    language: str
    text: str
    output: str | None

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks(page: Path) -> list[Block]:
    text = page.read_text()
    fences = list(re.finditer(r"^```(\w*)\n(.*?)^```$", text, re.M | re.S))
    result = []
    for fence, behind in zip_longest(fences, fences[1:]):
        shown = behind and behind[1] == "text" and not text[fence.end() : behind.start()].strip()
        line = text.count("\n", 0, fence.start(2)) + 1
        result.append(Block(page, line, fence[1], fence[2], behind[2] if shown else None))
    return result


def missing_library(text: str) -> bool:
    """Whether Python code imports another library that is not installed."""
    imported = set(re.findall(r"^(?:import|from) (\w+)", text, re.M))
    return any(name in imported and find_spec(name) is None for name in OTHER_LIBRARIES)


def matches(shown: str, printed: str) -> bool:
    """Whether `printed` is what the documentation shows, as the rule above has it."""
    pattern, numbers = "", []
    for piece in re.split(rf"(\.\.\.|{NUMBER})", shown.strip()):
        if re.fullmatch(NUMBER, piece):
            numbers.append(piece)
            pattern += f"({NUMBER})"
        else:
            pattern += ".*" if piece == "..." else re.escape(piece)
    match = re.fullmatch(pattern, printed.strip())
    if match is None:
        return False
    places = [len(number.partition(".")[2]) for number in numbers]
    return all(
        abs(float(a) - float(b)) <= (1.001 * 10**-n if n else 0)
        for a, b, n in zip(numbers, match.groups(), places, strict=True)
    )


def commands(text: str) -> Iterator[list[str]]:
    """The simple commands of a shell text, as words: variables of the text itself put in, comments
    left out.
    """
    variables: dict[str, str] = {}
    for line in text.replace("\\\n", " ").splitlines():
        if assignment := re.fullmatch(r'\s*(\w+)="(.*)"\s*', line):
            variables[assignment[1]] = string.Template(assignment[2]).safe_substitute(variables)
            continue
        words = shlex.split(string.Template(line).safe_substitute(variables), comments=True)
        while words:
            end = words.index("&&") if "&&" in words else len(words)
            yield words[:end]
            words = words[end + 1 :]


def own(command: list[str]) -> list[str] | None:
    """["detect", "image.jpg", ...] for a command of this project, however it is started; None for
    another program.
    """
    words = [PLACEHOLDERS.get(word, word) for word in command if word != "..."]
    if words[0] == "spiking-yolo":
        return words[1:]
    program = words[0].removeprefix(".venv/bin/")
    if program in ("python", "torchrun"):
        tool = next((i for i, word in enumerate(words) if word.startswith("tools/")), None)
        if tool is not None:
            assert (ROOT / words[tool]).is_file(), f"{words[tool]} does not exist"
            name = Path(words[tool]).stem
            return [*VERBS.get(name, [name]), *words[tool + 1 :]]
        if words[1].startswith(("docs/", "examples/")):
            assert (ROOT / words[1]).is_file(), f"{words[1]} does not exist"
            return None
        scripts = {f"tests.{path.stem}" for path in ROOT.glob("tests/*.py")}
        known = {"build", "pytest", "http.server"} | scripts
        assert words[1] == "-m" and words[2] in known, f"unknown command: {shlex.join(words)}"
        return None
    assert program in OTHER_PROGRAMS.split(), f"unknown program: {shlex.join(words)}"
    return None


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the relative paths of the documentation exist, and whose `runs/` may be
    written to.
    """
    folder = tmp_path_factory.mktemp("checkout")
    for name in ("data", "weights"):
        (folder / name).symlink_to(ROOT / name)
    return folder


ALL = [block for page in PAGES for block in blocks(page)]
INLINE = [
    (page, code)
    for page in PAGES
    for code in re.findall(
        r"`((?:python tools/|spiking-yolo |torchrun )[^`]+)`", re.sub(r"\s+", " ", page.read_text())
    )
]
PYTHON_PAGES = sorted({block.page for block in ALL if block.language == "python"})
# Pages whose Python takes more than a few seconds.
LONG = {"CONTRIBUTING.md", "export.md", "tutorial.md"}


def test_every_block_says_its_language():
    unknown = [
        str(block) for block in ALL if block.language not in ("python", "bash", "text", "toml")
    ]
    assert not unknown, f"blocks of no known language are not tested: {unknown}"


@pytest.mark.parametrize(
    "page",
    [pytest.param(p, marks=pytest.mark.slow if p.name in LONG else ()) for p in PYTHON_PAGES],
    ids=lambda page: page.name,
)
def test_python_runs_and_prints_what_the_page_shows(page, checkout, monkeypatch):
    monkeypatch.chdir(checkout)
    names = {"__name__": "__main__"}
    for block in blocks(page):
        if block.language != "python" or missing_library(block.text):
            continue
        with redirect_stdout(StringIO()) as out:
            exec(compile("\n" * (block.line - 1) + block.text, str(page), "exec"), names)
        if block.output is not None:
            assert matches(block.output, out.getvalue()), f"{block} prints\n{out.getvalue()}"


def test_commands_parse():
    app = program()
    arguments = [app[name].assemble_argument_collection(parse_docstring=True) for name in COMMANDS]
    known = {name for some in arguments for argument in some for name in argument.names}
    for block in ALL:
        if block.language != "bash":
            continue
        for command in commands(block.text):
            if (argv := own(command)) is not None:
                parse(argv)
        for comment in re.findall(r"#(.*)", block.text):
            unknown = set(re.findall(r"(?<![\w-])--[a-z][\w-]*", comment)) - known
            assert not unknown, f"{block}: {unknown}"


def test_commands_of_docstrings_parse():
    lines = re.compile(r"^ +((?:spiking-yolo|torchrun|python tools/).*[^.])$", re.M)
    found = [line for path in SOURCES for line in lines.findall(path.read_text())]
    assert len(found) > 30
    for line in found:
        for command in commands(line):
            argv = own(command)
            assert argv, line
            parse(argv)


def test_commands_in_a_sentence_parse():
    for page, code in INLINE:
        for command in commands(code):
            argv = own(command)
            if argv and not argv[0].startswith("--"):
                try:
                    parse(argv)
                except (
                    CycloptsError
                ) as error:  # a sentence names a command without all that it needs
                    said = str(error)
                    assert "requires an argument" in said or "is missing" in said, f"{page}: {code}"


@pytest.mark.slow
@pytest.mark.parametrize(
    "block", [b for b in ALL if b.language == "bash" and b.output is not None], ids=str
)
def test_commands_print_what_the_page_shows(block, checkout):
    printed = ""
    for command in commands(block.text):
        if argv := own(command):
            call = [sys.executable, str(ROOT / "tools" / f"{argv[0]}.py"), *argv[1:]]
            run = subprocess.run(call, cwd=checkout, capture_output=True, text=True)
            assert run.returncode == 0, run.stderr
            printed += run.stdout
    assert matches(block.output, printed), f"{block} prints\n{printed}"


def test_links_and_names_of_files_lead_somewhere():
    for page in PAGES:
        text = page.read_text()
        links = {link.partition("#")[0] for link in re.findall(r"\]\((?!\w+://)([^)\s]+)\)", text)}
        missing = [link for link in links if link and not (page.parent / link).exists()]
        for name in re.findall(r"`((?:\w+/)*\w+\.py)`", text):
            if not any((ROOT / folder / name).exists() for folder in ("", "spiking_yolo", "tests")):
                missing.append(name)
        assert not missing, f"{page.name} names files that do not exist: {missing}"
    names = re.compile(r"(?<![\w/.-])((?:docs|tools)/[\w./-]*\w|[A-Z]+\.md)\b")
    for path in (*SOURCES, *ROOT.glob("tests/**/*.py")):
        missing = [name for name in names.findall(path.read_text()) if not (ROOT / name).exists()]
        assert not missing, f"{path.relative_to(ROOT)} names files that do not exist: {missing}"


def test_what_counts_as_the_same_output():
    for shown, printed, same in (
        ("car 0.66, ...; T=16", "car 0.66, dog 0.57; T=16", True),
        ("car 0.66", "car 0.67", True),
        ("car 0.66", "car 0.68", False),
        ("4 boxes", "5 boxes", False),
        ("a ... b", "a\nb", False),
    ):
        assert matches(shown, printed) is same
