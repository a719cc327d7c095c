"""The darknet .weights binary format: a header, then little-endian float32 arrays in cfg order."""

import dataclasses
import struct
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from spiking_yolo.errors import Notice, UserError
from spiking_yolo.io.assets import YOLOV3_TINY, shipped
from spiking_yolo.io.files import sha256
from spiking_yolo.models.darknet_cfg import Section, head_spec, read_cfg
from spiking_yolo.models.darknet_network import DarknetNet
from spiking_yolo.models.spec import Spec, class_names

# Beginnings of files that are often mistaken for .weights.
FOREIGN = {
    b"PK\x03\x04": "a zip archive (PyTorch .pt or Keras)",
    b"\x80": "a Python pickle",
    b"\x89HDF": "an HDF5 file",
    b"\x1f\x8b": "a gzip archive",
    b"version https": "a Git LFS pointer",
    b"<": "a web page",
}
LARGEST_VERSION = 100_000


@dataclass(frozen=True)
class Header:
    """Format version and number of training images seen."""

    major: int = 0
    minor: int = 2
    revision: int = 0
    seen: int = 0

    @property
    def layout(self) -> str:
        """Format for struct: `seen` has 8 bytes from version 0.2 on, 4 before and for versions
        above 1000.
        """
        if self.major * 10 + self.minor < 2 or max(self.major, self.minor) >= 1000:
            return "<4i"
        return "<3iQ"

    @property
    def size(self) -> int:
        return struct.calcsize(self.layout)

    @property
    def transposed(self) -> bool:
        """Whether weights of connected layers are stored as inputs x outputs."""
        return self.major > 1000 or self.minor > 1000


def layer_arrays(layer: nn.Module) -> list[tuple[str, Tensor]]:
    """A layer's arrays in file order.

    Batch norm precedes a convolution's weights and follows a connected layer's.
    """
    parts: dict[str, Any] = dict(layer.named_children())
    weighted = parts.get("conv", parts.get("linear"))
    if weighted is None:
        return []
    bn = parts.get("bn")
    weights = [("weights", weighted.weight)]
    if bn is None:
        return [("biases", weighted.bias), *weights]
    norm = [("scales", bn.weight), ("mean", bn.running_mean), ("variance", bn.running_var)]
    if "conv" in parts:
        return [("biases", bn.bias), *norm, *weights]
    return [("biases", bn.bias), *weights, *norm]


def arrays(net: DarknetNet) -> list[tuple[str, str, Tensor]]:
    """Layer, name and values of every array of the network's file, in file order."""
    result = []
    for section, layer in zip(net.sections, net.layers, strict=True):
        for name, tensor in layer_arrays(layer):
            result.append((f"layer {section.index} [{section.kind}]", name, tensor.detach()))
    return result


def count_floats(net: DarknetNet) -> int:
    """Number of float32 values in this network's file."""
    count = 0
    for _, _, tensor in arrays(net):
        count += tensor.numel()
    return count


def _read_header(content: bytes, path: Path) -> Header:
    if not content:
        raise UserError(f"{path} is empty; download it again")
    for magic, what in FOREIGN.items():
        if content.startswith(magic):
            raise UserError(
                f"{path} is {what}, not a darknet .weights file; give the original .weights file"
            )
    if len(content) >= 16:
        header = Header(*struct.unpack_from("<3i", content))
        plausible = all(
            0 <= v <= LARGEST_VERSION for v in (header.major, header.minor, header.revision)
        )
        if plausible and len(content) >= header.size:
            return Header(*struct.unpack_from(header.layout, content))
    raise UserError(f"{path} has no darknet header; give a darknet .weights file")


def read_weights(net: DarknetNet, path: str | Path) -> Header:
    """Fill the network's parameters and batch norm statistics from a file.

    A network on the meta device gets its memory now.

    Returns:
        The header of the file.

    Raises:
        UserError: The file is not darknet's, is shorter or longer than the cfg needs, or holds NaN,
            infinity or a negative variance; the network is then unchanged.
    """
    path = Path(path)
    try:
        content = path.read_bytes()
    except OSError as e:
        raise UserError(f"cannot read {path}: {e.strerror}; check the path") from e
    header = _read_header(content, path)
    floats, body = count_floats(net), len(content) - header.size
    if body != 4 * floats:
        raise UserError(
            f"{path} has {len(content)} bytes, but the cfg needs {header.size + 4 * floats}"
            f" ({floats} floats and a header of {header.size}): use the cfg that belongs to this"
            " file, or download it again"
        )
    if any(tensor.is_meta for tensor in net.parameters()):
        net.to_empty(device="cpu")
        for name, counter in net.named_buffers():
            if name.endswith("num_batches_tracked"):
                # All that is not in the file.
                counter.zero_()
    values = torch.from_numpy(np.frombuffer(content, "<f4", offset=header.size).astype(np.float32))
    pairs: list[tuple[Tensor, Tensor]] = []
    offset = 0
    transposed = header.transposed
    for layer, name, tensor in arrays(net):
        array = values[offset : offset + tensor.numel()]
        if not torch.isfinite(array).all():
            raise UserError(
                f"{path}: {layer} {name} hold NaN or infinity; the file is damaged, download it"
                " again"
            )
        if name == "variance" and (array < 0).any():
            raise UserError(f"{path}: {layer} {name} is negative; the file or the cfg is wrong")
        if transposed and tensor.ndim == 2:
            pairs.append((tensor, array.view(tensor.shape[::-1]).T))
        else:
            pairs.append((tensor, array.view(tensor.shape)))
        offset += tensor.numel()
    for tensor, array in pairs:
        tensor.copy_(array)
    return header


CFG_FOLDER = Path(__file__).parent / "cfg"
WEIGHTS_FOLDER = shipped("weights")
# The same files under other public names.
SAME_CFG = {"tiny-yolov1": "yolov1-tiny", "tiny-yolo-voc": "yolov2-tiny-voc"}
NAMES_FILES = {80: "coco.names", 20: "voc.names"}


def load_darknet(
    weights: str | Path, cfg: str | Path | None = None, names: str | Path | None = None
) -> tuple[DarknetNet, Spec, str]:
    """Open a darknet network.

    Args:
        weights: The .weights file.
        cfg: By default <stem>.cfg beside the weights, in the package or among its weights.
        names: A file of class names: by default <stem>.names beside the weights, then coco.names or
            voc.names (80 or 20 classes) there or among the weights of the package; without any,
            "class 0", "class 1", ...

    Returns:
        The network in eval mode, its Spec and the SHA-256 of the weights.

    Raises:
        UserError: A file cannot be read, or they do not fit together.
    """
    weights = Path(weights)
    digest = sha256(weights)
    path = Path(cfg or _find_cfg(weights))
    sections = _published_masks(read_cfg(path), digest)
    try:
        # No memory before it is known that the file is as large as the network.
        with torch.device("meta"):
            net = DarknetNet(sections)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    classes = {head_spec(net.sections[i]).classes for i in net.head_indices}
    if len(classes) > 1:
        raise UserError(
            f"{path}: the heads disagree on the number of classes {sorted(classes)}; make them"
            " equal"
        )
    read_weights(net, weights)
    count = classes.pop()
    common = [
        folder / NAMES_FILES[count]
        for folder in (weights.parent, WEIGHTS_FOLDER)
        if count in NAMES_FILES
    ]
    beside = (weights.with_suffix(".names"), *common[:1])
    if (
        common
        and not names
        and digest != YOLOV3_TINY
        and not any(path.is_file() for path in beside)
    ):
        said = (
            f"{weights} has {count} classes and no names beside it: taking those of"
            f" {common[1].name}"
        )
        warnings.warn(f"{said}; --names FILE gives others", Notice, stacklevel=2)
    return net.eval(), net.spec(class_names(weights, names, count, *common)), digest


def _find_cfg(weights: Path) -> Path:
    packaged = SAME_CFG.get(weights.stem, weights.stem)
    for path in (
        weights.with_suffix(".cfg"),
        *(folder / f"{packaged}.cfg" for folder in (CFG_FOLDER, WEIGHTS_FOLDER)),
    ):
        if path.is_file():
            return path
    raise UserError(
        f"no cfg is known for {weights}; put {weights.stem}.cfg beside it or pass --cfg"
    )


def _published_masks(sections: list[Section], digest: str) -> list[Section]:
    """Give the public yolov3-tiny its own anchors.

    It was trained with mask 1,2,3 on the fine head; the cfg was changed to 0,1,2 later, without new
    weights.
    """
    last = sections[-1]
    if digest != YOLOV3_TINY or last.kind != "yolo" or last.options.get("mask") != "0,1,2":
        return sections
    warnings.warn(
        "the public yolov3-tiny.weights were trained with mask=1,2,3; not using the cfg's 0,1,2",
        Notice,
        stacklevel=3,
    )
    return [*sections[:-1], dataclasses.replace(last, options={**last.options, "mask": "1,2,3"})]
