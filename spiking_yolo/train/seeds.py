"""Where randomness comes from: functions of (seed, epoch, index), so that neither workers nor restarts change it."""

from dataclasses import dataclass, field

import numpy as np


def generator(*key: int) -> np.random.Generator:
    """Independent stream of random numbers for a key of non-negative integers: (seed, epoch, index)."""
    return np.random.default_rng(key)


def torch_seed(*key: int) -> int:
    """For what torch draws, such as dropout: of a key as in `generator`."""
    return int(generator(*key).integers(2**63))


def order(count: int, seed: int, epoch: int, rank: int = 0, world: int = 1) -> list[int]:
    """This rank's share of the shuffled indices 0..count-1; every rank gets floor(count / world) of them."""
    shuffled = generator(seed, epoch).permutation(count)
    return shuffled[rank : count // world * world : world].tolist()


def batches(indices: list[int], size: int) -> list[list[int]]:
    """Full batches; what is left over is dropped, unless it is all there is."""
    full = [indices[i : i + size] for i in range(0, len(indices) - size + 1, size)]
    return full or [indices]


@dataclass(kw_only=True)
class Batches:
    """Which images make the batches of an epoch. count: of all images. rank, world: this process, and how many."""

    count: int = field(init=False)
    batch: int
    seed: int = 0
    rank: int = 0
    world: int = 1

    def epoch(self, epoch: int, first: int = 0) -> list[list[int]]:
        """Indices of the images of each batch, from batch `first` on."""
        return batches(order(self.count, self.seed, epoch, self.rank, self.world), self.batch)[first:]

    @property
    def steps(self) -> int:
        """Batches per epoch."""
        return max(1, self.count // self.world // self.batch)
