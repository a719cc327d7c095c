"""Small networks that the tests convert, and the way from one of them to a spiking network."""

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from spiking_yolo.convert.calibrate import CalibrationJob, calibrate
from spiking_yolo.convert.learn.statistics import ImageList, Statistics, collect_histograms
from spiking_yolo.convert.load import Converted, convert
from spiking_yolo.convert.methods import get_recipe
from spiking_yolo.graph import Graph, forward
from spiking_yolo.graph.modules import PaddedMaxPool2d
from spiking_yolo.graph.rewrites import with_identities
from spiking_yolo.graph.trace import trace
from spiking_yolo.integer.network import IntegerNetwork
from spiking_yolo.integer.plan import Convolution, Neurons, Pooling, compile
from spiking_yolo.models.spec import HeadSpec, Spec
from spiking_yolo.rate.neurons.on_off import OnOff
from spiking_yolo.recipe import UNTRAINED_OPERATIONS, Recipe
from spiking_yolo.spikes.readout import Snapshot


class TinyLeaky(nn.Module):
    """Tiny-YOLO in small: pools of stride 2 and 1, a route, upsampling, concatenation, two heads.
    [N, 3, 8, 8].
    """

    def __init__(self, slope: float = 0.1):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 4, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(4)
        self.act1 = nn.LeakyReLU(slope)
        self.pool1 = nn.MaxPool2d(2)
        self.conv2 = nn.Conv2d(4, 6, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(6)
        self.act2 = nn.LeakyReLU(slope)
        self.pool2 = PaddedMaxPool2d(2, 1, (0, 1, 0, 1))
        self.conv3 = nn.Conv2d(6, 4, 1)
        self.act3 = nn.LeakyReLU(slope)
        self.up = nn.Upsample(scale_factor=2)
        self.head1 = nn.Conv2d(6, 5, 1)
        self.head2 = nn.Conv2d(8, 5, 3, padding=1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        early = self.act1(self.bn1(self.conv1(x)))
        deep = self.pool2(self.act2(self.bn2(self.conv2(self.pool1(early)))))
        joined = torch.cat([self.up(self.act3(self.conv3(deep))), early], 1)
        return self.head1(deep), self.head2(joined)


class Residual(nn.Module):
    """A residual block of ONE ReLU module and a downsampling convolution. [N, 3, 8, 8]."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, padding=1)
        self.conv1 = nn.Conv2d(4, 6, 3, stride=2, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(6)
        self.conv2 = nn.Conv2d(6, 6, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(6)
        self.down = nn.Sequential(nn.Conv2d(4, 6, 1, stride=2, bias=False), nn.BatchNorm2d(6))
        self.relu = nn.ReLU(inplace=True)
        self.fc = nn.Linear(6, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.stem(x))
        y = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        y += self.down(x)
        return self.fc(self.relu(y).mean((2, 3)))


class Pooled(nn.Module):
    """ReLU with max and average pooling, flatten and linear layers. [N, 3, 8, 8]."""

    def __init__(self):
        super().__init__()
        first = (nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.MaxPool2d(3, 2, 1))
        second = (nn.Conv2d(6, 6, 3, padding=1), nn.ReLU(), nn.AvgPool2d(2), nn.Flatten())
        last = (nn.Linear(24, 8), nn.ReLU(), nn.Dropout(), nn.Linear(8, 5))
        self.body = nn.Sequential(*first, *second, *last)

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x)


class Split(nn.Module):
    """Channels taken apart by chunk, split and slice, space by a strided slice. [N, 3, 8, 8]."""

    def __init__(self, act: Callable[[Tensor], Tensor] = torch.relu):
        super().__init__()
        self.act = act
        self.conv1 = nn.Conv2d(3, 6, 3, padding=1)
        self.conv2 = nn.Conv2d(3, 3, 1)
        self.conv3 = nn.Conv2d(3 + 2 + 1 + 4, 5, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.conv1(x))
        low, high = x.chunk(2, 1)
        y = torch.relu(self.conv2(low)) + high
        two, four = torch.split(x, [2, 4], dim=1)
        return self.conv3(torch.cat([y, two, x[:, 5:], four], 1)[:, :, ::2, 1:])


class Grouped(nn.Module):
    """Grouped, depthwise and dilated convolutions. [N, 3, 8, 8]."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, 6, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(6, 4, 3, padding=2, dilation=2, groups=2),
            nn.LeakyReLU(0.2),
            nn.Conv2d(4, 4, (3, 1), padding=(1, 0), groups=4),
            nn.ReLU(),
            nn.Conv2d(4, 5, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x)


ALL = (TinyLeaky, Residual, Pooled, Split, Grouped)


# Settings that make any method one that trains nothing.
UNTUNED = {
    "calibration.kind": "none",
    "calibration.frames": 1,
    "calibration.operations": UNTRAINED_OPERATIONS,
}


def make(cls: type[nn.Module], seed: int = 0, **kwargs: Any) -> nn.Module:
    """An instance in evaluation mode, in float64, with random weights, biases and batch-norm
    statistics.
    """
    torch.manual_seed(seed)
    model = cls(**kwargs).double().eval()
    for m in model.modules():
        if isinstance(m, nn.BatchNorm2d):
            nn.init.uniform_(m.weight, 0.5, 1.5)
            nn.init.normal_(m.bias, std=0.2)
            nn.init.normal_(m.running_mean, std=0.2)
            nn.init.uniform_(m.running_var, 0.1, 0.5)
    return model


def images(n: int = 2, seed: int = 0, size: int = 8) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(n, 3, size, size, generator=generator, dtype=torch.float64)


def statistics(graph: Graph, x: Tensor) -> Statistics:
    size = (x.shape[2], x.shape[3])
    return Statistics(collect_histograms(graph, [x]), "0" * 64, size, ImageList.of(["image"]))


def spec_of(graph: Graph, x: Tensor) -> Spec:
    """A Spec whose outputs those of the graph can be: of five classes, or of boxes of one class."""
    maps = [y for y in forward(graph, x) if y.ndim == 4]
    if not maps:
        return Spec("classify", tuple("abcde"), x.shape[2], x.shape[3])
    heads = (HeadSpec("yolov8", 1, 1, bins=1),) * len(maps)
    return Spec("detect", ("a",), x.shape[2], x.shape[3], heads=heads)


def spiking(
    model: nn.Module | Graph, x: Tensor, recipe: Recipe, settings: Mapping[str, Any] | None = None
) -> Converted:
    """`model` converted by the recipe, calibrated on x; what is trained, in few steps."""
    graph = model if isinstance(model, Graph) else trace(model, x[:1])
    spec = spec_of(graph, x[:1])
    few = {}
    if recipe.by_gradient:
        few["calibration.steps"] = min(8, recipe.calibration.steps)
    recipe, observed = recipe.with_settings({**few, **(settings or {})}), statistics(graph, x)
    # Whatever the outputs, they can be compared.
    classes = Spec("classify", tuple("abcde"), x.shape[2], x.shape[3])
    neurons = None
    if recipe.runs_network:
        # Tuning takes minutes.
        run = recipe.with_settings(UNTUNED) if recipe.calibration.kind == "tuned" else recipe
        neurons = calibrate(CalibrationJob(graph, classes, observed, run, list(x.split(1))))
    return convert(graph, spec, observed, recipe, neurons=neurons)


def numbers(snapshot: Snapshot) -> list[Tensor]:
    """Outputs, and all that is counted but for updates."""
    spikes, maps = snapshot.spikes.values(), snapshot.maps.values()
    return [*snapshot.outputs, *spikes, *snapshot.sent, *snapshot.operations, *maps]


def same(a: Snapshot, b: Snapshot) -> bool:
    """To the bit."""
    pairs = zip(numbers(a), numbers(b), strict=True)
    return all(torch.equal(*pair) for pair in pairs) and a.spikes.keys() == b.spikes.keys()


def engine(given: Converted, fast: bool = True) -> IntegerNetwork:
    """The network of whole numbers, in C where it is built and fast is set."""
    return IntegerNetwork(given.graph, given.neurons, given.recipe, given.spec, fast=fast)


def without_kernel(graph: Graph, spec: Spec) -> dict[str, int]:
    """How many nodes of a kind the program in C leaves to PyTorch."""
    graph = with_identities(graph)
    own = {"theta": torch.ones(1), "initial": torch.tensor(0.5)}
    neurons = {node.name: own for node in graph.activations}
    found = Counter[str]()
    for step in compile(graph, neurons, get_recipe("signed-digits"), spec).steps:
        node = step.node
        if isinstance(step, Neurons) and not step.in_c:
            phi = step.layer.phi
            found["softmax" if phi.softmax else "mish" if phi.mish else "activation"] += 1
        elif (
            (isinstance(step, Convolution) and step.kernel == "reference")
            or (isinstance(step, Pooling) and step.part is None)
            or node.product
        ):
            found[node.op] += 1
    return dict(found)


def spike_counts(net: Converted, x: Tensor, T: int) -> tuple[dict[str, Tensor], tuple[Tensor, ...]]:
    """Spikes of every neuron in T steps by layer, of a pair NAME_on and NAME_off; and the outputs,
    means over time.
    """
    counts: dict[str, Tensor] = {}

    def count(name: str, t: int, layer: Any, current: Tensor) -> None:
        sides = (
            {f"{name}_on": layer.on, f"{name}_off": layer.off}
            if isinstance(layer, OnOff)
            else {name: layer}
        )
        counts.update({side: neurons.count for side, neurons in sides.items()})

    return counts, net.simulator(observed=True).run(x, T, probes=[count]).snapshots[T].outputs
