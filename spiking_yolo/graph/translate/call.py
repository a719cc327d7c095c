"""What a translator gets: one traced call, and the graph that it appends to."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn

from spiking_yolo.errors import UserError
from spiking_yolo.graph import Node

Split = tuple[str, list[tuple[int, int]]]  # a split node: its source, and start and stop of each part


@dataclass(frozen=True)
class Call:
    """One traced call. Its translator appends to the `nodes` and `tensors` of the graph that is being built."""

    node: fx.Node
    nodes: list[Node]
    tensors: dict[str, Tensor]

    def emit(self, op: str, *inputs: str, **attrs: Any) -> str:
        """Add a node of this call's name; returns the name."""
        self.nodes.append(Node(self.node.name, op, inputs, attrs))
        return self.node.name

    def weights(self, module: nn.Conv2d | nn.Linear) -> None:
        """Copy a layer's weight and bias; a layer without bias gets zeros."""
        bias = module.bias if module.bias is not None else module.weight.new_zeros(module.weight.shape[0])
        self.tensors[f"{self.node.name}.weight"] = module.weight.detach().clone()
        self.tensors[f"{self.node.name}.bias"] = bias.detach().clone()

    @property
    def shapes(self) -> tuple[torch.Size, torch.Size]:
        """Shapes of the first input and of the output for the example."""
        return self.node.all_input_nodes[0].meta["tensor_meta"].shape, self.node.meta["tensor_meta"].shape

    def error(self, problem: str) -> UserError:
        return UserError(f"node {self.node.name!r}: {problem}")


def pair(value: Any) -> list[int]:
    return [int(v) for v in value] if isinstance(value, (tuple, list)) else [int(value)] * 2
