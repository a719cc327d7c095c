"""A detector small enough to run every tool on it in milliseconds, and the tools called in this
process.
"""

import runpy
import sys
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import torch
from PIL import Image

from helpers.calibrating import calibrate_on
from helpers.darknet_files import write_weights
from spiking_yolo.cli import call, program, with_values
from spiking_yolo.models.darknet import DarknetNet, parse_cfg
from spiking_yolo.result import Result

ROOT = Path(__file__).parents[2]
NAMES = ("cat", "dog", "bird")
SIZE = 64
_CONV = (
    "[convolutional]\nbatch_normalize=1\nfilters={}\nsize=3\nstride=1\npad=1\nactivation=leaky\n"
)
_POOL = "[maxpool]\nsize=2\nstride=2\n"
YOLO = (
    f"[net]\nwidth={SIZE}\nheight={SIZE}\nchannels=3\n{_CONV.format(4)}{_POOL}{_CONV.format(8)}{_POOL}"
    "[convolutional]\nfilters=16\nsize=1\nstride=1\nactivation=linear\n"
    "[yolo]\nmask=0,1\nclasses=3\nnum=2\nanchors=10,14,37,30\n"
)


def photo(path: Path, seed: int = 0, width: int = 80, height: int = 48) -> Path:
    """Save a photograph of smooth random blobs."""
    coarse = np.random.default_rng(seed).integers(0, 256, (5, 8, 3), np.uint8)
    Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC).save(path)
    return path


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


@cache
def tiny_files(cfg: str) -> dict[str, bytes]:
    """What `write_tiny` writes, by relative path; made once in a process, as it takes a while."""
    with TemporaryDirectory() as place:
        folder = Path(place)
        weights = folder / "tiny.weights"
        weights.with_suffix(".cfg").write_text(cfg)
        weights.with_suffix(".names").write_text("\n".join(NAMES))
        generator = torch.Generator().manual_seed(3)
        net = DarknetNet(parse_cfg(cfg)).to_empty(device="cpu")
        with torch.no_grad():
            for key, tensor in net.state_dict().items():
                if tensor.is_floating_point():
                    tensor.normal_(0, 0.5, generator=generator)
                    if key.endswith("running_var"):
                        tensor.abs_().add_(0.1)
        write_weights(net, weights)
        (folder / "photos").mkdir()
        photos = [photo(folder / f"photos/{stem}.png", seed) for seed, stem in enumerate("ab")]
        calibrate_on(weights, map(str, photos))
        return {name: (folder / name).read_bytes() for name in files(folder)}


def write_tiny(folder: Path, cfg: str = YOLO, calibrated: bool = True) -> Path:
    """folder/tiny.weights with its cfg and names, where it is calibrated with its statistics and
    calibration, and folder/photos/{a,b}.png.
    """
    (folder / "photos").mkdir(exist_ok=True)
    for path, content in tiny_files(cfg).items():
        if calibrated or not path.endswith(".safetensors"):
            (folder / path).write_bytes(content)
    return folder / "tiny.weights"


def assert_same(result: Result, expected: Result) -> None:
    """The same boxes, to the bit, at the same costs."""
    assert len(expected) > 0
    for name in ("xyxy", "conf", "cls"):
        assert torch.equal(getattr(result.boxes, name), getattr(expected.boxes, name)), name
    assert result.spikes_by_layer == expected.spikes_by_layer
    assert result.operations == expected.operations


def parse(argv: list[str]) -> Any:
    """The options of a command, which is not run. Those of every command, such as --plugin, may
    stand anywhere.
    """
    app, how = program(), {"exit_on_error": False, "print_error": False}
    _, whole, _ = app.meta.parse_args(argv, **how)
    _, bound, _ = app.parse_args(with_values(whole.args), **how)
    bound.apply_defaults()
    return bound.arguments["options"]


def run_tool(tool: str, *args: object) -> int:
    """Run a script of tools/, or a command that has no such file, with these arguments; returns its
    exit status.
    """
    path = ROOT / "tools" / f"{tool}.py"
    if not path.exists():
        return call([tool, *map(str, args)])
    with (
        patch.object(sys, "path", [str(path.parent), *sys.path]),
        patch.object(sys, "argv", [str(path), *map(str, args)]),
        pytest.raises(SystemExit) as exit,
    ):
        runpy.run_path(str(path), run_name="__main__")
    return exit.value.code  # type: ignore[return-value]


def files(folder: Path) -> set[str]:
    """Every file below it, by its relative path."""
    return {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}
