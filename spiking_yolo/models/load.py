"""Load any weights file as an ANN: its graph, its Spec and its origin."""

import os
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from spiking_yolo.data.images import Resize
from spiking_yolo.errors import UserError
from spiking_yolo.graph import Graph
from spiking_yolo.graph.merge import with_merged_weights
from spiking_yolo.graph.rewrites import with_identities
from spiking_yolo.graph.trace import trace
from spiking_yolo.io.assets import command
from spiking_yolo.io.files import regular, sha256
from spiking_yolo.io.json import entry, json_text
from spiking_yolo.io.names import Size, input_size, reason, size_name
from spiking_yolo.io.tensors import check_finite, read_safetensors, write_safetensors
from spiking_yolo.models.classifiers import TORCHVISION, build, load_torchvision
from spiking_yolo.models.darknet_weights import load_darknet
from spiking_yolo.models.index import located
from spiking_yolo.models.onnx.network import load_onnx
from spiking_yolo.models.spec import Spec, check_network, check_spec
from spiking_yolo.models.ultralytics import open_isolated
from spiking_yolo.models.yolo_checkpoint import BRANCHES, read_checkpoint
from spiking_yolo.models.yolov1 import YOLOv1

FORMAT = "spiking_yolo-ann"


def build_model(arch: str, spec: Spec, options: Mapping[str, Any]) -> nn.Module:
    """A newly initialised network. Raises UserError for an unknown `arch` or option."""
    if arch != "yolov1":
        return build(arch, len(spec.names), **options)
    try:
        return YOLOv1(classes=len(spec.names), num=spec.heads[0].num, **options)
    except TypeError as e:
        raise UserError(f"cannot build yolov1: {e}; check the options") from e


def save_checkpoint(
    path: str | Path,
    model: nn.Module,
    arch: str,
    options: Mapping[str, Any],
    spec: Spec,
    provenance: Mapping[str, Any],
) -> None:
    """Write the weights of a network, whole or not at all.

    Args:
        path: A .safetensors file.
        model: What `build_model(arch, spec, options)` builds.
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
    write_safetensors(path, {k: _compact(v) for k, v in model.state_dict().items()}, metadata)


def load_checkpoint(path: str | Path) -> tuple[nn.Module, Spec, str]:
    """The network in eval mode with float32 weights, its Spec, and the file's SHA-256.

    Raises:
        UserError: The file is missing, damaged or not written by `save_checkpoint`.
    """
    digest = sha256(path)
    metadata, tensors = read_safetensors(path)
    if metadata.get("format", "").startswith("spiking_yolo-network"):
        raise UserError(f"{path} is already converted: give the original weights")
    if metadata.get("format") != FORMAT:
        raise UserError(f"{path} is no network of `{command('train')}`: pass a file that it wrote")
    try:
        spec = Spec.from_json(metadata["spec"])
        check_spec(spec)
        # So that it takes no more memory than its tensors, whatever the file says.
        with torch.device("meta"):
            model = build_model(metadata["arch"], spec, entry(metadata, "options", dict[str, Any]))
        model.load_state_dict(tensors, assign=True)
    except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as e:
        raise UserError(
            f"{path} does not describe a network ({reason(e)}): train or fetch it again"
        ) from e
    return model.float().eval(), spec, digest


def _compact(tensor: Tensor) -> Tensor:
    """Kernels as float16; vectors may hold values beyond its range."""
    if tensor.is_floating_point() and tensor.ndim > 1:
        return tensor.to("cpu", torch.float16)
    return tensor.cpu()


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
        images = ["--images", "DIR"]
        if self.spec.task == "classify":
            images = ["--data", "DATA"]
        words = ["--weights", str(self.weights), *self.options, *images]
        return f"{command('calibrate')} {shlex.join(words)}"


def load_ann(
    weights: str | Path,
    cfg: str | Path | None = None,
    names: str | Path | None = None,
    imgsz: int | Size | None = None,
    trust: bool = False,
    head: str | None = None,
    resize: str | None = None,
) -> Ann:
    """Load a network: darknet, a checkpoint of ours, YOLOv5, Ultralytics, torchvision, ONNX.

    Args:
        weights: A .weights, .safetensors, .pt or .onnx file, or a name of `list networks`.
        cfg: Cfg of a darknet network; or torchvision:NAME, for a state dict of that network.
        names: File of class names, by default beside the weights.
        imgsz: Input size in pixels, the side of a square or (height, width).
        trust: Let Ultralytics open a .pt that is not known here, which can run the file's code.
        head: "one2one" or "one2many", of a network that has both (YOLOv10, YOLO26); by default the
            first, whose boxes need no non-maximum suppression.
        resize: "stretch" or "letterbox", how images get the shape of a detector's input; by default
            as the file says.

    Raises:
        UserError: A file cannot be read, does not fit, or is not trusted.

    Example:
        >>> load_ann("yolov3-tiny").imgsz
        (416, 416)
    """
    path = located(weights)
    kind = "torchvision"
    if not str(cfg).startswith(TORCHVISION):
        kind = file_kind(path)
    options: list[str] = []
    for name, value in (("--cfg", cfg), ("--names", names)):
        if value is not None:
            options += [name, str(value)]
    if kind in ("safetensors", "pickle") and options:
        raise UserError(
            f"{path} holds its own layers and class names: leave out {' and '.join(options[::2])}"
        )
    if kind == "onnx" and cfg is not None:
        raise UserError(f"{path} holds its own layers: leave out --cfg")
    size: Size | None = None
    if imgsz is not None:
        size = input_size(imgsz)
        options += ["--imgsz", size_name(size)]
    if head is not None:
        if head not in BRANCHES:
            raise UserError(f"head must be one of {', '.join(BRANCHES)}, not {head!r}")
        if kind != "pickle":
            raise UserError(f"{path} has one head alone: leave out --head")
        options += ["--head", head]
    if resize is not None:
        options += ["--resize", resize]
    if kind in ("pickle", "onnx"):
        if kind == "onnx":
            graph, spec = load_onnx(path, names, size)
        else:
            try:
                graph, spec = read_checkpoint(path, head, size is not None)
            except UserError:
                if not trust:
                    raise
                graph, spec = open_isolated(path, head)
                options.append("--trust-weights")
        spec = _resized(spec, size, resize)
        digest = sha256(path)
    else:
        if kind == "torchvision":
            model, spec, digest = load_torchvision(path, str(cfg), names)
        elif kind == "safetensors":
            model, spec, digest = load_checkpoint(path)
        else:
            model, spec, digest = load_darknet(path, cfg, names)
        spec = _resized(spec, size, resize)
        graph = trace(model, torch.zeros(1, 3, spec.height, spec.width))
    check_finite(graph.tensors, path)
    # Nodes that no output depends on have no statistics that could determine their thresholds.
    graph = graph.up_to(*graph.outputs)
    try:
        check_network(graph, spec)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    graph = with_identities(with_merged_weights(graph, (spec.height, spec.width)))
    return Ann(graph, spec, path, digest, tuple(options))


# Bytes at the start of a file that tell what it is.
HEAD = 256
# Ends of the names of exports that cannot be converted, files and folders.
EXPORTS = (
    *(".tflite", ".pb", "_saved_model", "_web_model", ".h5", ".hdf5", ".keras", ".mlmodel"),
    *(".mlpackage", ".engine", ".plan", ".trt", ".xml", "_openvino_model", ".param", "_ncnn_model"),
    *(".pdmodel", ".pdiparams", "_paddle_model", ".mnn", ".rknn", ".pte", ".torchscript", ".pt2"),
)


def file_kind(path: Path) -> str:
    """ "safetensors", "pickle", "onnx" or "darknet", by the first bytes of a file.

    Raises:
        UserError: There is no file, it cannot be read, or it is another export.
    """
    if os.path.isdir(path):
        refuse_export(path, b"")
    try:
        with open(regular(path), "rb") as file:
            head = file.read(HEAD)
            size = file.seek(0, os.SEEK_END)
    except OSError as error:
        raise UserError(
            f"cannot read the weights {path}: {error.strerror}; check the path"
        ) from error
    # safetensors: the length of the JSON header, then the header.
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") < size:
        return "safetensors"
    refuse_export(path, head)
    if is_onnx(path, head):
        return "onnx"
    if head.startswith((b"PK", b"\x80")) or path.suffix in (".pt", ".pth"):
        return "pickle"
    if path.suffix == ".safetensors":
        return "safetensors"
    return "darknet"


def refuse_export(path: Path, head: bytes) -> None:
    """Raise UserError for a file that is something else than the weights that it was meant to be.

    Args:
        path: A file, or a folder as some exports are.
        head: The first HEAD bytes of the file.
    """
    if head.startswith(b"version https://git-lfs.github.com/"):
        raise UserError(
            f"cannot open {path}: it is a pointer of Git LFS to the file: run `git lfs pull` in its"
            " repository, or download the file itself"
        )
    if re.match(rb"\s*<(!doctype )?html", head, re.IGNORECASE):
        raise UserError(f"cannot open {path}: it is a web page: download the file itself")
    # TFLite is also found under the name of the checkpoint that it was made from.
    if path.name.lower().endswith(EXPORTS) or head[4:8] == b"TFL3":
        raise UserError(
            f"cannot open {path}: exports of this format cannot be converted, only .onnx: give that"
            " or the .pt that it was made from"
        )


def is_onnx(path: Path, head: bytes) -> bool:
    """Whether a file is an ONNX model: by its content, or else by its name.

    Args:
        path: The file.
        head: Its first HEAD bytes.
    """
    # Protocol buffers: the version, then the producer's name or the graph.
    if re.match(rb"\x08[\x03-\x20](\x12[\x01-\x7f][ -~]|:)", head):
        return True
    return path.suffix.lower() == ".onnx" and not head.startswith((b"PK", b"\x80"))


def _resized(spec: Spec, size: Size | None, resize: str | None) -> Spec:
    """The Spec at another input size, or with images resized otherwise.

    Raises:
        UserError: The network has a fixed size, or is a classifier, which crops images.
    """
    if resize is not None:
        spec = replace(spec, resize=_resize(spec, resize))
    if size is None:
        return spec
    fixed = spec.height, spec.width
    if any(head.side for head in spec.heads) and size != fixed:
        raise UserError(
            f"this network has a connected head and takes {size_name(fixed)} pixels only: leave"
            " --imgsz out"
        )
    if size[0] % spec.stride or size[1] % spec.stride:
        raise UserError(
            f"each side of this network's input must be a multiple of {spec.stride} pixels, not"
            f" {size_name(size)}: give another --imgsz"
        )
    return replace(spec, height=size[0], width=size[1])


def _resize(spec: Spec, name: str) -> Resize:
    if spec.task != "detect":
        raise UserError("this network is a classifier, which has its own way: leave --resize out")
    if name == "stretch":
        return "stretch"
    if name != "letterbox":
        raise UserError(f"resize must be stretch or letterbox, not {name!r}")
    # Each family has a grey of its own.
    if spec.resize.startswith(("letterbox", "corner")):
        return spec.resize
    return "letterbox"
