"""The device of this process, and the other processes that torchrun started."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist

from spiking_yolo.errors import UserError


def usable_device(name: str | torch.device) -> torch.device:
    """The device of this name, tried with a tensor. Raises UserError if it cannot be used."""
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).cpu()
    except (RuntimeError, AssertionError, TypeError, ImportError) as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise UserError(f"cannot use the device {name} ({reason}): give cpu") from error
    return device


# The fastest process waits so long for the slowest.
_PATIENCE = timedelta(days=7)


@dataclass(frozen=True)
class Ranks:
    """This process among several.

    Attributes:
        rank: Number of this process.
        size: Number of processes.
        device: Where this process computes.
    """

    rank: int = 0
    size: int = 1
    device: str | torch.device = "cpu"

    @property
    def first(self) -> bool:
        return self.rank == 0


@contextmanager
def processes(device: str) -> Iterator[Ranks]:
    """Join the processes that torchrun started, if any, with gloo on CPU and nccl on GPU."""
    size = int(os.environ.get("WORLD_SIZE", 1))
    rank = int(os.environ.get("RANK", 0))
    own = usable_device(device)
    if size == 1:
        yield Ranks(device=own)
        return
    backend = "gloo"
    if own.type == "cuda":
        backend = "nccl"
        own = torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))
        torch.cuda.set_device(own)
    dist.init_process_group(backend, timeout=_PATIENCE)
    try:
        yield Ranks(rank, size, own)
    finally:
        dist.destroy_process_group()
