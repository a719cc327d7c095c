"""Many processes under torchrun: each takes every n-th batch, the first one collects the records."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist

from spiking_yolo.io.device import usable_device

T = TypeVar("T")
_PATIENCE = timedelta(days=7)  # the fastest process waits for the slowest


@dataclass(frozen=True)
class Ranks:
    """This process among `size`. device: where this process computes."""

    rank: int = 0
    size: int = 1
    device: str | torch.device = "cpu"

    @property
    def first(self) -> bool:
        return self.rank == 0

    def share(self, items: Sequence[T]) -> list[T]:
        """The items of this process."""
        return list(items[self.rank :: self.size])

    def gather(self, text: str) -> list[str]:
        """The text of every process, in the first one; elsewhere an empty list. Nothing is unpickled."""
        if self.size == 1:
            return [text]
        data, sizes = self._exchange_sizes(text)
        parts = [torch.empty_like(data) for _ in sizes] if self.first else None
        dist.gather(data, parts)
        return [_text(part, n) for part, n in zip(parts or [], sizes, strict=False)]

    def broadcast(self, text: str) -> str:
        """The first process's text, in all of them."""
        if self.size == 1:
            return text
        data, sizes = self._exchange_sizes(text)
        dist.broadcast(data, 0)
        return _text(data, sizes[0])

    def _exchange_sizes(self, text: str) -> tuple[torch.Tensor, list[int]]:
        """This process's text as bytes, padded to the longest, and the length of every process's."""
        data = torch.frombuffer(bytearray(text.encode() or b"\0"), dtype=torch.uint8)
        own = torch.tensor([len(text.encode())], device=self.device)
        sizes = [torch.empty_like(own) for _ in range(self.size)]
        dist.all_gather(sizes, own)
        longest = max(1, *(int(n) for n in sizes))
        padded = torch.nn.functional.pad(data, (0, longest - len(data)))
        return padded.to(self.device), [int(n) for n in sizes]


def _text(data: torch.Tensor, size: int) -> str:
    return data[:size].cpu().numpy().tobytes().decode()


@contextmanager
def processes(device: str) -> Iterator[Ranks]:
    """Join the other processes that torchrun started, if there are any: gloo on CPU, nccl on GPU."""
    size, rank = int(os.environ.get("WORLD_SIZE", 1)), int(os.environ.get("RANK", 0))
    own = usable_device(device)
    if size == 1:
        yield Ranks(device=own)
        return
    cuda = own.type == "cuda"
    if cuda:
        own = torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))
        torch.cuda.set_device(own)
    dist.init_process_group("nccl" if cuda else "gloo", timeout=_PATIENCE)
    try:
        yield Ranks(rank, size, own)
    finally:
        dist.destroy_process_group()
