"""The exported models, run by onnxruntime: against the simulator, brute force and our decoder."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.attention import Attending
from helpers.networks import Grouped, Pooled, Residual, TinyLeaky, images, make, spiking
from helpers.random_networks import random_frames, random_network
from helpers.tiny import photo, run_tool, write_tiny
from torch import Tensor, nn

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

from spiking_yolo import SpikingYOLO  # noqa: E402
from spiking_yolo.convert.load import Converted  # noqa: E402
from spiking_yolo.convert.methods import get_recipe  # noqa: E402
from spiking_yolo.decode.boxes import decode  # noqa: E402
from spiking_yolo.decode.selection import Selection  # noqa: E402
from spiking_yolo.errors import UserError  # noqa: E402
from spiking_yolo.graph import forward  # noqa: E402
from spiking_yolo.graph.rewrites import with_identities  # noqa: E402
from spiking_yolo.graph.trace import trace  # noqa: E402
from spiking_yolo.integer.convolution import Border, WholeConvolution  # noqa: E402
from spiking_yolo.integer.network import IntegerNetwork  # noqa: E402
from spiking_yolo.integer.neuron import power_of_two  # noqa: E402
from spiking_yolo.integer.state import Counted  # noqa: E402
from spiking_yolo.integer.video import Stream  # noqa: E402
from spiking_yolo.models.heads import HeadSpec  # noqa: E402
from spiking_yolo.models.spec import Spec  # noqa: E402
from spiking_yolo.observe import read_input  # noqa: E402
from spiking_yolo.onnx import operators  # noqa: E402
from spiking_yolo.onnx.model import ExportedConvolution, ann_model, detections, spiking_model  # noqa: E402
from spiking_yolo.spikes import counting  # noqa: E402

ROOT = Path(__file__).parents[2]
UNTRAINED = {"calibration.kind": "none", "threshold.rule": "max", "threshold.scale": 0.03}


class Activated(nn.Module):
    """Layers of neurons with a cap, which many reach, SiLU and mish. [N, 3, 8, 8]."""

    def __init__(self):
        super().__init__()
        layers: list[nn.Module] = []
        for channels, activation in ((3, nn.ReLU6()), (8, nn.SiLU()), (8, nn.Mish())):
            layers += [nn.Conv2d(channels, 8, 3, padding=1), activation]
        layers[0].weight.data *= 8
        self.body = nn.Sequential(*layers, nn.Conv2d(8, 5, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x)


def tiny(
    cls: type[nn.Module] = TinyLeaky, method: str = "signed-digits", **settings: Any
) -> Converted:
    changes = {name.replace("__", "."): value for name, value in settings.items()}
    if method == "signed-digits":
        changes = UNTRAINED | changes
    graph = with_identities(trace(make(cls).float(), images(1).float()))
    return spiking(graph, images(2).float(), get_recipe(method), changes)


def session(model: Any, optimised: bool = True) -> Any:
    options = onnxruntime.SessionOptions()
    if not optimised:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    providers = ["CPUExecutionProvider"]
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=providers)


def run(
    model: Any, x: Tensor, states: dict[str, Any] | None = None, optimised: bool = True
) -> dict[str, np.ndarray]:
    runner = session(model, optimised)
    feed = {"images": x.numpy(), **(states or {})}
    return dict(zip([o.name for o in runner.get_outputs()], runner.run(None, feed), strict=True))


def metadata(model: Any) -> dict[str, str]:
    return {entry.key: entry.value for entry in model.metadata_props}


def translated(module: nn.Module, x: Tensor) -> list[np.ndarray]:
    options: dict[str, Any] = {"opset_version": operators.OPSET, "verbose": False}
    table = operators.TRANSLATIONS
    options |= {"dynamo": True, "custom_translation_table": table}
    program = torch.onnx.export(module, (x,), **options)
    assert program is not None
    runner = session(program.model_proto)
    return runner.run(None, {runner.get_inputs()[0].name: x.numpy()})


def test_operators_have_the_same_bits_as_onnx():
    class Operators(nn.Module):
        def forward(self, x: Tensor) -> tuple[Tensor, ...]:
            digits = counting.count_digits(x), counting.count_binary_digits(x.abs())
            powers = power_of_two(-x.abs().floor().clamp(max=126))
            rounded = [counting.digit_saving_round(x, slack) for slack in (0.0, 0.15, 0.3)]
            return *digits, powers, *rounded

    x = torch.arange(-130.0, 130).repeat_interleave(6)
    # Whole numbers, halves, and where the rounding turns, from both sides.
    turns = torch.tensor([0.0, 0.2, 0.35, 0.5, 0.65, 0.8]).repeat(260)
    x = torch.cat([x + turns, (x + turns).nextafter(x), (x + turns).nextafter(x + 1)])
    for found, expected in zip(translated(Operators(), x), Operators()(x), strict=True):
        np.testing.assert_array_equal(found, expected.numpy())


@pytest.mark.slow
def test_the_operators_alone():
    """They import what defines them."""
    subprocess.run([sys.executable, "-c", "import spiking_yolo.onnx.operators"], check=True)


def test_the_ann():
    net = tiny()
    x = images(3, seed=2).float()
    results = run(ann_model(net.graph, net.spec), x)
    for k, expected in enumerate(forward(net.graph, x)):
        np.testing.assert_allclose(results[f"head_{k}"], expected.numpy(), atol=1e-5)


def test_a_classifier_normalises_its_images():
    net = tiny(Residual)
    spec = replace(net.spec, mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4))
    x = images(2).float()
    results = run(ann_model(net.graph, spec), x)
    normal = (x - torch.tensor(spec.mean)[:, None, None]) / torch.tensor(spec.std)[:, None, None]
    np.testing.assert_allclose(results["logits"], forward(net.graph, normal)[0].numpy(), atol=1e-5)
    with pytest.raises(UserError, match="classifier"):
        ann_model(net.graph, spec, boxes=Selection())


def step(net: Converted, x: Tensor, state: Any = None, **options: Any) -> Counted:
    """A photograph, or a frame of a video, as the package computes it."""
    network = net.network()
    assert isinstance(network, IntegerNetwork)
    image = network.plan.parameters.as_bytes(x)
    return (state or network.start(len(x))).step(image, maps=True, **options)


def assert_equal(results: dict[str, np.ndarray], expected: Counted) -> None:
    """Heads and events, to the bit."""
    heads = [value for name, value in results.items() if name.startswith(("head", "logits"))]
    for ours, output in zip(heads, expected.outputs, strict=True):
        np.testing.assert_array_equal(ours, output.numpy())
    for name, counts in expected.maps.items():
        each = torch.cat(counting.Counts.unstacked(counts), 1).numpy()
        np.testing.assert_array_equal(results[f"events.{name}"], each)


# An export takes seconds: two networks at once, the others when there is time.
FEW = [(TinyLeaky, "signed-digits"), (Activated, "signed-digits")]
MORE = [(cls, "signed-digits") for cls in (Residual, Pooled, Grouped, Attending)]
MORE += [(TinyLeaky, "few-spikes"), (TinyLeaky, "sfn")]


@cache
def exported(cls: type[nn.Module], method: str) -> Any:
    """A network of the package, and its model with counts."""
    net = tiny(cls, method)
    return net, spiking_model(net, counts=True)


@pytest.mark.parametrize(
    ("cls", "method"), [*FEW, *(pytest.param(*one, marks=pytest.mark.slow) for one in MORE)]
)
def test_a_photograph_equals_the_package_to_the_bit(cls, method):
    net, model = exported(cls, method)
    x = images(3, seed=4).float()
    expected = step(net, x)
    for optimised in (True, False):
        assert_equal(run(model, x, optimised=optimised), expected)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_a_random_network_equals_the_package_to_the_bit(seed):
    net = random_network(seed)
    x = random_frames(net, seed, 1)[0]
    mean, std = (torch.tensor(value)[:, None, None] for value in (net.spec.mean, net.spec.std))
    assert_equal(run(spiking_model(net, counts=True), x * std + mean), step(net, x))


def test_sums_that_pass_24_bits_are_added_as_integers():
    """A layer of 4,200 inputs, all of which are large."""
    levels = torch.full((2, 4200, 1, 1), 127.0)
    levels[1, ::2] = -127
    attrs = {"stride": (1, 1), "padding": (0, 0), "dilation": (1, 1), "groups": 1}
    border = Border(torch.arange(18.0).reshape(2, 3, 3))
    layer = WholeConvolution(levels, attrs, 127, border)
    x = torch.randint(100, 128, (2, 4200, 3, 3), generator=torch.Generator().manual_seed(0)).float()
    exported = ExportedConvolution(layer)
    assert layer.wide

    class Layer(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return exported(x)

    np.testing.assert_array_equal(translated(Layer(), x)[0], layer(x).numpy())


def test_counts_and_operations():
    net, model = exported(*FEW[0])
    x = images(3, seed=4).float()
    results = run(model, x)
    executed = net.network().run(x, 1)
    snapshot = executed.snapshots[1]
    names = json.loads(metadata(model)["senders"])
    assert set(names) == set(snapshot.sent_by_layer)
    for k, name in enumerate(names):
        for counted, total in zip(
            counting.Counts._fields, snapshot.sent_by_layer[name], strict=True
        ):
            np.testing.assert_array_equal(results[counted][:, k], total.numpy())
    spent = torch.stack([*snapshot.operations], 1)
    np.testing.assert_allclose(results["operations"], spent.numpy(), rtol=1e-6)
    assert "that of the file" in metadata(model)["license"]
    assert int(metadata(model)["macs"]) == executed.macs


def test_frames_equal_those_of_a_stream_to_the_bit():
    net = tiny(neuron__dead_zone=0.33, encoding__denoise=False)
    model = spiking_model(net, stateful=True, counts=True)
    runner, table = session(model), json.loads(metadata(model)["states"])
    outputs = [output.name for output in runner.get_outputs()]
    states = {}
    for entry in table:
        shape = [2 if size == "batch" else size for size in entry["shape"]]
        states[entry["input"]] = np.zeros(shape, np.float32)
    network = net.network()
    stream, state = Stream(network), network.start(2)
    x = images(2).float()
    for k in range(5):
        results = dict(zip(outputs, runner.run(None, {"images": x.numpy(), **states}), strict=True))
        states = {entry["input"]: results[entry["output"]] for entry in table}
        snapshot = stream(x).snapshots[1]
        np.testing.assert_array_equal(results["head_0"], snapshot.outputs[0].numpy())
        np.testing.assert_allclose(results["operations"][:, 1], snapshot.operations.digits.numpy())
        assert_equal(results, step(net, x, state, dead_zone=0.33))
        x = x + 0.08 * images(2, seed=k).float()


@pytest.mark.slow
def test_a_photograph_of_the_shipped_network_to_the_bit():
    detector = SpikingYOLO()
    x = read_input(ROOT / "data" / "samples" / "dog.jpg").prepared(detector.spec).x[None] / 255
    model, expected = spiking_model(detector.converted, counts=True), step(detector.converted, x)
    for optimised in (True, False):
        assert_equal(run(model, x, optimised=optimised), expected)


@pytest.mark.parametrize("agnostic", [pytest.param(False, marks=pytest.mark.slow), True])
def test_boxes_in_the_graph(tmp_path, agnostic):
    """As the detector finds them, in pixels of the network's input."""
    detector = SpikingYOLO(write_tiny(tmp_path))
    options = {"conf": 0.05, "iou": 0.3, "agnostic_nms": agnostic}
    path = photo(tmp_path / "photo.jpg")
    result = detector.detect(path, T=1, **options)
    assert len(result.boxes.xyxy) > 1
    prepared = read_input(path).prepared(detector.spec)
    model = spiking_model(detector.converted, boxes=Selection(**options))
    found = run(model, prepared.x[None] / 255)["detections"]
    assert prepared.placement is not None
    spec = detector.spec
    boxes = torch.from_numpy(found[:, 1:5]) / torch.tensor([spec.width, spec.height] * 2)
    assert (np.diff(found[:, 5]) <= 0).all() and (found[:, 0] == 0).all()
    in_picture = prepared.placement.to_image(boxes)
    # The graph does not know where the photograph lies in its grey frame.
    inside = (in_picture[:, 2:] > in_picture[:, :2]).all(1)
    in_picture, found = in_picture[inside], found[inside.numpy()]
    np.testing.assert_allclose(found[:, 5], result.boxes.conf, atol=1e-5)
    for box, label in zip(result.boxes.xyxy, result.boxes.cls, strict=True):
        gaps = (in_picture - torch.as_tensor(box)).abs().amax(1)
        gaps[torch.from_numpy(found[:, 6]) != int(label)] = torch.inf
        assert gaps.min() < 0.05


@pytest.mark.parametrize("agnostic", [False, True])
def test_boxes_of_a_head_without_suppression(agnostic):
    """As Selection chooses them, without duplicates and at most max_det in each image."""
    head = HeadSpec("yolov8", classes=2, num=1, bins=1)
    spec = Spec("detect", ("a", "b"), 64, 64, "stretch", (head, head), nms=False)
    values = torch.randn(2, 6, 4, 4, generator=torch.Generator().manual_seed(0))
    # No side is negative.
    values[:, :4] = values[:, :4].abs()
    heads = [values, values]
    selection = Selection(conf=0.4, max_det=5, agnostic_nms=agnostic)
    found = detections(heads, spec, selection)
    boxes, scores = decode(heads, spec)
    for k in range(2):
        own = found[found[:, 0] == k]
        chosen = selection.select(boxes[k], scores[k], nms=False)
        assert len(own) == 5 and len(set(own[:, 5].tolist())) == 5
        torch.testing.assert_close(own[:, 5], chosen.confidence)
        assert own[:, 6].tolist() == chosen.class_id.tolist()


def test_the_tools(tmp_path, capsys):
    """A file with boxes."""
    weights = write_tiny(tmp_path)
    output = tmp_path / "net.onnx"
    assert run_tool("export", "--weights", weights, "--ann", "--boxes", "-o", output) == 0
    assert "the original network" in capsys.readouterr().out
    onnx.checker.check_model(onnx.load(output), full_check=True)
