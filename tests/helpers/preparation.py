"""Methods with a preparation as loops over two layers, written from the papers."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn


class TwoLayers(nn.Module):
    """Leaky ReLU and max pooling between convolutions. [N, 3, 8, 8]."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 4, 3, padding=1)
        self.act1 = nn.LeakyReLU(0.25)
        self.pool = nn.MaxPool2d(2)
        self.conv2 = nn.Conv2d(4, 5, 3, padding=1)
        self.act2 = nn.LeakyReLU(0.25)
        self.head = nn.Conv2d(5, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.act2(self.conv2(self.pool(self.act1(self.conv1(x))))))


class Population:
    """The ON or the OFF neurons of a layer, which fire at most once per step.

    silent: neurons whose spikes are not sent. offset: of the start at half a threshold, in thetas.
    """

    silent: Any
    offset: Any
    spikes: Any

    def __init__(self, theta: Tensor):
        self.theta, self.silent, self.offset = theta.double().view(-1, 1, 1), False, 0.0
        self.spikes = 0.0

    def begin(self) -> None:
        self.received = self.fired = 0.0
        self.potential: Any = self.theta * (0.5 + self.offset)

    def fire(self, z: Tensor) -> Tensor:
        self.received = self.received + z
        self.potential = self.potential + z
        n = ((self.potential >= self.theta) & ~torch.as_tensor(self.silent)).double()
        self.potential = self.potential - n * self.theta
        self.fired = self.fired + n
        self.spikes = self.spikes + n.sum((1, 2, 3))
        return n * self.theta

    def surplus(self) -> Tensor:
        """Spikes more than the rounded sum of the input is worth; negative for spikes too few."""
        return self.fired - torch.floor(0.5 + self.received / self.theta)


def prepared_run(
    model: Any,
    neurons: Any,
    x: Tensor,
    rounds: list[int],
    T: int,
    learn: Callable[[Population], None],
) -> tuple[list[Tensor], Any]:
    """The output after each of T steps, and all spikes of each image."""
    on1, off1, on2, off2 = (
        Population(neurons[name][key])
        for name in ("act1", "act2")
        for key in ("theta", "theta_off")
    )
    populations = (on1, off1, on2, off2)
    outputs: list[Tensor] = []
    for steps in [*rounds, T]:
        for population in populations:
            population.begin()
        received = pooled = total = torch.zeros(())
        outputs = []
        for t in range(1, steps + 1):
            z = model.conv1(x)
            received = received + on1.fire(z) - 0.25 * off1.fire(-z)
            before, pooled = pooled, model.pool(received)
            z = model.conv2(pooled - before)
            total = total + on2.fire(z) - 0.25 * off2.fire(-z)
            outputs.append(model.head(total / t))
        for population in populations:
            learn(population)
    return outputs, sum(population.spikes for population in populations)
