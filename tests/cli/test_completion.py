"""The Tab key: the script of `completion`, run by bash with the words that were typed so far."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.tiny import ROOT

from spiking_yolo.cli.main import call

BASH = shutil.which("bash")
pytestmark = pytest.mark.skipif(BASH is None, reason="needs bash")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With the command, its script, and two photographs."""
    folder = tmp_path_factory.mktemp("shell")
    program = folder / "spiking-yolo"
    start = f'PYTHONPATH="{ROOT}" exec "{sys.executable}" -m spiking_yolo.cli "$@"'
    program.write_text(f"#!/bin/sh\n{start}\n")
    program.chmod(0o755)
    script = subprocess.run([program, "completion", "bash"], capture_output=True, text=True)
    assert script.returncode == 0 and not script.stderr
    (folder / "script").write_text(script.stdout)
    for name in ("dog.jpg", "door.jpg"):
        (folder / name).touch()
    return folder


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["de"], {"detect", "demo"}),
        (["detect", "--save-"], {"--save-txt", "--save-conf", "--save-json", "--save-mot"}),
        (["detect", "--precision", ""], {"float32", "bf16"}),
        (["detect", "--method", "msat"], {"msat", "msat-tuned", "msat-plus"}),
        (["methods", "msat-"], {"msat-tuned", "msat-plus"}),
        (["detect", "do"], {"dog.jpg", "door.jpg"}),
        # A flag takes no value.
        (["detect", "--overlay", "dog.jpg", "doo"], {"door.jpg"}),
        (["completion", "z"], {"zsh"}),
    ],
)
def test_tab(folder: Path, words: list[str], expected: set[str]):
    lines = f"""
PATH="{folder}:$PATH"; source script; COMP_WORDS=(spiking-yolo {" ".join(words[:-1])} "{words[-1]}")
COMP_CWORD={len(words)}; _spiking_yolo; printf '%s\\n' "${{COMPREPLY[@]}}"
"""
    done = subprocess.run([BASH, "-c", lines], cwd=folder, capture_output=True, text=True)
    assert set(done.stdout.split()) >= expected and done.stderr == ""
    assert all(word.startswith(words[-1]) for word in done.stdout.split())


def test_install_and_a_shell_that_is_not_known(folder, capsys, monkeypatch):
    monkeypatch.setenv("HOME", str(folder))
    assert call(["completion", "fish", "--install"]) == 0
    path = capsys.readouterr().out.partition(" ")[0]
    assert (
        Path(path).is_relative_to(folder) and "complete -c spiking-yolo" in Path(path).read_text()
    )
    # cyclopts checks by pydantic where another test has imported it, and says so at length.
    monkeypatch.delitem(sys.modules, "pydantic", raising=False)
    assert call(["completion", "tcsh"]) == 2
    assert "shell must be one of " in capsys.readouterr().err
