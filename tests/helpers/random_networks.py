"""Random networks of all that the engine of whole numbers computes, and frames to show them."""

import math
import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from spiking_yolo.convert.load import Converted
from spiking_yolo.convert.methods import get_recipe
from spiking_yolo.errors import UserError
from spiking_yolo.graph import Graph, Node, forward, output_of
from spiking_yolo.graph.rewrites import product_sources
from spiking_yolo.models.spec import Spec
from spiking_yolo.recipe import Recipe
from spiking_yolo.spikes.layout import NeuronParameters

# Values of a map, products of a layer, and tokens of attention, at most.
VALUES, PRODUCTS, TOKENS = 60_000, 3_000_000, 160
WIDTHS = 1, 2, 3, 4, 7, 8, 12, 15, 16, 17, 24, 31, 32, 33, 48, 64, 70
KERNELS = (1, 1), (1, 1), (3, 3), (3, 3), (3, 3), (5, 5), (3, 5), (1, 7)
STRIDES = (1, 1), (1, 1), (1, 1), (2, 2), (2, 2), (1, 2), (3, 2), (3, 3)
ACTIVATIONS = {"slope": 0.0}, {"slope": 0.1}, {"slope": 1.0}, {"cap": 6.0}, {"cap": 0.3}
GATED = {"silu": True}, {"silu": True}, {"mish": True}
# What a map is: of the image; of what neurons have sent; of sums that no neuron has read; a sum of
# maps that neurons have sent, the same moved, or joined with others; any other sum; or what has its
# only reader.
IMAGE, SENT, SUMS, ADDED, MOVED, JOINED, MIXED, OWN = range(8)
READABLE = SENT, ADDED, MOVED, JOINED
Moves = list[tuple[str, dict[str, Any]]]


def window(kernel: int, stride: int, *padding: int, ceil: bool = False) -> dict[str, Any]:
    """Attributes of a pooling."""
    return {"kernel": [kernel] * 2, "stride": [stride] * 2, "padding": [*padding], "ceil": ceil}


LARGEST: Moves = [("max_pool", window(2, 2, 0, 0, 0, 0))] * 3
LARGEST += [("max_pool", window(2, 1, 0, 1, 0, 1))]
LARGEST += [("max_pool", window(2, 2, 0, 1, 0, 1)), ("max_pool", window(3, 2, 1, 1, 1, 1))]
LARGEST += [("max_pool", window(3, 2, 0, 0, 0, 0, ceil=True))]
MEANS: Moves = [("avg_pool", {**window(2, 2, 0, 0), "count_include_pad": True})]
MEANS += [("avg_pool", {**window(3, 1, 1, 0), "count_include_pad": True}), ("global_avg_pool", {})]
OTHERS: Moves = [("upsample", {"scale": [2, 2]})] * 3 + [("upsample", {"scale": [2, 3]})]
OTHERS += [("slice", {"slices": [[None] * 3, [0, None, 2], [1, None, 1]]})]
OTHERS += [("pad", {"padding": [1, 0, 0, 2]})]


def kind_of(node: Node, given: set[int]) -> int:
    """What the output of a node is, of what it reads."""
    if node.op in ("attention_scores", "flatten") or "softmax" in node.attrs:
        return OWN
    if node.attrs.get("groups", 1) > 1 and not given <= {IMAGE, SENT}:
        # It becomes a sum of layers, one per term.
        return MIXED
    if node.op == "activation" or node.multiplies:
        return SUMS if node.multiplies else SENT
    if node.op == "add":
        return ADDED if given <= {SENT, ADDED} else MIXED
    if node.op == "concat" and not given <= {SENT, SUMS}:
        return IMAGE if given == {IMAGE} else JOINED
    (kind,) = given if len(given) == 1 else {SUMS}
    return MOVED if kind == ADDED else kind


class RandomGraph:
    """A graph that grows at random.

    A step that does not fit raises UserError; what it has made by then stays.
    """

    def __init__(self, rng: random.Random, height: int, width: int, recipe: Recipe):
        self.rng, self.generator = rng, torch.Generator().manual_seed(rng.getrandbits(32))
        self.nodes, self.tensors = {"x": Node("x", "input")}, dict[str, Tensor]()
        self.maps = {"x": torch.empty(1, 3, height, width, device="meta")}
        self.kinds, self.read = {"x": IMAGE}, set[str]()
        self.activations: Any = ACTIVATIONS
        self.steps: list[Callable[[], str]] = [self.layer] * 5
        self.steps += [self.shortcut, self.shortcut, self.join, self.join, self.move, self.move]
        self.steps += [self.part, self.chain]
        if "silu" in recipe.neuron_kind.follows:
            self.activations += GATED
            self.steps += [self.attention] * 2

    def grow(self, layers: int) -> Graph:
        """The graph once it has so many layers and outputs."""
        while sum(node.multiplies for node in self.nodes.values()) < layers:
            self.tried(*self.steps)
        outputs = {self.tried(self.head): 0 for _ in range(self.rng.choice((1, 1, 2, 3)))}
        return Graph((*self.nodes.values(),), (*outputs,), self.tensors).up_to(*outputs)

    def tried(self, *steps: Callable[[], str]) -> str:
        """The map that one of some steps makes, as soon as one fits."""
        while True:
            try:
                return self.rng.choice(steps)()
            except UserError:
                continue

    def emit(self, op: str, *inputs: str, weight: Any = (), **attrs: Any) -> str:
        """A node more. weight: Shape of its weights."""
        name, tensors = f"{op}{len(self.nodes)}", dict[str, Tensor]()
        if weight:
            tensors = {f"{name}.weight": self.weight(*weight)}
            if self.rng.random() < 0.8:
                tensors[f"{name}.bias"] = self.normal(weight[0]) * 0.3
        node, kinds = Node(name, op, inputs, attrs), {self.kinds[one] for one in inputs}
        parameters = [tensors.get(f"{name}.{key}") for key in ("weight", "bias")]
        output = output_of(node, parameters, [self.maps[one] for one in inputs])
        if output.numel() > VALUES or output.numel() * math.prod(weight[1:]) > PRODUCTS:
            raise UserError(f"node {name!r} is large")
        self.nodes[name], self.maps[name], self.kinds[name] = node, output, kind_of(node, kinds)
        self.tensors |= tensors
        self.read.update(inputs)
        return name

    def normal(self, *shape: int) -> Tensor:
        return torch.randn(*shape, generator=self.generator)

    def weight(self, *shape: int) -> Tensor:
        """Of outputs of several scales: normal, most of them 0, or large and of one sign."""
        weight, one = self.normal(*shape), [1] * (len(shape) - 1)
        kind = self.rng.choice((weight, weight, weight * (weight > 1), 1 + weight.abs() / 9))
        scales = self.normal(shape[0]).mul(0.5).exp() / math.sqrt(math.prod(shape[1:]))
        return kind * scales.reshape(-1, *one)

    def size(self, name: str) -> tuple[int, ...]:
        return tuple(self.maps[name].shape[1:])

    def pick(self, *kinds: int, like: str = "", first: int = 1) -> str:
        """A map of these kinds, more often a late one, and one that is not read yet.

        like: Another one, of the same height and width; and number of channels, where first is 0.
        """
        found = [name for name, kind in self.kinds.items() if kind in kinds and name != like]
        if like:
            size = self.size(like)[first:]
            found = [name for name in found if self.size(name)[first:] == size]
        unread = [name for name in found if name not in self.read]
        if unread and self.rng.random() < 0.6:
            found = unread
        if not found:
            raise UserError("there is no such map")
        return self.rng.choice(found[-6:])

    def source(self) -> str:
        """A map that layers can read."""
        return self.pick(*((IMAGE,) if self.rng.random() < 0.1 else READABLE))

    def conv(self, source: str, out: int | None = None) -> str:
        """A convolution to any size; or to `out` channels, of the same height and width."""
        rng, width, stride, groups = self.rng, self.size(source)[0], (1, 1), 1
        kernel, dilation = rng.choice(KERNELS), [rng.choice((1, 1, 1, 2)), rng.choice((1, 1, 1, 2))]
        padding = [d * (k - 1) // 2 for d, k in zip(dilation, kernel, strict=True)]
        if out is None:
            stride, out = rng.choice(STRIDES), rng.choice(WIDTHS)
            if rng.random() < 0.3:
                padding = [rng.randint(0, 3), rng.randint(0, 3)]
            groups = rng.choice((1, 1, 1, 2 - width % 2, width))
            out = rng.choice((1, 1, 2)) * width if groups == width else out * groups
        attrs = {"stride": [*stride], "padding": padding, "dilation": dilation, "groups": groups}
        return self.emit("conv", source, weight=(out, width // groups, *kernel), **attrs)

    def neurons(self, source: str) -> str:
        return self.emit("activation", source, **self.rng.choice(self.activations))

    def sums(self) -> str:
        """A convolution; the largest or some of its sums, or those of another one too; and what is
        added to them.
        """
        draw, source = self.rng.random(), self.source()
        y = self.conv(source)
        if self.kinds[y] == MIXED:
            # Only neurons and sums read it.
            draw = 1.0
        if draw < 0.35:
            op, attrs = self.rng.choice(LARGEST)
            y = self.emit(op, y, **attrs)
        elif draw < 0.45:
            y = self.emit("concat", y, self.pick(SUMS, like=y))
        elif draw < 0.6:
            y = self.part(y)
        for _ in range(self.rng.choice((0, 0, 0, 1, 1, 2, 3))):
            y = self.emit("add", y, self.beside(y))
        return y

    def beside(self, name: str) -> str:
        """A map of the shape of another one, by convolution, of neurons or both."""
        node, draw = self.nodes[name], self.rng.random()
        if draw < 0.3:
            return self.pick(SENT, SUMS, ADDED, MIXED, like=name, first=0)
        if node.op == "conv" and draw < 0.7:
            shape = self.tensors[f"{name}.weight"].shape
            made = self.emit("conv", *node.inputs, weight=(*shape,), **node.attrs)
        else:
            made = self.conv(self.pick(*READABLE, like=name), self.size(name)[0])
        return self.neurons(made) if self.rng.random() < 0.4 else made

    def layer(self) -> str:
        return self.neurons(self.sums())

    def shortcut(self) -> str:
        """A map, and what neurons make of it or of another one."""
        one = self.pick(SENT, ADDED)
        if self.rng.random() < 0.4:
            return self.emit("add", one, self.pick(SENT, ADDED, like=one, first=0))
        return self.emit("add", one, self.neurons(self.conv(one, self.size(one)[0])))

    def join(self) -> str:
        """Two to four maps, parts of them, or one of them twice."""
        names = [self.source()]
        kinds = (IMAGE,) if self.kinds[names[0]] == IMAGE else READABLE
        for _ in range(self.rng.randint(1, 3)):
            draw, one = self.rng.random(), self.rng.choice(names)
            if draw < 0.1:
                names.append(one)
            elif draw < 0.3:
                names.append(self.part(one))
            elif draw < 0.5 and kinds == READABLE:
                names.append(self.neurons(self.conv(one, self.rng.choice(WIDTHS))))
            else:
                names.append(self.pick(*kinds, like=one))
        return self.emit("concat", *names)

    def part(self, source: str = "") -> str:
        """Some of the channels, in a row or every second or third."""
        source = source or self.pick(*READABLE)
        width = self.size(source)[0]
        first = self.rng.randrange(width)
        slices = [[first, self.rng.randint(first + 1, width), self.rng.choice((1, 1, 2, 3))]]
        return self.emit("slice", source, slices=slices)

    def move(self) -> str:
        """Pooling of what neurons have sent or of the image, upsampling, or a cut or a border."""
        op, attrs = self.rng.choice(self.rng.choice((LARGEST, MEANS, OTHERS, OTHERS)))
        source = self.source()
        if op in ("max_pool", "pad") and self.kinds[source] not in (IMAGE, SENT):
            raise UserError("each of the maps of a sum has a scale of its own")
        return self.emit(op, source, **attrs)

    def chain(self) -> str:
        """Maxima one after the other, joined (SPPF)."""
        names = [self.pick(SENT)]
        for _ in range(self.rng.randint(1, 3)):
            names.append(self.emit("max_pool", names[-1], **window(5, 1, 2, 2, 2, 2)))
        return self.emit("concat", *names)

    def attention(self) -> str:
        """Attention with a positional convolution, and a shortcut around it."""
        source, heads = self.pick(*READABLE), self.rng.choice((1, 2))
        attrs, identity = {"heads": heads, "areas": self.rng.choice((1, 2))}, {"slope": 1.0}
        if not 1 < math.prod(self.size(source)[1:]) <= TOKENS:
            raise UserError("there are too many tokens")
        widths = [heads * self.rng.choice((2, 3, 8)), heads * self.rng.choice((3, 4, 8))]
        q, k, v = [
            self.emit("activation", self.conv(source, out), **identity)
            for out in (widths[0], widths[0], widths[1] + 2)
        ]
        if self.rng.random() < 0.5:
            v = self.emit("slice", v, slices=[[1, 1 + widths[1], 1]])
        scores = self.emit("attention_scores", q, k, **attrs)
        y = self.emit("attend", self.emit("activation", scores, softmax=True), v, **attrs)
        if self.rng.random() < 0.7:
            y = self.emit("add", y, self.conv(v, self.size(y)[0]))
        y = self.conv(self.emit("activation", y, **identity), self.size(source)[0])
        if self.kinds[source] in (SENT, ADDED):
            y = self.emit("add", source, y)
        return self.neurons(y)

    def head(self) -> str:
        """An output: sums, two that are joined, what neurons have sent, or classes."""
        kind = self.rng.choice(("sums", "sums", "joined", "neurons", "classes", "flat"))
        if kind == "sums":
            return self.sums()
        y = self.pick(SENT)
        if kind == "flat":
            return self.emit("flatten", self.conv(y) if self.rng.random() < 0.5 else y)
        if kind == "joined":
            y = self.conv(y)
            return self.emit("concat", y, self.pick(SENT, SUMS, like=y))
        if kind == "neurons":
            return y
        y = self.pick(SENT, ADDED)
        if self.rng.random() < 0.5:
            y = self.emit("global_avg_pool", y)
        y = self.emit("flatten", y)
        if self.rng.random() < 0.3:
            y = self.emit("concat", y, self.emit("flatten", self.pick(SENT)))
        if self.rng.random() < 0.5:
            y = self.neurons(self.emit("linear", y, weight=(7, *self.size(y))))
        return self.emit("linear", y, weight=(self.rng.choice(WIDTHS), *self.size(y)))


def random_network(seed: int, narrow: bool = False) -> Converted:
    """A network of 4 to 14 layers with its neurons, of the default method for the most part.

    narrow: Of an image from 1 to 9 pixels high and wide, less than most kernels.
    """
    rng = random.Random(seed)
    recipe = get_recipe(rng.choice(("signed-digits",) * 8 + ("few-spikes", "sfn")))
    if recipe.neuron.slack and rng.random() < 0.25:
        recipe = recipe.with_settings({"neuron.slack": 0})
    sides = range(1, 10) if narrow else range(8, 49, rng.choice((1, 1, 4, 8)))
    height, width = rng.sample(sides, 2)
    spec = Spec("detect", ("a",), height, width)
    if rng.random() < 0.3:
        spec = replace(spec, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    layers, graph = rng.randint(4, 12), Graph((Node("x", "input"),), ("x",), {})
    while not (graph.activations and 4 <= len(graph.layers) <= 14):
        graph = RandomGraph(rng, height, width, recipe).grow(layers)
    converted = Converted(graph, spec, recipe, {}, {"seed": str(seed)})
    images = torch.cat(random_frames(converted, seed, 9))
    return replace(converted, neurons=random_neurons(graph, recipe, images, seed))


def random_neurons(graph: Graph, recipe: Recipe, images: Tensor, seed: int) -> NeuronParameters:
    """Of the ranges of values on images: a channel sends up to 3 levels, 280 or between, some of
    which are out of reach.
    """
    generator, ranges = torch.Generator().manual_seed(seed), dict[str, tuple[Tensor, Tensor]]()

    def observe(node: Node, _: Tensor, y: Tensor) -> None:
        low, high = y.movedim(1, 0).flatten(1).aminmax(dim=1)
        ranges[node.name] = low, torch.where(high > low, high, low + 1)

    outputs = dict(zip(graph.outputs, forward(graph, images, observe), strict=True))
    fixed, neurons = product_sources(graph), dict[str, dict[str, Tensor]]()
    for name, (low, high) in ranges.items():
        size, initial, bias, rest = torch.rand(4, len(low), generator=generator)
        theta = (high - low) / 3 * (3 / 280) ** size
        neurons[name] = own = {"theta": theta, "initial": torch.tensor(0.5)}
        shown = torch.rand(3, generator=generator) < 0.6
        if shown[0]:
            own["initial"] = 0.3 + 0.4 * initial
        if shown[1]:
            own["bias"] = theta * (bias - 0.5)
        if shown[2] and name not in fixed and recipe.neuron.kind == "sigma-delta":
            own["rest"] = ((low + (high - low) * rest) / theta * 256).round() / 256
    for name in graph.outputs:
        if graph[name].op in ("conv", "linear", "add"):
            neurons[name] = {"bias": torch.randn(outputs[name].shape[1], generator=generator)}
    return neurons


def random_frames(converted: Converted, seed: int, count: int) -> list[Tensor]:
    """Images [1, 3, H, W] of a video in which nothing, a pixel, a row, a rectangle that moves or all
    of it changes: by little, from black to white, or to another scene.
    """
    spec, rng, frames = converted.spec, np.random.default_rng(seed), list[Tensor]()
    mean, std = (torch.tensor(x)[:, None, None] for x in (spec.mean, spec.std))
    size = 3, spec.height, spec.width
    picture, kinds = random_picture(rng, *size), list[int]()
    for k in range(count):
        frames.append((torch.from_numpy(picture / 255).float()[None] - mean) / std)
        kinds = kinds or rng.permutation(5).tolist()
        (row, column), top, left = rng.integers(size[1:]), 2 * k % size[1], 3 * k % size[2]
        everything = slice(None)
        where = [(slice(0), everything), (row, column), (row, everything)]
        where += [(slice(top, top + 5), slice(left, left + 4)), (everything, everything)]
        part = (everything, *where[kinds.pop()])
        noisy = (picture + rng.integers(-1, 2, size)).clip(0, 255)
        new = noisy, np.where(picture < 128, 255, 0), random_picture(rng, *size)
        picture = picture.copy()
        picture[part] = new[rng.integers(3)][part]
    return frames


def random_picture(rng: np.random.Generator, *size: int) -> NDArray[Any]:
    """Smooth colours with noise, whole numbers 0..255, [3, H, W]."""
    coarse = torch.from_numpy(rng.uniform(-60, 315, (1, 3, 4, 5)))
    smooth = F.interpolate(coarse, size[1:], mode="bicubic")[0].numpy()
    return (smooth + rng.normal(0, 4, size)).round().clip(0, 255)
