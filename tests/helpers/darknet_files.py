"""Writing darknet's .weights files."""

import struct
from pathlib import Path

import numpy as np
import torch
from torch import nn

from spiking_yolo.models.darknet import DarknetNet, arrays, parse_cfg


def random_network(cfg: str, seed: int = 0) -> DarknetNet:
    """A network whose maps keep the size of their values from layer to layer."""
    network = DarknetNet(parse_cfg(cfg)).to_empty(device="cpu")
    generator = torch.Generator().manual_seed(seed)
    positive: list[int] = []
    for module in network.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d) and module.running_var is not None:
            positive += [module.weight.data_ptr(), module.running_var.data_ptr()]
    for tensor in arrays(network):
        tensor.normal_(0, 0.2, generator=generator)
        if tensor.ndim > 1:
            tensor.mul_(5 * (2 / tensor[0].numel()) ** 0.5)
        elif tensor.data_ptr() in positive:
            tensor.abs_().add_(0.8)
    return network.eval()


def write_weights(net: DarknetNet, path: str | Path) -> None:
    """Write the file that `read_weights` reads."""
    parts = [struct.pack("<3iQ", 0, 2, 0, 3)]
    for tensor in arrays(net):
        parts.append(np.asarray(tensor.float().cpu().numpy(), "<f4").tobytes())
    Path(path).write_bytes(b"".join(parts))
