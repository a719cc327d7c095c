"""Any weights file -> an ANN's graph, or a network that is converted already."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..errors import UserError
from ..graph import Graph
from ..models.load_darknet import load_darknet
from ..models.load_torchvision import TORCHVISION, load_torchvision
from ..models.spec import Spec
from ..recipe import Recipe
from ..sizes import Size, input_size, size_name
from ..tensors import check_finite, read_safetensors
from . import converter
from .converter import Converted
from .observe import Statistics, statistics_path
from .registry import DEFAULT, get_recipe
from .state import State, state_path
from .trace import trace


@dataclass(frozen=True)
class Ann:
    """A network to convert: its graph, its contract, and the file that it came from.

    options: what a command line needs besides --weights to read that file again.
    """

    graph: Graph
    spec: Spec
    weights: Path
    sha256: str
    options: tuple[str, ...] = ()

    @property
    def imgsz(self) -> Size:
        return self.spec.height, self.spec.width

    @property
    def _calibrate(self) -> str:
        command = ["python", "tools/calibrate.py", "--weights", str(self.weights), *self.options]
        images = ["--data", "DATA"] if self.spec.task == "classify" else ["--images", "DIR"]
        return shlex.join([*command, *images])

    def convert(self, recipe: Recipe, statistics: str | Path | None = None) -> Converted:
        """The spiking network by a recipe, from the files beside the weights (or the given statistics)."""
        sites = self.state(recipe).sites if recipe.runs_network else None
        origin = {"weights": self.weights.name}
        return converter.convert(self.graph, self.spec, self.statistics(statistics), recipe, origin, sites)

    def state(self, recipe: Recipe) -> State:
        """What the recipe learned by running this network, from the file beside the weights."""
        path = state_path(self.weights, self.imgsz, recipe)
        if path.is_file() and (state := State.load(path)).fits(recipe, self.sha256, self.imgsz):
            return state
        what = "is of other settings, weights or size" if path.is_file() else "does not exist"
        raise UserError(
            f"method {recipe.name} runs the network to calibrate, and its result {path} {what}: make it with "
            f"{self._calibrate} --method {recipe.name} [--set ...]"
        )

    def statistics(self, path: str | Path | None = None) -> Statistics:
        """The statistics that belong to this network: those beside its weights, or the given file."""
        size = self.imgsz
        path = Path(path) if path else statistics_path(self.weights, size)
        if not path.is_file():
            raise UserError(f"no activation statistics at {path}: make them with {self._calibrate}")
        statistics = Statistics.load(path)
        statistics.check(self.sha256, size, self.graph)
        return statistics


def load_ann(
    weights: str | Path,
    cfg: str | Path | None = None,
    names: str | Path | None = None,
    imgsz: int | Size | None = None,
    trust: bool = False,
) -> Ann:
    """Read a .weights file of darknet, a .safetensors of ours or a .pt of Ultralytics, and trace it.

    cfg: of darknet, or torchvision:NAME for a state dict of that network, which is read without running any code.
    A .pt is a pickle, which can run code when it is opened: it is refused unless `trust` says that its source is
    trusted. imgsz: side of a square input, or (height, width), in pixels.
    """
    path = Path(weights)
    size = None if imgsz is None else input_size(imgsz)
    kind = "torchvision" if str(cfg).startswith(TORCHVISION) else file_kind(path)
    given = {f"--{name}": str(value) for name, value in {"cfg": cfg, "names": names}.items() if value is not None}
    options = [part for pair in given.items() for part in pair]
    if size is not None:
        options += ["--imgsz", size_name(size)]
    if kind in ("safetensors", "pickle") and given:
        raise UserError(f"{path} holds its own layers and class names: leave out {' and '.join(given)}")
    if kind == "pickle":
        graph, spec, digest = _trusted(path, trust)
        spec = _resized(spec, size)
        options.append("--trust-weights")
    else:
        if kind == "torchvision":
            model, spec, digest = load_torchvision(path, str(cfg), names)
        else:
            model, spec, digest = _load_checkpoint(path) if kind == "safetensors" else load_darknet(path, cfg, names)
        spec = _resized(spec, size)
        graph = trace(model, torch.zeros(1, 3, spec.height, spec.width))
    check_finite(graph.tensors, path)
    return Ann(graph, spec, path, digest, tuple(options))


def _load_checkpoint(path: Path) -> tuple[nn.Module, Spec, str]:
    from ..models.checkpoint import load_checkpoint

    if _is_converted(path):
        raise UserError(f"{path} is already converted: give the original weights")
    return load_checkpoint(path)


def _trusted(path: Path, trust: bool) -> tuple[Graph, Spec, str]:
    from .apart import open_apart

    if not trust:
        raise UserError(
            f"{path} is a pickle (PyTorch checkpoint): opening it can run any code that someone hid in it. If you "
            "trust its source, add --trust-weights (in Python trust=True), and Ultralytics opens it; else give a "
            "darknet .weights or a .safetensors file"
        )
    return open_apart(path)


def load(
    weights: str | Path,
    method: str | Path | None = None,
    settings: Mapping[str, Any] | None = None,
    *,
    cfg: str | Path | None = None,
    names: str | Path | None = None,
    imgsz: int | Size | None = None,
    statistics: str | Path | None = None,
    trust: bool = False,
) -> Converted:
    """The converted network of a weights file: converted by the method, or as saved by tools/convert.py.

    imgsz, trust: see load_ann.
    """
    path = Path(weights)
    if _is_converted(path):
        network = Converted.load(path)
        size = size_name((network.spec.height, network.spec.width))
        options = {"method": method, "set": settings or None, "imgsz": imgsz}
        options |= {"cfg": cfg, "names": names, "statistics": statistics}
        if given := [f"--{name}" for name, value in options.items() if value is not None]:
            raise UserError(
                f"{path} is already converted (method {network.recipe.name}, {size} pixels): leave out "
                f"{' and '.join(given)}, or convert the original weights again"
            )
        return network
    recipe = get_recipe(method or DEFAULT).with_settings(settings or {})
    return load_ann(path, cfg, names, imgsz, trust).convert(recipe, statistics)


def file_kind(path: Path) -> str:
    """ "safetensors", "pickle" or "darknet", by the first bytes. Raises UserError for what is not a file."""
    try:
        with open(path, "rb") as file:
            head = file.read(9)
            size = file.seek(0, os.SEEK_END)
    except OSError as error:
        raise UserError(f"cannot read the weights {path}: {error.strerror}; check the path") from error
    if head[8:] == b"{" and int.from_bytes(head[:8], "little") < size:  # length of the JSON header, then the header
        return "safetensors"
    if head.startswith((b"PK", b"\x80")) or path.suffix in (".pt", ".pth"):
        return "pickle"
    return "safetensors" if path.suffix == ".safetensors" else "darknet"


def _is_converted(path: Path) -> bool:
    return file_kind(path) == "safetensors" and read_safetensors(path)[0].get("format") == converter.FORMAT


def _resized(spec: Spec, size: Size | None) -> Spec:
    """The spec at another input size."""
    own = spec.height, spec.width
    if size is None:
        return spec
    if any(head.side for head in spec.heads) and size != own:
        raise UserError(f"this network has a connected head and takes {size_name(own)} pixels only: leave --imgsz out")
    return replace(spec, height=size[0], width=size[1])
