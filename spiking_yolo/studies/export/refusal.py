"""What a user hears of a network that NIR cannot express: one line that names each kind, or a line per node."""

from collections.abc import Mapping, Sequence

import torch

from spiking_yolo.errors import UserError
from spiking_yolo.io.tables import columns
from spiking_yolo.studies.export.expressible import Missing

_ELSE = "--format safetensors and json take every network"


def refusal(found: Sequence[Missing], nodes: int) -> UserError:
    """How many of the network's `nodes` are missing, and the first of each kind with the way out, in one line."""
    alike = _alike(found)
    kinds = "; ".join(_kind(lost) for lost in alike)
    listed = "--explain lists them all, " if len(found) > len(alike) else ""
    return UserError(f"{_of(found, nodes)} cannot be exported: {kinds}; {listed}{_ELSE}")


def listing(found: Sequence[Missing], nodes: int, sizes: Mapping[str, torch.Size]) -> str:
    """A line per missing node with its operation and the shape of its output, under the reason that they share."""
    if not found:
        return f"NIR can express all {nodes} nodes: without --explain the file is written"
    lines = [f"{_of(found, nodes)} cannot be exported; {_ELSE}"]
    for lost in _alike(found):
        shapes = (" x ".join(map(str, sizes[one.node.name][1:])) for one in lost)
        rows = [(one.node.name, one.node.op, shape) for one, shape in zip(lost, shapes, strict=True)]
        lines += ["", lost[0].reason, *(f"  {line}" for line in columns(rows).splitlines())]
    return "\n".join(lines)


def _of(found: Sequence[Missing], nodes: int) -> str:
    return f"{len(found)} of {nodes} nodes"


def _alike(found: Sequence[Missing]) -> list[list[Missing]]:
    """By kind: the same operation for the same reason."""
    alike: dict[tuple[str, str], list[Missing]] = {}
    for lost in found:
        alike.setdefault((lost.node.op, lost.reason), []).append(lost)
    return list(alike.values())


def _kind(lost: Sequence[Missing]) -> str:
    node = lost[0].node
    more = f", the first of {len(lost)}" if len(lost) > 1 else ""
    return f"node {node.name!r} ({node.op}{more}): {lost[0].reason}"
