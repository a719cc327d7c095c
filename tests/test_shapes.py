"""Images at their own shape: the sizes by hand, and that what comes out is what the network of that
size gives for the letterboxed bytes, for the spiking network and the ANN beside it.
"""

import json
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.calibrating import calibrate_on
from helpers.tiny import photo, run_tool
from helpers.video import walk, write_frames

from spiking_yolo import SpikingYOLO, UserError
from spiking_yolo.apps.detect import DetectOptions
from spiking_yolo.apps.eval import EvalOptions
from spiking_yolo.convert.load import Converted, load
from spiking_yolo.data.images import place, preprocess, read_image
from spiking_yolo.decode.selection import Selection
from spiking_yolo.errors import Notice
from spiking_yolo.graph import forward
from spiking_yolo.integer.video import Stream
from spiking_yolo.io.text import side_or_size
from spiking_yolo.metrics.costs import NetworkCosts
from spiking_yolo.models.heads import HeadSpec
from spiking_yolo.models.spec import Spec
from spiking_yolo.observe import KEPT, Observer, Shapes, read_input

CONF: dict[str, Any] = {"conf": 0.05}
# 80 x 48 needs the square of 64; these need 64 x 32 and, upright, 32 x 64.
WIDE, TALL = (128, 48), (40, 120)


@pytest.fixture(scope="module")
def wide(weights: Path) -> Path:
    return photo(weights.parent / "wide.png", 2, *WIDE)


@pytest.fixture(scope="module")
def tall(weights: Path) -> Path:
    return photo(weights.parent / "tall.png", 3, *TALL)


@pytest.mark.parametrize(
    ("image", "side", "stride", "size"),
    [
        ((640, 480), 416, 32, (320, 416)),
        ((768, 432), 416, 32, (256, 416)),
        ((960, 540), 416, 32, (256, 416)),
        ((480, 640), 416, 32, (416, 320)),
        ((1280, 720), 640, 32, (384, 640)),
        ((1280, 720), 1280, 64, (768, 1280)),
        ((416, 416), 416, 32, (416, 416)),
        ((416, 385), 416, 32, (416, 416)),
        ((416, 384), 416, 32, (384, 416)),
        ((20000, 10), 416, 32, (32, 416)),
        ((1, 1), 64, 32, (64, 64)),
    ],
)
@pytest.mark.parametrize("resize", ["letterbox", "letterbox-114", "stretch"])
def test_sizes_by_hand(image, side, stride, size, resize):
    head = HeadSpec("yolov3", 1, 1, ((8.0, 8.0),))
    spec = Spec("detect", ("cat",), side, side, resize, (head,), stride=stride)
    own = spec.of_shape(*image)
    assert (own.height, own.width) == size and replace(own, height=side, width=side) == spec
    # The longer side is filled.
    resized = place(*image, own).resized
    assert max(resized) == side and all(a <= b for a, b in zip(resized, size[::-1], strict=True))
    low = replace(spec, height=stride)
    assert low.of_shape(*image) == own


def test_classifiers_and_yolov1_keep_their_size(weights, wide, tmp_path):
    """Also a graph that takes no other size, as the connected head of [detection]."""
    assert Spec("classify", ("cat",), 32, 32).of_shape(*WIDE).height == 32
    head = HeadSpec("yolov1", 3, 2)
    assert Spec("detect", ("cat",) * 3, 64, 64, heads=(head,)).of_shape(*WIDE).height == 64
    converted = load(weights)
    shapes = Shapes(converted.graph, converted.spec, lambda spec: converted.network())
    assert shapes.spec(*WIDE).height == 32

    def refuse(*_: object) -> None:
        raise UserError("one size only")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("spiking_yolo.observe.check_network", refuse)
        other = Shapes(converted.graph, converted.spec, lambda spec: converted.network())
        assert other.spec(*WIDE) is converted.spec


@pytest.mark.parametrize("method", ["signed-digits", "dcgs"])
def test_a_photograph_at_its_own_shape(weights, wide, tall, method):
    """Both networks on the letterboxed bytes, and their costs."""
    detector = SpikingYOLO(weights, method)
    converted, selection = detector.converted, Selection(conf=0.05)
    for path, size in ((wide, (32, 64)), (tall, (64, 32)), (wide, (32, 64))):
        spec = replace(detector.spec, height=size[0], width=size[1])
        x, placement = preprocess(read_image(path), spec)
        run = replace(converted, spec=spec).network().run(x[None], 4)
        (expected,) = selection.boxes(run.snapshots[4].outputs, spec, [placement])
        result = detector.detect(path, T=4, **CONF)
        assert result.placement == placement and result.seen.size == size
        assert len(expected) > 0 and torch.equal(result.boxes.xyxy, expected.xyxy)
        assert result.macs == run.macs and result.neurons_by_layer == run.neurons
        assert result.operations == run.snapshots[4].operations.of_image(0)
        heads = forward(converted.graph, spec.normalised(x[None]))
        (expected,) = selection.boxes(heads, spec, [placement])
        ann = detector.detect_ann(path, **CONF)
        assert torch.equal(ann.boxes.xyxy, expected.xyxy) and ann.macs == run.macs
        assert ann.energy == result.ann_energy
        costs = NetworkCosts.of(replace(converted, spec=spec))
        assert result.costs == ann.costs == costs
        assert costs.passed != NetworkCosts.of(converted).passed


def test_boxes_lie_where_the_square_has_them(weights):
    """A convolution sees the same around the middle of a picture that is wide enough, whatever grey
    is above it.
    """
    image = np.full((64, 512, 3), 128, np.uint8)
    image[24:40, 200:232] = 250, 10, 90
    network = {"imgsz": 256}
    calibrate_on(weights, [str(weights.parent / "photos/a.png")], (256, 256))
    own, square = (SpikingYOLO(weights, square=square, **network) for square in (False, True))
    found = own.detect_ann(image, conf=0.02), square.detect_ann(image, conf=0.02)
    assert [one.placement.network for one in found] == [(256, 32), (256, 256)]
    near = [one.boxes.xyxy[((one.boxes.xywh[:, 0] - 216).abs() < 8)] for one in found]
    assert len(near[0]) > 0 and len(near[1]) > 0
    distance = (near[0][:, None] - near[1]).abs().amax(2)
    assert distance.min() < 1


def test_given_sizes_and_squares_are_as_before(weights, wide):
    assert side_or_size(64) == side_or_size("64") == 64
    assert side_or_size("64x64") == side_or_size((64, 64)) == side_or_size([64, 64]) == (64, 64)
    sizes: list[Any] = []
    for options in ({"square": True}, {"imgsz": (64, 64)}, {"imgsz": 64}, {}):
        result = SpikingYOLO(weights, **options).detect(wide, **CONF)
        sizes.append(result.seen.size)
    assert sizes == [(64, 64), (64, 64), (32, 64), (32, 64)]
    square, given = SpikingYOLO(weights, square=True), SpikingYOLO(weights, imgsz=(64, 64))
    converted = square.converted
    network = Observer(converted.network(), converted.graph, converted.spec, Selection(conf=0.05))
    (before,) = network.observe([wide], 1)
    for one in (square, given):
        found = one.detect(wide, T=1, **CONF)
        assert torch.equal(found.boxes.xyxy, before.last.boxes.xyxy)
        assert found.operations == before.last.operations


def test_a_batch_of_several_shapes_keeps_its_order(weights, wide, tall):
    detector = SpikingYOLO(weights)
    paths = [wide, wide, tall, weights.parent / "photos/a.png", wide]
    seen = list(detector.observer().observe(paths, 1, want=("boxes", "ann"), batch=4))
    assert [one.size for one in seen] == [(32, 64), (32, 64), (64, 32), (64, 64), (32, 64)]
    for path, one, result in zip(paths, seen, detector.predict(paths, T=1), strict=True):
        assert one.input.path == str(path) == result.path
        assert one.last.operations == result.operations


def test_networks_of_shapes_are_made_once_and_a_handful_is_kept(weights):
    converted, made = load(weights), list[Spec]()

    def make(spec: Spec) -> Any:
        made.append(spec)
        return object()

    shapes = Shapes(converted.graph, replace(converted.spec, height=640, width=640), make)
    specs = [shapes.spec(640, 32 * k) for k in range(1, KEPT + 2)]
    first = shapes.network(specs[0])
    assert shapes.network(specs[0]) is first and len(made) == 1
    for spec in specs[1:]:
        shapes.network(spec)
    assert len(made) == KEPT + 1 and shapes.network(specs[-1]) is not first
    assert shapes.network(specs[0]) is not first and len(made) == KEPT + 2
    detector = SpikingYOLO(weights)
    detector.detect(weights.parent / "photos/a.png")
    assert pickle.loads(pickle.dumps(detector))._engine.shapes._networks == {}


def test_a_video_at_its_own_shape_as_a_stream_of_that_size(weights):
    frames = walk(4, 48, 128)
    detector = SpikingYOLO(weights)
    spec = replace(detector.spec, height=32, width=64)
    stream = Stream(replace(detector.converted, spec=spec).network())
    for frame, result in zip(frames, detector.stream(frames, **CONF), strict=True):
        x, placement = preprocess(frame, spec)
        run = stream(x[None])
        assert result.placement == placement and result.macs == run.macs
        snapshot = run.snapshots[1]
        assert result.operations == snapshot.operations.of_image(0)
        (expected,) = Selection(conf=0.05).boxes(snapshot.outputs, spec, [placement])
        assert torch.equal(result.boxes.xyxy, expected.xyxy)


@pytest.mark.parametrize("method", ["signed-digits", "p-norm"])
def test_frames_that_change_their_shape_start_anew(weights, method):
    detector = SpikingYOLO(weights, method)
    frames = [*walk(2, 48, 128), *walk(2, 120, 40), *walk(1, 48, 128)]
    with pytest.warns(Notice, match="frames of 40x120 pixels follow those of 128x48"):
        found = list(detector.stream(frames, T=2, **CONF))
    assert [one.seen.size for one in found] == [(32, 64)] * 2 + [(64, 32)] * 2 + [(32, 64)]
    assert [one.cut for one in found] == [False, False, True, False, True]
    alone = detector.detect(frames[2], T=2, **CONF)
    assert found[2].operations == alone.operations
    assert torch.equal(found[2].boxes.xyxy, alone.boxes.xyxy)


def test_an_image_that_is_prepared_keeps_its_shape(weights, wide):
    detector = SpikingYOLO(weights)
    prepared = read_input(wide).prepared(detector.spec)
    (seen,) = detector.observer().observe([prepared], 1)
    assert seen.size == (64, 64)


def test_options():
    assert DetectOptions(sources=("a.jpg",), imgsz=64).exact is False
    assert DetectOptions(sources=("a.jpg",), imgsz=(64, 64)).exact
    photographs = {"imgsz": None}, {"imgsz": 64}, {"rect": True}, {"square": True}
    given = [EvalOptions(**options).evaluation() for options in photographs]
    assert [one.own_photographs for one in given] == [False, False, True, False]
    assert [one.own_frames for one in given] == [True, True, True, False]
    assert not EvalOptions(imgsz=(64, 96)).evaluation().own_frames
    for other in ({"square": True}, {"imgsz": (64, 96)}):
        with pytest.raises(UserError, match="--rect is each photograph's own shape"):
            EvalOptions(rect=True, **other)


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Height and width of every network that is built."""
    sizes: list[tuple[int, int]] = []
    original = Converted.network

    def network(self: Converted, *device: Any) -> Any:
        sizes.append((self.spec.height, self.spec.width))
        return original(self, *device)

    monkeypatch.setattr(Converted, "network", network)
    return sizes


def macs_of(weights: Path, size: tuple[int, int]) -> int:
    """Multiply-accumulates at a size."""
    return SpikingYOLO(weights, imgsz=64).detect_ann(np.zeros((*size, 3), np.uint8)).macs


@pytest.mark.parametrize(
    ("words", "size"), [((), (32, 64)), (("--square",), (64, 64)), (("--imgsz", "64x64"), (64, 64))]
)
def test_detect(weights, wide, tmp_path, built, words, size):
    """A photograph and a clip, for which no network of another size is built."""
    clip = write_frames(tmp_path / "clip.mp4", walk(2, 48, 128))
    call = ("--weights", weights, "--save-json", "--ann", "--project", tmp_path / "runs")
    assert run_tool("detect", wide, clip, *call, *words) == 0
    said = json.loads((tmp_path / "runs/exp/detections.json").read_text())
    assert built == [size] and [one["macs"] for one in said] == [macs_of(weights, size)] * 3


@pytest.mark.parametrize(
    ("words", "photographs", "videos"),
    [
        ((), (64, 64), (32, 64)),
        (("--rect",), (32, 64), (32, 64)),
        (("--square",), (64, 64), (64, 64)),
        (("--imgsz", "64x64"), (64, 64), (64, 64)),
    ],
)
def test_eval(weights, wide, tmp_path, built, words, photographs, videos):
    """Photographs without labels, and a clip."""
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/wide.png").write_bytes(wide.read_bytes())
    clip = write_frames(tmp_path / "clip.mp4", walk(2, 48, 128))
    for data, size in ((tmp_path / "photos", photographs), (clip, videos)):
        call = ("--weights", weights, "--data", data, "--T", 1, "--project", tmp_path / "runs")
        built.clear()
        assert run_tool("eval", *call, "--name", data.stem, *words) == 0
        assert set(built) == {size}
        # A method's own: where there are several, that at the top of the folder is of all.
        path = max(
            (tmp_path / "runs" / data.stem).rglob("results.json"), key=lambda one: len(one.parts)
        )
        content = json.loads(path.read_text())
        assert content["own_shape"] is (size == (32, 64))
        assert content["ann"]["macs"] == macs_of(weights, size)
