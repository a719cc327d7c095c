"""The same bits everywhere: heads and events of photographs and of a clip, for Tiny-YOLOv3 as it is
shipped, whatever the processor, its instructions, the number of threads and the batch.

Run as a program it prints the SHA-256 of each way to compute them.
"""

import hashlib
import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from itertools import islice
from typing import Any

import pytest
import torch
from torch import Tensor

from spiking_yolo.convert.load import Converted, load
from spiking_yolo.data.images import preprocess, read_image
from spiking_yolo.data.video import frames_of
from spiking_yolo.integer.network import IntegerNetwork
from spiking_yolo.integer.video import Stream
from spiking_yolo.io.files import default_weights, sample_clip, samples_folder
from spiking_yolo.spikes.counting import Counts

# To be replaced when the network, its calibration or the samples are: run this file.
SHA256 = "6010d29d08553cba9e0d4074325c18c99936b7a51c901d07c423f01df10164bb"
PHOTOGRAPHS = ("dog.jpg", "horses.jpg", "giraffe.jpg")
FRAMES = 5
# Instructions that PyTorch, C and oneDNN may use at most.
VARIABLES = "ATEN_CPU_CAPABILITY", "SPIKING_YOLO_KERNELS", "ONEDNN_MAX_CPU_ISA"
WAYS = [("default", "default", "SSE41"), ("avx2", "avx2", "AVX2"), ("", "avx512", "AVX512_CORE")]


class Recorded(IntegerNetwork):
    """A network whose steps are hashed."""

    def __init__(self, *given: Any, **options: Any):
        super().__init__(*given, **options)
        self.hashed = hashlib.sha256()

    def start(self, images: int = 1, kept: bool = True) -> Any:
        state: Any = super().start(images, kept)
        step = state.step

        def recorded(image: Tensor, dead_zone: float, lossless: bool, maps: bool) -> Any:
            counted = step(image, dead_zone, lossless, True)
            for k in range(images):
                for piece in pieces(counted, state.sent(), k):
                    # 0 has one sign.
                    self.hashed.update((piece + 0.0).contiguous().numpy().tobytes())
            return counted

        state.step = recorded
        return state


def pieces(counted: Any, sent: Any, k: int) -> Iterator[Tensor]:
    """Heads, all that neurons have sent, events at each position, and operations of image k."""
    yield from (output[k] for output in counted.outputs)
    yield from (sent[name][k] for name in sorted(counted.maps))
    for name in sorted(counted.maps):
        yield from (counts[k] for counts in Counts.unstacked(counted.maps[name]))
    spent = torch.stack(list(counted.spent.values())).sum(0)
    yield from (operations[k] for operations in Counts.unstacked(spent[:, 1]))


def digest(converted: Converted, batch: int = 1, fast: bool = True) -> str:
    """SHA-256 of photographs in batches, and of a clip frame by frame."""
    given = converted.graph, converted.neurons, converted.recipe, converted.spec
    network, spec = Recorded(*given, fast=fast), converted.spec
    paths = [str(samples_folder() / name) for name in PHOTOGRAPHS]
    photographs = [preprocess(read_image(path), spec)[0] for path in paths]
    for x in torch.stack(photographs).split(batch):
        network.run(x)
    stream = Stream(network)
    for picture in islice(frames_of(str(sample_clip())).frames(), FRAMES):
        stream(preprocess(picture, spec)[0][None])
    return network.hashed.hexdigest()


def shipped() -> Converted:
    converted = load(default_weights())
    assert isinstance(converted, Converted) and converted.recipe.complete
    return converted


def test_the_bits_of_the_shipped_network():
    assert digest(shipped()) == SHA256


@pytest.mark.slow
@pytest.mark.skipif(platform.machine() != "x86_64", reason="instructions of x86-64")
@pytest.mark.parametrize("values", WAYS, ids="-".join)
def test_the_same_bits_with_other_instructions(values: tuple[str, ...]):
    """For several threads and batches, and by the reference."""
    chosen = {name: value for name, value in zip(VARIABLES, values, strict=True) if value}
    environment = {**os.environ, **chosen}
    run = [sys.executable, __file__]
    found = subprocess.run(run, env=environment, capture_output=True, text=True, check=True)
    assert set(found.stdout.split()) == {SHA256} and len(found.stdout.split()) == 3


if __name__ == "__main__":
    network = shipped()
    for threads, batch in ((1, 2), (4, 3)):
        torch.set_num_threads(threads)
        print(digest(network, batch))
    print(digest(network, fast=False))
