"""The exported models, run by onnxruntime: against the simulator, brute force and our decoder."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from helpers.networks import Residual, TinyLeaky, images, make, spiking
from helpers.tiny import photo, run_tool, write_tiny
from torch import Tensor, nn

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

from spiking_yolo import SpikingYOLO  # noqa: E402
from spiking_yolo.convert.converted import Converted  # noqa: E402
from spiking_yolo.convert.methods import get_recipe  # noqa: E402
from spiking_yolo.decode import DetectionOptions  # noqa: E402
from spiking_yolo.decode.boxes import decode  # noqa: E402
from spiking_yolo.decode.selection import Selection  # noqa: E402
from spiking_yolo.errors import UserError  # noqa: E402
from spiking_yolo.graph import forward  # noqa: E402
from spiking_yolo.integer.stream import Stream  # noqa: E402
from spiking_yolo.models.heads import HeadSpec  # noqa: E402
from spiking_yolo.models.spec import Spec  # noqa: E402
from spiking_yolo.observe import read_input  # noqa: E402
from spiking_yolo.onnx import operators  # noqa: E402
from spiking_yolo.onnx.model import ann_model, detections, spiking_model  # noqa: E402
from spiking_yolo.snn import counting  # noqa: E402

UNTRAINED = {"calibration.kind": "none", "threshold.rule": "max", "threshold.scale": 0.03}


def tiny(cls: type[nn.Module] = TinyLeaky, method: str = "signed-digits") -> Converted:
    settings = UNTRAINED if method == "signed-digits" else {}
    return spiking(make(cls).float(), images(2).float(), get_recipe(method), settings)


def session(model: Any) -> Any:
    return onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )


def run(model: Any, x: Tensor, states: dict[str, Any] | None = None) -> dict[str, np.ndarray]:
    runner = session(model)
    feed = {"images": x.numpy(), **(states or {})}
    return dict(zip([o.name for o in runner.get_outputs()], runner.run(None, feed), strict=True))


def metadata(model: Any) -> dict[str, str]:
    return {entry.key: entry.value for entry in model.metadata_props}


def translated(module: nn.Module, x: Tensor) -> np.ndarray:
    options: dict[str, Any] = {"opset_version": operators.OPSET, "verbose": False}
    table = operators.TRANSLATIONS
    program = torch.onnx.export(
        module, (x,), dynamo=True, custom_translation_table=table, **options
    )
    assert program is not None
    runner = session(program.model_proto)
    return runner.run(None, {runner.get_inputs()[0].name: x.numpy()})[0]


@pytest.mark.parametrize("slack", [0.0, 0.15])
def test_rounding_as_onnx(slack):
    class Rounding(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return operators.digit_saving_round(x, slack)

    x = torch.cat([torch.linspace(-70, 70, 9001), torch.tensor([1e5 + 0.3, -3e4 - 0.7])])
    # Not where a rounding of x decides.
    away = ((x - x.floor() - 0.5).abs() - slack).abs() > 1e-3
    away &= (x - x.floor() - 0.5).abs() > 1e-3
    expected = counting.digit_saving_round(x, slack)
    assert (torch.from_numpy(translated(Rounding(), x)) == expected)[away].all()


@pytest.mark.parametrize("binary", [False, True])
@pytest.mark.parametrize("by_channel", [False, True])
def test_events_as_onnx(binary, by_channel):
    class Counting(nn.Module):
        def forward(self, n: Tensor) -> Tensor:
            return operators.count_events(n, binary, by_channel)

    n = torch.arange(65536.0).view(1, 2, 128, 256)
    expected = operators.count_events(n, binary, by_channel)
    if by_channel:
        digits = expected[0, 2, 0, :8].tolist()
        assert digits == ([0, 1, 1, 2, 1, 2, 2, 3] if binary else [0, 1, 1, 2, 1, 2, 2, 2])
    np.testing.assert_array_equal(translated(Counting(), n), expected.numpy())


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
        ann_model(net.graph, spec, boxes=DetectionOptions())


@pytest.mark.parametrize("cls", [TinyLeaky, Residual])
def test_a_photograph_with_counts(cls):
    net = tiny(cls)
    x = images(3, seed=4).float()
    model = spiking_model(net, counts="totals", normalised=True)
    results = run(model, x)
    snapshot = net.network().run(x, 1).snapshots[1]
    names = json.loads(metadata(model)["senders"])
    assert set(names) == set(snapshot.sent_by_layer)
    for k, name in enumerate(names):
        counts = snapshot.sent_by_layer[name]
        for counted, total in zip(counting.Counts._fields, counts, strict=True):
            np.testing.assert_array_equal(results[counted][:, k], total.numpy())
    spent = torch.stack([*snapshot.operations], 1)
    np.testing.assert_allclose(results["operations"], spent.numpy(), rtol=1e-6)
    assert "that of the file" in metadata(model)["license"]
    assert int(metadata(model)["macs"]) == net.network().run(x, 1).macs


def test_frames_with_states():
    net = tiny()
    model = spiking_model(net, stateful=True, counts="totals")
    table = json.loads(metadata(model)["states"])
    states = {}
    for entry in table:
        shape = [2 if size == "batch" else size for size in entry["shape"]]
        states[entry["input"]] = np.zeros(shape, np.float32)
    stream = Stream(net.network(), refresh=0)
    x = images(2).float()
    for k in range(4):
        results = run(model, x, states)
        states = {entry["input"]: results[entry["output"]] for entry in table}
        snapshot = stream(x).run.snapshots[1]
        np.testing.assert_allclose(results["head_0"], snapshot.outputs[0].numpy(), atol=1e-4)
        np.testing.assert_allclose(results["operations"][:, 1], snapshot.operations.digits.numpy())
        x = x.clone()
        x[:, :, k, :4] += 0.2


@pytest.mark.parametrize("agnostic", [False, True])
def test_boxes_in_the_graph(tmp_path, agnostic):
    """As the detector finds them, in pixels of the network's input."""
    detector = SpikingYOLO(write_tiny(tmp_path))
    options = DetectionOptions(conf=0.05, iou=0.3, agnostic_nms=agnostic)
    path = photo(tmp_path / "photo.jpg")
    result = detector.detect(path, T=1, **options.box_options())
    assert len(result.boxes.xyxy) > 1
    prepared = read_input(path, detector.spec)
    found = run(spiking_model(detector.converted, boxes=options), prepared.x[None])["detections"]
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
    """As Selection chooses them, at most max_det in each image."""
    head = HeadSpec("yolov8", classes=2, num=1, bins=1)
    spec = Spec("detect", ("a", "b"), 64, 64, "stretch", (head,), nms=False)
    heads = torch.randn(2, 6, 4, 4, generator=torch.Generator().manual_seed(0))
    options = DetectionOptions(conf=0.4, max_det=5, agnostic_nms=agnostic)
    found = detections([heads], spec, options)
    boxes, scores = decode([heads], spec)
    for k in range(2):
        own = found[found[:, 0] == k]
        chosen = Selection.of(options).select(boxes[k], scores[k], suppress=False)
        assert len(own) == 5
        torch.testing.assert_close(own[:, 5], chosen.confidence)
        assert own[:, 6].tolist() == chosen.class_id.tolist()


def test_the_tool_refuses(tmp_path, capsys):
    weights = write_tiny(tmp_path)
    (tmp_path / "there.onnx").write_text("kept")
    for output, args, expected in (
        ("new.json", [], ".onnx"),
        ("there.onnx", [], "--overwrite"),
        ("new.onnx", ["--ann", "--stateful"], "--ann"),
        ("new.nir", ["--boxes"], "--boxes"),
        ("new.onnx", ["--method", "p-norm"], "one step"),
    ):
        assert run_tool("export", "--weights", weights, "-o", tmp_path / output, *args) == 2
        err = capsys.readouterr().err
        assert expected in err and len(err.splitlines()) == 1
        assert (tmp_path / "there.onnx").read_text() == "kept"
        assert not list(tmp_path.glob("new.*"))


def test_the_tools(tmp_path, capsys):
    """A file with boxes."""
    weights = write_tiny(tmp_path)
    output = tmp_path / "net.onnx"
    assert run_tool("export", "--weights", weights, "--ann", "--boxes", "-o", output) == 0
    assert "the original network" in capsys.readouterr().out
    onnx.checker.check_model(onnx.load(output), full_check=True)
