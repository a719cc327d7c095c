"""Operations behind slices of channels, from the counts of the neurons."""

import torch
from helpers.networks import images, make, spiking
from torch import Tensor, nn

from spiking_yolo.convert.methods import get_recipe


class Sliced(nn.Module):
    """Each half of the channels goes its own way, as in C2f, and one of them behind max pooling and
    an addition.
    """

    def __init__(self, slope: float = 0.0):
        super().__init__()
        self.conv, self.pool = nn.Conv2d(3, 4, 1), nn.MaxPool2d(2)
        self.act = nn.LeakyReLU(slope) if slope else nn.ReLU()
        self.first, self.second = nn.Conv2d(2, 5, 1), nn.Conv2d(2, 7, 1)
        self.inner, self.relu, self.third = nn.Conv2d(2, 2, 1), nn.ReLU(), nn.Conv2d(2, 3, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        a, b = self.act(self.conv(x)).chunk(2, 1)
        c, d = self.pool(torch.cat([b, a], 1)).chunk(2, 1)
        return self.first(a), self.second(b), self.third(c + self.relu(self.inner(d)))


def test_slices_of_channels_get_the_events_of_these():
    """In one step a neuron's count is what it sends: by hand from the counts of the neurons."""
    for method, slope, settings in (
        ("p-norm", 0.0, {"neuron.initial": 0.5}),
        ("p-norm", 0.1, {"neuron.initial": 0.5}),
        ("burst", 0.1, {}),
        ("msat", 0.1, {"msat.gain": 1, "neuron.initial": 1}),
        ("dcgs", 0.1, {}),
    ):
        x = images(2)
        converted = spiking(make(Sliced, slope=slope), x, get_recipe(method), settings)
        network = converted.simulator(observed=True)
        found = network.run(x, T=1).snapshots[1].operations_by_layer
        sent = network.layer("act").count.double().sum((2, 3))
        assert sent.sum() > 0
        assert found["first"].spikes.tolist() == (5 * sent[:, :2].sum(1)).tolist()
        assert found["second"].spikes.tolist() == (7 * sent[:, 2:].sum(1)).tolist()
        heard = (network.layer("act").count > 0).double().sum((2, 3))
        assert found["second"].messages.tolist() == (7 * heard[:, 2:].sum(1)).tolist()
        if "pool" in network.counts():
            pooled, added = (network.counts()[n].spikes.sum((2, 3)) for n in ("pool", "relu"))
            assert found["inner"].spikes.tolist() == (2 * pooled[:, 2:].sum(1)).tolist()
            third = 3 * (pooled[:, :2].sum(1) + added.sum(1))
            assert found["third"].spikes.tolist() == third.tolist()
