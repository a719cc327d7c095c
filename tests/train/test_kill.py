"""A training that is killed at any of its writes, or resumed with other options or from a damaged
state.
"""

import json
import resource
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from test_loop import CPU, ROOT, Settings, fit, task, tiny

from spiking_yolo.errors import UserError
from spiking_yolo.io.files import atomic_write

SETTINGS = Settings(epochs=2, lr=0.05)
OFTEN = replace(SETTINGS, save_every=0)
# Three per epoch, and one after each of its four steps but the last.
WRITES = {SETTINGS: 6, OFTEN: 12}
# Children of a process of one thread; each is killed before or after one of its renames.
SCRIPT = """
import os, signal, sys; sys.path[:0] = {paths!r}
from pathlib import Path
from test_kill import Settings, WRITES, trained
settings = {settings!r}
replace = os.replace
trained(Path({folder!r}) / "first")  # what is slow the first time
for kill in range(2 * WRITES[settings]):
    child = os.fork()
    if not child:
        left = kill // 2
        def killing(a, b):
            global left
            if left == 0 and kill % 2 == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            replace(a, b)
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            left -= 1
        os.replace = killing
        trained(Path({folder!r}) / str(kill), settings)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == signal.SIGKILL
"""


def trained(
    folder: Path, settings: Settings = SETTINGS, resume: bool = False
) -> tuple[dict[str, torch.Tensor], str]:
    """The weights and the figures that a training leaves in its folder."""
    torch.set_num_threads(1)

    def export(model: torch.nn.Module, rows: list[dict[str, float]]) -> None:
        with atomic_write(folder / "last.pt") as path:
            torch.save(model.state_dict(), path)

    fit(tiny(), task(settings.seed), settings, folder, CPU, resume, export)
    return torch.load(folder / "last.pt", weights_only=True), (folder / "results.csv").read_text()


@pytest.mark.parametrize(("settings", "first"), [(SETTINGS, 5), (OFTEN, 1)])
def test_killed_at_every_write_nothing_is_lost(
    tmp_path: Path, settings: Settings, first: int
) -> None:
    """first: the kill that leaves a state, which is the third rename, or the first one within the
    epoch.
    """
    paths = [str(ROOT), str(ROOT / "tests" / "train")]
    subprocess.run(
        [sys.executable, "-c", SCRIPT.format(paths=paths, folder=str(tmp_path), settings=settings)],
        check=True,
    )
    weights, figures = trained(tmp_path / "whole")
    for kill in range(2 * WRITES[settings]):
        folder = tmp_path / str(kill)
        state = (folder / "state.pt").is_file()
        assert state == (kill >= first)
        resumed, again = trained(folder, settings, resume=state)
        assert again == figures, kill
        torch.testing.assert_close(resumed, weights, rtol=0, atol=0)


@pytest.mark.parametrize(
    "option", [{"lr": 0.1}, {"seed": 1}, {"optimizer": "sgd"}, {"weight_decay": 0.0}]
)
def test_going_on_with_other_options_is_refused(
    tmp_path: Path, option: dict[str, float | str]
) -> None:
    trained(tmp_path)
    (name, value), *_ = option.items()
    flag = name.replace("_", "-")
    with pytest.raises(UserError, match=f"was trained with --{flag} .*, not {value}: go on with"):
        trained(tmp_path, Settings(**{**vars(SETTINGS), **option}), resume=True)


def test_a_finished_training_gets_its_network_back(tmp_path: Path) -> None:
    weights, _ = trained(tmp_path)
    (tmp_path / "last.pt").unlink()
    torch.testing.assert_close(trained(tmp_path, resume=True)[0], weights, rtol=0, atol=0)


@pytest.mark.parametrize("at", [0, 0.3, 0.6, 0.99])
def test_a_damaged_state_is_named(tmp_path: Path, at: float) -> None:
    trained(tmp_path)
    data = (tmp_path / "state.pt").read_bytes()
    for damaged in (data[: int(at * len(data))], json.dumps([at]).encode()):
        (tmp_path / "state.pt").write_bytes(damaged)
        with pytest.raises(
            UserError, match=r"state\.pt is damaged or of another version: train anew"
        ):
            trained(tmp_path, resume=True)


@pytest.mark.parametrize("lost", ["epoch", "loss"])
def test_rows_that_lack_a_figure_are_damage(tmp_path: Path, lost: str) -> None:
    trained(tmp_path)
    saved = torch.load(tmp_path / "state.pt")
    del saved["rows"][0][lost]
    torch.save(saved, tmp_path / "state.pt")
    with pytest.raises(UserError, match="is damaged or of another version"):
        trained(tmp_path, resume=True)


def test_no_planned_epochs_are_damage(tmp_path: Path) -> None:
    trained(tmp_path)
    saved = torch.load(tmp_path / "state.pt")
    torch.save({**saved, "epochs": 0}, tmp_path / "state.pt")
    with pytest.raises(UserError, match="is damaged or of another version"):
        trained(tmp_path, resume=True)


def test_a_full_disk_names_the_state_and_keeps_the_last(tmp_path: Path) -> None:
    """torch says it with a RuntimeError; here its archive may have half of its size."""
    trained(tmp_path, Settings(epochs=1, lr=0.05))
    before = (tmp_path / "state.pt").read_bytes()
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) // 2, limit[1]))
        with pytest.raises(UserError, match=r"cannot write .*state\.pt"):
            fit(tiny(), task(), Settings(epochs=1, lr=0.05), tmp_path, CPU)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
        signal.signal(signal.SIGXFSZ, ignored)
    assert (tmp_path / "state.pt").read_bytes() == before
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]
