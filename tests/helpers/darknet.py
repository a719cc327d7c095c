"""Writing darknet's .weights files, which the package only reads."""

import struct
from pathlib import Path

import numpy as np

from spiking_yolo.models.darknet import DarknetNet
from spiking_yolo.models.darknet_weights import Header, arrays


def write_weights(net: DarknetNet, path: str | Path, header: Header | None = None) -> None:
    """Write a file for read_weights."""
    header = header or Header()
    parts = [struct.pack(header.layout, header.major, header.minor, header.revision, header.seen)]
    for _, _, tensor in arrays(net):
        array = tensor.float().numpy()
        parts.append(np.asarray(array.T if header.transposed and array.ndim == 2 else array, "<f4").tobytes())
    Path(path).write_bytes(b"".join(parts))
