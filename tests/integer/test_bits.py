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

import pytest
import torch
from torch import Tensor

from spiking_yolo.convert.load import Converted, load
from spiking_yolo.data.images import preprocess, read_image
from spiking_yolo.data.video import frames_of
from spiking_yolo.integer.network import IntegerNetwork
from spiking_yolo.integer.step import Frame, whole
from spiking_yolo.integer.stream import Stream
from spiking_yolo.io.assets import default_weights, sample_clip, samples_folder
from spiking_yolo.snn.counting import Counts
from spiking_yolo.snn.readout import Run

# To be replaced when the network, its calibration or the samples are: run this file.
SHA256 = "6010d29d08553cba9e0d4074325c18c99936b7a51c901d07c423f01df10164bb"
PHOTOGRAPHS = ("dog.jpg", "horses.jpg", "giraffe.jpg")
FRAMES = 5
# Instructions that PyTorch, and that oneDNN may use at most.
WAYS = [("ATEN_CPU_CAPABILITY", name) for name in ("default", "avx2")]
WAYS += [("ONEDNN_MAX_CPU_ISA", name) for name in ("SSE41", "AVX2", "AVX512_CORE")]


def pieces(run: Run, frame: Frame, k: int) -> Iterator[Tensor]:
    """Heads, all that neurons have sent, events at each position, and operations of image k."""
    yield from (output[k] for output in frame.outputs)
    yield from (whole(frame.sent[name][k]) for name in sorted(frame.events))
    for name in sorted(frame.events):
        yield from (counts[k] for counts in Counts.unstacked(frame.events[name]))
    yield from (operations[k] for operations in run.snapshots[1].operations)


def digest(converted: Converted, batch: int = 1, fast: bool = True) -> str:
    """SHA-256 of photographs in batches, and of a clip frame by frame."""
    given = converted.spiking_graph, converted.neurons, converted.recipe, converted.spec
    network, hashed = IntegerNetwork(*given, fast=fast), hashlib.sha256()

    def add(run: Run) -> None:
        frame = run.frame
        for k in range(len(frame.outputs[0])):
            for piece in pieces(run, frame, k):
                # 0 has one sign.
                hashed.update((piece + 0.0).contiguous().numpy().tobytes())

    paths = [str(samples_folder() / name) for name in PHOTOGRAPHS]
    photographs = [preprocess(read_image(path), converted.spec)[0] for path in paths]
    for x in torch.stack(photographs).split(batch):
        add(network.run(x))
    stream = Stream(network)
    for picture in islice(frames_of(str(sample_clip())).frames(), FRAMES):
        add(stream(preprocess(picture, converted.spec)[0][None]))
    return hashed.hexdigest()


def shipped() -> Converted:
    converted = load(default_weights())
    assert isinstance(converted, Converted) and converted.recipe.complete
    return converted


def test_the_bits_of_the_shipped_network():
    assert digest(shipped()) == SHA256


@pytest.mark.slow
@pytest.mark.skipif(platform.machine() != "x86_64", reason="instructions of x86-64")
@pytest.mark.parametrize(("variable", "value"), WAYS)
def test_the_same_bits_with_other_instructions(variable: str, value: str):
    """For a thread and a batch of two, two threads and single images, and without kernels."""
    environment = {**os.environ, variable: value}
    run = [sys.executable, __file__]
    found = subprocess.run(run, env=environment, capture_output=True, text=True, check=True)
    assert set(found.stdout.split()) == {SHA256} and len(found.stdout.split()) == 3


if __name__ == "__main__":
    network = shipped()
    for threads, batch in ((1, 2), (2, 1)):
        torch.set_num_threads(threads)
        print(digest(network, batch))
    print(digest(network, fast=False))
