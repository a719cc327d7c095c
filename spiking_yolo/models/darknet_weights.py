"""The darknet .weights binary format: a header, then little-endian float32 arrays in cfg order."""

import dataclasses
import struct
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from spiking_yolo.errors import Notice, UserError
from spiking_yolo.io.assets import YOLOV3_TINY, shipped
from spiking_yolo.io.files import regular, sha256
from spiking_yolo.models.darknet_cfg import Section, head_spec, read_cfg
from spiking_yolo.models.darknet_network import DarknetNet
from spiking_yolo.models.spec import Spec, class_names

CFG_FOLDER = Path(__file__).parent / "cfg"
WEIGHTS_FOLDER = shipped("weights")
# The same files under other public names.
SAME_CFG = {"tiny-yolov1": "yolov1-tiny", "tiny-yolo-voc": "yolov2-tiny-voc"}
NAMES_FILES = {80: "coco.names", 20: "voc.names"}


def arrays(net: DarknetNet) -> list[Tensor]:
    """The arrays of the network's file, in file order: float32 that `read_weights` fills.

    Batch norm precedes a convolution's weights and follows a connected layer's.
    """
    result: list[Tensor] = []
    for layer in net.layers:
        parts: dict[str, Any] = dict(layer.named_children())
        weighted = parts.get("conv", parts.get("linear"))
        if weighted is None:
            continue
        bias, norm = weighted.bias, list[Tensor]()
        if bn := parts.get("bn"):
            bias, norm = bn.bias, [bn.weight, bn.running_mean, bn.running_var]
        result.append(bias)
        if "conv" in parts:
            result += [*norm, weighted.weight]
        else:
            result += [weighted.weight, *norm]
    return [tensor.detach() for tensor in result]


def count_floats(net: DarknetNet) -> int:
    """Number of float32 values in this network's file."""
    return sum([tensor.numel() for tensor in arrays(net)])


def read_weights(net: DarknetNet, path: str | Path) -> None:
    """Fill a network on the meta device with the parameters and statistics of a file.

    Raises:
        UserError: The file is not darknet's, or of another length than the cfg needs.
    """
    try:
        content = regular(path).read_bytes()
    except OSError as e:
        raise UserError(f"cannot read {path}: {e.strerror}; check the path") from e
    major, minor = struct.unpack_from("<2i", content.ljust(8, b"\0"))
    # Version, then the number of training images in 4 or, from 0.2 on, 8 bytes.
    header = 20 if major * 10 + minor >= 2 else 16
    needed = header + 4 * count_floats(net)
    if len(content) != needed or not 0 <= max(major, minor) < 1000:
        raise UserError(
            f"{path} has {len(content)} bytes, but the cfg needs {needed}: use the cfg that belongs"
            " to this file, or download it again"
        )
    net.to_empty(device="cpu")
    values = torch.from_numpy(np.frombuffer(content, "<f4", offset=header).astype(np.float32))
    offset = 0
    for tensor in arrays(net):
        tensor.copy_(values[offset : offset + tensor.numel()].view(tensor.shape))
        offset += tensor.numel()


def load_darknet(
    weights: str | Path, cfg: str | Path | None = None, names: str | Path | None = None
) -> tuple[DarknetNet, Spec]:
    """Open a darknet network.

    Args:
        weights: The .weights file.
        cfg: By default <stem>.cfg beside the weights, in the package or among its weights.
        names: A file of class names: by default <stem>.names beside the weights, then coco.names or
            voc.names (80 or 20 classes) there or among the weights of the package; without any,
            "class 0", "class 1", ...

    Returns:
        The network in eval mode and its Spec.

    Raises:
        UserError: A file cannot be read, or they do not fit together.
    """
    weights = Path(weights)
    path = Path(cfg or _find_cfg(weights))
    sections = _published_masks(read_cfg(path), weights)
    try:
        net = DarknetNet(sections)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    classes = {head_spec(net.sections[i]).classes for i in net.head_indices}
    if len(classes) != 1:
        raise UserError(f"{path}: it needs [yolo], [region] or [detection], all of as many classes")
    read_weights(net, weights)
    count = classes.pop()
    common: list[Path] = []
    if count in NAMES_FILES:
        common = [folder / NAMES_FILES[count] for folder in (weights.parent, WEIGHTS_FOLDER)]
    return net.eval(), net.spec(class_names(weights, names, count, *common))


def _find_cfg(weights: Path) -> Path:
    name = SAME_CFG.get(weights.stem, weights.stem)
    folders = (CFG_FOLDER, WEIGHTS_FOLDER)
    for path in (weights.with_suffix(".cfg"), *(folder / f"{name}.cfg" for folder in folders)):
        if path.is_file():
            return path
    raise UserError(
        f"no cfg is known for {weights}; put {weights.stem}.cfg beside it or pass --cfg"
    )


def _published_masks(sections: list[Section], weights: Path) -> list[Section]:
    """Give the public yolov3-tiny its own anchors.

    It was trained with mask 1,2,3 on the fine head; the cfg was changed to 0,1,2 later, without new
    weights.
    """
    last = sections[-1]
    if last.kind != "yolo" or last.options.get("mask") != "0,1,2" or sha256(weights) != YOLOV3_TINY:
        return sections
    warnings.warn(
        "the public yolov3-tiny.weights were trained with mask=1,2,3; not using the cfg's 0,1,2",
        Notice,
        stacklevel=3,
    )
    return [*sections[:-1], dataclasses.replace(last, options={**last.options, "mask": "1,2,3"})]
