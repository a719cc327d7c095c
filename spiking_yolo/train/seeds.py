"""Where randomness comes from: functions of (seed, epoch, index), so that neither workers nor restarts change it."""

from dataclasses import dataclass, field

import numpy as np


def generator(*key: int) -> np.random.Generator:
    """Independent stream of random numbers for a key of non-negative integers: (seed, epoch, index)."""
    return np.random.default_rng(key)


@dataclass(kw_only=True)
class Batches:
    """Which images make the batches of an epoch. count: of all images. rank, world: this process, and how many."""

    count: int = field(init=False)
    batch: int
    seed: int = 0
    rank: int = 0
    world: int = 1

    def epoch(self, epoch: int, first: int = 0) -> list[list[int]]:
        """Indices of this rank's images of each batch, from batch `first` on.

        Every rank gets floor(count / world) images. What does not fill a batch is dropped, unless it is all there is.
        """
        shuffled = generator(self.seed, epoch).permutation(self.count)
        own = shuffled[self.rank : self.count // self.world * self.world : self.world].tolist()
        full = [own[i : i + self.batch] for i in range(0, len(own) - self.batch + 1, self.batch)]
        return (full or [own])[first:]

    @property
    def steps(self) -> int:
        """Batches per epoch."""
        return max(1, self.count // self.world // self.batch)
