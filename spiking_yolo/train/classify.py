"""The classification task: small images held in memory, cross-entropy, top-1 accuracy."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from spiking_yolo.models.spec import Spec
from spiking_yolo.train.loop import Batches, generator

Arrays = tuple[np.ndarray, np.ndarray]  # uint8 [n, H, W, 3], int64 [n]

# Of the labels.
SMOOTHING = 0.1
CIFAR_MEAN, CIFAR_STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)


def classifier_spec(names: tuple[str, ...], height: int, width: int) -> Spec:
    return Spec("classify", names, height, width, "stretch", mean=CIFAR_MEAN, std=CIFAR_STD)


def normalise(images: np.ndarray, spec: Spec) -> Tensor:
    """Images uint8 [n, H, W, 3] as the network's input, float32 [n, 3, H, W]."""
    scaled = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
    mean = torch.tensor(spec.mean)[:, None, None]
    std = torch.tensor(spec.std)[:, None, None]
    return (scaled - mean) / std


def crop_and_flip(images: Tensor, rng: np.random.Generator, pad: int = 4) -> Tensor:
    """Shift each image [N, C, H, W] by up to `pad` pixels over a reflected border, and mirror half
    of them.
    """
    n, _, h, w = images.shape
    padded = F.pad(images, (pad,) * 4, mode="reflect")
    dy = torch.from_numpy(rng.integers(0, 2 * pad + 1, n))
    dx = torch.from_numpy(rng.integers(0, 2 * pad + 1, n))
    mirrored = torch.from_numpy(rng.random(n) < 0.5)
    columns = dx[:, None] + torch.arange(w)
    columns = torch.where(mirrored[:, None], columns.flip(1), columns)
    rows = dy[:, None] + torch.arange(h)
    index = torch.arange(n)[:, None, None]
    pixels = padded.permute(0, 2, 3, 1)[index, rows[:, :, None], columns[:, None, :]]
    return pixels.permute(0, 3, 1, 2)


@dataclass(kw_only=True)
class ClassifyTask(Batches):
    """Classification as a loop.Task.

    Random numbers of a batch depend on (seed, epoch, first index), and not on the number of
    processes.

    Attributes:
        train: Images and labels to train on.
        val: Those to validate on.
        spec: Interface of the network.
    """

    train: Arrays
    val: Arrays
    spec: Spec

    def batches(self, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        images, labels = self.train
        for indices in self.epoch(epoch):
            rng = generator(self.seed, epoch, indices[0])
            batch = crop_and_flip(normalise(images[indices], self.spec), rng)
            yield batch, torch.from_numpy(labels[indices])

    def loss(self, output: Tensor, targets: Tensor) -> dict[str, Tensor]:
        targets = targets.to(output.device)
        return {"entropy": F.cross_entropy(output.float(), targets, label_smoothing=SMOOTHING)}

    @torch.inference_mode()
    def evaluate(self, model: nn.Module) -> dict[str, float]:
        """Top-1 accuracy in percent."""
        device = next(model.parameters()).device
        images, labels = self.val
        hits = 0
        for i in range(0, len(labels), 500):
            batch = normalise(images[i : i + 500], self.spec)
            output = model(batch.to(device, memory_format=torch.channels_last)).cpu()
            hits += int((output.argmax(1).numpy() == labels[i : i + 500]).sum())
        return {"top1": 100 * hits / len(labels)}
