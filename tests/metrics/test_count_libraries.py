"""Networks of spikingjelly, snntorch and norse, counted and compared with loops over what their
layers receive. Each test needs its library, which this package does not.
"""

from typing import Any

import pytest
import torch
from helpers.counting import work_by_loops
from torch import Tensor, nn

from spiking_yolo import count, counting
from spiking_yolo.metrics.count import NetworkCount
from spiking_yolo.spikes.counting import Counts

T, N = 3, 2


def inputs_of(model: nn.Module) -> dict[str, list[Tensor]]:
    """What its convolutions and linear layers will receive, one list for each, in order."""
    received: dict[str, list[Tensor]] = {}
    for name, module in model.named_modules():
        if isinstance(module, nn.Conv2d | nn.Linear):

            def keep(module: nn.Module, args: tuple[Any, ...], name: str = name) -> None:
                received.setdefault(name, []).append(args[0].detach())

            module.register_forward_pre_hook(keep)
    return received


def compare(model: nn.Module, counted: NetworkCount, received: dict[str, list[Tensor]]) -> None:
    """With loops over all events; the first layer receives a picture."""
    assert (counted.T, counted.images) == (T, N)
    assert [layer.name for layer in counted.layers] == list(received)
    assert counted.layers[0].unit is None and counted.operations.spikes > 0
    modules = dict(model.named_modules())
    for layer in counted.layers[1:]:
        module: Any = modules[layer.name]
        axes = 3 if isinstance(module, nn.Conv2d) else 1
        x = torch.cat([x.reshape(-1, *x.shape[x.ndim - axes :]) for x in received[layer.name]])
        assert layer.unit is not None
        work = work_by_loops(module, (x / layer.unit).round())
        assert layer.macs * N == work.macs
        assert Counts.of(lambda n: n * N, layer.operations) == pytest.approx(work[1:])


def spikingjelly(*names: str) -> list[Any]:
    """Modules of its, or skip the test."""
    reason = "needs spikingjelly 2.0: pip install spikingjelly"
    return [pytest.importorskip(f"spikingjelly.activation_based.{n}", reason=reason) for n in names]


@pytest.fixture
def pictures() -> Tensor:
    return torch.rand(N, 1, 8, 8, generator=torch.Generator().manual_seed(0))


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize("mode", ["m", "s"])
def test_spikingjelly(mode: str, pictures: Tensor):
    """The CSNN of its tutorial in small, in its multi-step mode and called step by step."""
    functional, layer, neuron = spikingjelly("functional", "layer", "neuron")

    net = nn.Sequential(
        *(layer.Conv2d(1, 4, 3, padding=1, bias=False), layer.BatchNorm2d(4)),
        *(neuron.IFNode(v_threshold=0.3), layer.MaxPool2d(2, 2)),
        *(layer.Conv2d(4, 4, 3, padding=1, bias=False), layer.BatchNorm2d(4)),
        *(neuron.IFNode(v_threshold=0.05), layer.AvgPool2d(2, 2), layer.Flatten()),
        *(layer.Linear(16, 10, bias=False), neuron.IFNode()),
    )
    functional.set_step_mode(net, mode)
    received = inputs_of(net)
    if mode == "m":
        counted = count(net, pictures.expand(T, *pictures.shape))
    else:
        with counting(net.eval()) as counts, torch.no_grad():
            for _ in range(T):
                net(pictures)
        counted = counts.result()
    assert [layer.unit for layer in counted.layers[1:]] == [1, 0.25]
    functional.set_step_mode(net, "s")
    compare(net, counted, received)


def test_spikingjelly_counts_the_same(pictures: Tensor):
    """Its own counter, where spikes are zeros and ones."""
    functional, neuron, op_counter = spikingjelly("functional", "neuron", "op_counter")

    net = nn.Sequential(
        *(nn.Conv2d(1, 4, 3), neuron.IFNode(v_threshold=0.2)),
        *(nn.Conv2d(4, 6, 3, stride=2, padding=1, groups=2), neuron.IFNode(v_threshold=0.05)),
        *(nn.Flatten(), nn.Linear(54, 5)),
    ).eval()
    counter = op_counter.SynOpCounter()
    with op_counter.DispatchCounterMode([counter]), torch.no_grad():
        net(pictures)
    functional.reset_net(net)
    theirs = counter.get_total()
    assert theirs > 0 and count(net, pictures).operations.spikes * N == theirs
    functional.reset_net(net)
    assert count(net, pictures).operations.spikes * N == theirs


def test_snntorch(pictures: Tensor):
    """A loop over time inside of forward, Leaky neurons, pooling of potentials; RLeaky's recurrent
    layer is counted too.
    """
    snntorch = pytest.importorskip("snntorch", reason="needs snntorch: pip install snntorch")

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv1 = nn.Conv2d(1, 4, 5, padding=2)
            self.lif1 = snntorch.Leaky(0.9, threshold=0.3)
            self.conv2, self.lif2 = nn.Conv2d(4, 6, 3), snntorch.Leaky(0.5, threshold=0.05)
            self.fc = nn.Linear(6, 5)
            self.lif3 = snntorch.RLeaky(0.5, threshold=0.05, linear_features=5)

        def forward(self, x: Tensor) -> Tensor:
            mem1, mem2 = self.lif1.init_leaky(), self.lif2.init_leaky()
            spk3, mem3 = self.lif3.init_rleaky()
            total = torch.zeros(len(x), 5)
            for _ in range(T):
                spk1, mem1 = self.lif1(nn.functional.max_pool2d(self.conv1(x), 2), mem1)
                spk2, mem2 = self.lif2(nn.functional.max_pool2d(self.conv2(spk1), 2), mem2)
                spk3, mem3 = self.lif3(self.fc(spk2.flatten(1)), spk3, mem3)
                total = total + spk3
            return total

    net = Net()
    received = inputs_of(net)
    counted = count(net, pictures)
    assert counted.layers[-1].name == "lif3.recurrent" and not counted.uncounted
    compare(net, counted, received)


def test_norse(pictures: Tensor):
    """A SequentialState, called with the state of the step before."""
    norse = pytest.importorskip("norse.torch", reason="needs norse: pip install norse")
    parameters = norse.LIFParameters(v_th=torch.tensor(0.02))
    net = norse.SequentialState(
        *(nn.Conv2d(1, 4, 3), norse.LIFCell(parameters)),
        *(nn.Conv2d(4, 4, 3, stride=2, padding=1), norse.LIFCell(parameters)),
        *(nn.Flatten(), nn.Linear(36, 5)),
    ).eval()
    received = inputs_of(net)
    state = None
    with counting(net) as counts, torch.no_grad():
        for _ in range(T):
            _, state = net(pictures, state)
    compare(net, counts.result(), received)
