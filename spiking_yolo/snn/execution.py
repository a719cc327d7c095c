"""How a spiking network is computed: what may change its results by rounding, and its speed by a lot."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import torch

from ..errors import UserError

Precision = Literal["float32", "bf16"]


@dataclass(frozen=True)
class Execution:
    """Choices that do not change what a network computes.

    precision: bf16 multiplies spikes and weights in bfloat16, which GPUs and processors with avx512_bf16 or AMX do at
    twice the speed; potentials, and convolutions of the image, stay in float32. Spikes are small whole numbers times a
    power of two, which bfloat16 holds exactly; weights and currents are rounded to 8 bits.
    compiled: fuse the arithmetic of the neurons with torch.compile, where a C++ compiler is installed.
    """

    precision: Precision = "float32"
    compiled: bool = False

    def __post_init__(self) -> None:
        if self.precision not in get_args(Precision):
            raise UserError(f"precision must be one of {', '.join(get_args(Precision))}, not {self.precision!r}")

    def synapses(self, dtype: torch.dtype) -> torch.dtype:
        """Of the weights that receive spikes, in a network of this dtype."""
        return torch.bfloat16 if self.precision == "bf16" else dtype


def fast_bf16() -> bool:
    """Whether this processor multiplies bfloat16 faster than float32."""
    capable = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(capable.get("avx512_bf16") or capable.get("amx_bf16"))
