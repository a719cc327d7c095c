"""Load any weights file as an ANN: its graph, its Spec and its origin."""

import os
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from spiking_yolo.errors import UserError
from spiking_yolo.graph import Graph, own_dtypes
from spiking_yolo.graph.rewrites import with_identities, with_merged_weights
from spiking_yolo.graph.trace import trace
from spiking_yolo.io.files import command, regular, sha256
from spiking_yolo.io.tensors import check_finite, read_safetensors, write_safetensors
from spiking_yolo.io.text import Size, entry, input_size, json_text, reason, size_name
from spiking_yolo.models.darknet import load_darknet
from spiking_yolo.models.index import located
from spiking_yolo.models.onnx.network import load_onnx
from spiking_yolo.models.spec import Spec, check_network, check_spec
from spiking_yolo.models.trainable import build
from spiking_yolo.models.yolo_checkpoint import read_checkpoint

FORMAT = "spiking_yolo-ann"
Facts = Mapping[str, Any]


def save_checkpoint(
    path: str | Path, model: nn.Module, arch: str, options: Facts, spec: Spec, provenance: Facts
) -> None:
    """Write the weights of a network, whole or not at all.

    Args:
        path: A .safetensors file.
        model: What `build(arch, classes, **options)` builds.
        arch: Name of the architecture.
        options: Its options.
        spec: Its interface.
        provenance: Facts about the training that can be written as JSON.
    """
    metadata = {
        "format": FORMAT,
        "arch": arch,
        "options": json_text(dict(options)),
        "spec": spec.to_json(),
        "provenance": json_text(dict(provenance)),
    }
    tensors: dict[str, Tensor] = {}
    for name, value in model.state_dict().items():
        # Vectors may hold values beyond the range of float16, kernels do not.
        kernel = value.is_floating_point() and value.ndim > 1
        tensors[name] = value.half() if kernel else value
    write_safetensors(path, tensors, metadata)


def load_checkpoint(path: str | Path) -> tuple[nn.Module, Spec]:
    """The network in eval mode with float32 weights, and its Spec.

    Raises:
        UserError: The file is missing, damaged or not written by `save_checkpoint`.
    """
    metadata, tensors = read_safetensors(path)
    if metadata.get("format", "").startswith("spiking_yolo-network"):
        raise UserError(f"{path} is already converted: give the original weights")
    if metadata.get("format") != FORMAT:
        raise UserError(f"{path} is no network of `{command('train')}`: pass a file that it wrote")
    try:
        spec = Spec.from_json(metadata["spec"])
        check_spec(spec)
        # On the meta device a network takes no memory, whatever the file says.
        with torch.device("meta"):
            options = entry(metadata, "options", dict[str, Any])
            model = build(metadata["arch"], len(spec.names), **options)
        model.load_state_dict(tensors, assign=True)
    except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as e:
        raise UserError(f"{path} describes no network ({reason(e)}): train or fetch it") from e
    return model.float().eval(), spec


@dataclass(frozen=True)
class Ann:
    """A network to convert: its graph, its interface and the file it came from.

    Attributes:
        graph: The traced network.
        spec: How images enter it and what its outputs mean.
        weights: The file.
        sha256: SHA-256 of the file.
        options: What a command line needs besides --weights to load that file again.
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
    def calibrate_command(self) -> str:
        """The command line that takes this network's activation statistics."""
        words = ["--weights", str(self.weights), *self.options, "--images", "DIR"]
        return f"{command('calibrate')} {shlex.join(words)}"


@own_dtypes()
def load_ann(
    weights: str | Path,
    cfg: str | Path | None = None,
    names: str | Path | None = None,
    imgsz: int | Size | None = None,
) -> Ann:
    """Load a network: darknet, a checkpoint of ours, YOLOv5, Ultralytics, ONNX.

    Args:
        weights: A .weights, .safetensors, .pt or .onnx file, or a name of `list networks`.
        cfg: Cfg of a darknet network, by default beside the weights.
        names: File of class names, by default beside the weights.
        imgsz: Input size in pixels, the side of a square or (height, width).

    Raises:
        UserError: A file cannot be read, or does not fit.

    Example:
        >>> load_ann("yolov3-tiny").imgsz
        (416, 416)
    """
    path = located(weights)
    kind = file_kind(path)
    size = None
    if imgsz is not None:
        size = input_size(imgsz)
    options: list[str] = []
    for name, value in (("--cfg", cfg), ("--names", names), ("--imgsz", size and size_name(size))):
        if value is not None:
            options += [name, str(value)]
    if (cfg and kind != "darknet") or (names and kind in OWN_NAMES):
        raise UserError(f"{path} holds its own layers or names: leave out {options[0]}")
    match kind:
        case "onnx":
            network, spec = load_onnx(path, names, size)
        case "pickle":
            network, spec = read_checkpoint(path, size is not None)
        case "safetensors":
            network, spec = load_checkpoint(path)
        case _:
            network, spec = load_darknet(path, cfg, names)
    if size is not None:
        if any(head.side for head in spec.heads) and size != (spec.height, spec.width):
            raise UserError("this network has a connected head and one size: leave --imgsz out")
        if size[0] % spec.stride or size[1] % spec.stride:
            raise UserError(f"--imgsz {size_name(size)} must be multiples of {spec.stride} pixels")
        spec = replace(spec, height=size[0], width=size[1])
    if isinstance(network, Graph):
        graph = network
    else:
        graph = trace(network, torch.zeros(1, 3, spec.height, spec.width))
    check_finite(graph.tensors, path)
    # Nodes that no output depends on have no statistics that could determine their thresholds.
    graph = graph.up_to(*graph.outputs)
    try:
        sizes = check_network(graph, spec)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    graph = with_identities(with_merged_weights(graph, sizes))
    return Ann(graph, spec, path, sha256(path), tuple(options))


# The beginning of a pointer, which stands in place of a file that Git LFS has not fetched yet.
LFS = b"version https://git-lfs"
# Suffix -> what a file is.
KINDS = {".weights": "darknet", ".safetensors": "safetensors", ".pt": "pickle", ".onnx": "onnx"}
# Files of these kinds hold the names of the classes.
OWN_NAMES = ("safetensors", "pickle")


def file_kind(path: Path) -> str:
    """ "safetensors", "pickle", "onnx" or "darknet", by the suffix.

    Raises:
        UserError: There is no such file, or it has another suffix.
    """
    if not os.path.isfile(regular(path)):
        raise UserError(f"cannot read the weights {path}: there is no such file; check the path")
    kind = KINDS.get(path.suffix.lower())
    if kind is None:
        raise UserError(f"{path} cannot be opened: give a file that ends in {', '.join(KINDS)}")
    with path.open("rb") as file:
        if file.read(len(LFS)) == LFS:
            raise UserError(f"{path} is a Git LFS pointer, not the file: `git lfs pull` fetches it")
    return kind
