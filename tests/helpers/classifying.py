"""A small random classifier on disk, calibrated, and images most of which have the label that its
ANN gives them.
"""

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from helpers.calibrating import calibrate_on
from spiking_yolo.data.formats import open_classification
from spiking_yolo.data.images import preprocess, read_image
from spiking_yolo.models.load import load_checkpoint, save_checkpoint
from spiking_yolo.models.spec import Spec
from spiking_yolo.models.trainable import resnet20

SIZE = 16
NAMES = ("ant", "bee", "cow", "dog", "elk", "fox", "gnu")
SPEC = Spec("classify", NAMES, SIZE, SIZE, "stretch", mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.25))


def write_image(path: Path, seed: int, size: tuple[int, int] = (SIZE, SIZE)) -> None:
    """Smooth random colours."""
    path.parent.mkdir(parents=True, exist_ok=True)
    coarse = np.random.default_rng(seed).integers(0, 256, (3, 3, 3), np.uint8)
    Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC).save(path)


def write_network(path: Path) -> Path:
    """ResNet20 with random weights, whose running statistics are those of random images and whose
    outputs differ.
    """
    torch.manual_seed(0)
    model = resnet20(len(NAMES)).train()
    for _ in range(8):
        model(torch.nn.functional.interpolate(torch.randn(32, 3, 3, 3), size=SIZE, mode="bilinear"))
    with torch.no_grad():
        model[-1].weight.mul_(10)  # pyright: ignore[reportIndexIssue]
    save_checkpoint(path, model.eval(), "resnet20", {}, SPEC, {})
    return path


def write_data(folder: Path, weights: Path, train: int = 16, test: int = 12) -> Path:
    """folder/{train,test}/CLASS/*.png. Of four test images one has the next label but one of what
    the ANN says.
    """
    model, spec = load_checkpoint(weights)
    for split, count, first in (("train", train, 1000), ("test", test, 0)):
        for name in NAMES:
            (folder / split / name).mkdir(parents=True)
        for k in range(count):
            path = folder / f"{k}.png"
            write_image(path, first + k)
            with torch.no_grad():
                x, _ = preprocess(read_image(path), spec)
                label = int(model(spec.normalised(x[None])).argmax())
            label = (label + 2 * (k % 4 == 0)) % len(NAMES)
            path.rename(folder / split / NAMES[label] / path.name)
        for name in NAMES:
            if not any((folder / split / name).iterdir()):
                write_image(folder / split / name / "extra.png", 77)
    return folder


def write_all(folder: Path) -> tuple[Path, Path]:
    """(weights, data), with activation statistics beside the weights."""
    weights = write_network(folder / "net.safetensors")
    data = write_data(folder / "data", weights)
    calibrate_on(weights, open_classification(data, "train").pictures)
    return weights, data
