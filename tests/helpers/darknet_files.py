"""Writing darknet's .weights files."""

import struct
from pathlib import Path

import numpy as np

from spiking_yolo.models.darknet_network import DarknetNet
from spiking_yolo.models.darknet_weights import Header, arrays


def write_weights(net: DarknetNet, path: str | Path, header: Header | None = None) -> None:
    """Write the file that `read_weights` reads, in the version of the header."""
    header = header or Header()
    parts = [struct.pack(header.layout, header.major, header.minor, header.revision, header.seen)]
    for _, _, tensor in arrays(net):
        array = tensor.float().cpu().numpy()
        if header.transposed and array.ndim == 2:
            array = array.T
        parts.append(np.asarray(array, "<f4").tobytes())
    Path(path).write_bytes(b"".join(parts))
