"""Networks of Ultralytics: heads, boxes and photographs against the package itself, the spiking
network, refusals.
"""

import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import torch
from helpers.checkpoints import ultralytics_environment
from helpers.networks import without_kernel
from torchvision.ops import box_iou

from spiking_yolo import SpikingYOLO
from spiking_yolo.data.images import place
from spiking_yolo.decode.boxes import Detections, decode
from spiking_yolo.decode.selection import Selection
from spiking_yolo.errors import Notice
from spiking_yolo.graph import forward
from spiking_yolo.io.tensors import read_safetensors
from spiking_yolo.models.yolo_checkpoint import read_checkpoint

pytestmark = pytest.mark.slow

# layers of neurons
NETWORKS = {
    "yolov8n": 57,
    "yolov5n": 69,
    "yolov3-tiny": 19,
    "yolov5n-relu6": 69,
    "yolov8n-silu": 57,
}
SIZE = 192


def write_reference(folder: Path, *words: str) -> Path:
    """The folder, with what tests/helpers/ultralytics_reference.py writes."""
    script = Path(__file__).parents[1] / "helpers" / "ultralytics_reference.py"
    command = [sys.executable, str(script), str(folder), *words]
    subprocess.run(command, env=ultralytics_environment(folder), check=True)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_reference(tmp_path_factory.mktemp("ultralytics"))


@pytest.fixture(scope="module", params=NETWORKS)
def network(request, folder):
    """Name, graph, spec, and what Ultralytics says."""
    name = request.param
    graph, spec = read_checkpoint(folder / f"{name}.pt")
    return name, graph, spec, read_safetensors(folder / f"{name}.safetensors")[1]


def test_every_activation_is_a_layer_and_the_rest_comes_from_the_checkpoint(network):
    name, graph, spec, _ = network
    assert len(graph.activations) == NETWORKS[name]
    others = {"max_pool": 1} if name == "yolov3-tiny" else {}
    assert without_kernel(graph, spec) == others
    kinds = {(node.phi.cap, node.phi.silu) for node in graph.activations}
    assert kinds == {(6 if "6" in name else None, "silu" in name)}
    # 187 rounded up.
    assert spec.names == ("cat", "dog", "bird") and (spec.height, spec.width) == (SIZE, SIZE)


def test_raw_heads_are_those_of_ultralytics(network):
    name, graph, _, theirs = network
    heads = forward(graph, theirs["x"])
    strides = [16, 32] if name == "yolov3-tiny" else [8, 16, 32]
    assert [SIZE // head.shape[2] for head in heads] == strides
    raw = torch.cat([head.flatten(2) for head in heads], 2)
    expected = torch.cat([theirs["raw boxes"], theirs["raw scores"]], 1)
    assert expected.abs().max() > 5
    torch.testing.assert_close(raw, expected, rtol=0, atol=1e-4)


def inside(rows: torch.Tensor, width: int, height: int) -> torch.Tensor:
    """Their detections clipped to the image, without those that lie beside it, which ours leaves
    out.
    """
    x1, y1, x2, y2 = rows[:, :4].clamp(min=0).minimum(torch.tensor([width, height] * 2)).unbind(1)
    return torch.cat([torch.stack([x1, y1, x2, y2], 1), rows[:, 4:]], 1)[(x2 > x1) & (y2 > y1)]


def assert_same_detections(ours: Detections, theirs: torch.Tensor) -> None:
    """Compare ours with their rows (x1, y1, x2, y2, confidence, class) as sets, each row with the
    nearest of its class.

    The order says nothing: confidences of different boxes come as close as 3e-6, and how a
    processor rounds decides which is first. Nothing else is that close: scores to the limit of 0.4,
    IoUs to 0.45, scores of overlapping boxes.
    """
    assert len(ours) == len(theirs) >= 5
    assert (ours.confidence.diff() <= 0).all()
    iou = box_iou(ours.xyxy, theirs[:, :4]) * (ours.class_id[:, None] == theirs[:, 5])
    nearest = iou.argmax(0)
    assert sorted(nearest.tolist()) == list(range(len(ours)))
    torch.testing.assert_close(ours.xyxy[nearest], theirs[:, :4], rtol=0, atol=1e-2)
    torch.testing.assert_close(ours.confidence[nearest], theirs[:, 4], rtol=0, atol=1e-3)
    assert ours.class_id[nearest].tolist() == theirs[:, 5].tolist()


def test_boxes_and_confidences_are_those_of_ultralytics(network):
    _, graph, spec, theirs = network
    heads = forward(graph, theirs["x"])
    boxes, scores = decode(heads, spec)
    sure = theirs["classes"].amax(1)
    assert ((sure > 0.25) & (sure < 0.999)).sum() >= 100
    # pixels: boxes of many sizes.
    assert (theirs["boxes"][:, 2:] - theirs["boxes"][:, :2]).std() > 5
    torch.testing.assert_close(boxes[0] * SIZE, theirs["boxes"], rtol=0, atol=1e-2)
    torch.testing.assert_close(scores[0], theirs["classes"], rtol=0, atol=1e-3)

    (ours,) = Selection(conf=0.4).boxes(heads, spec, [place(SIZE, SIZE, spec)])
    assert_same_detections(ours, inside(theirs["found"], SIZE, SIZE))


def attention(n: int) -> dict[str, int]:
    return dict.fromkeys(("attention_scores", "softmax", "attend"), n)


STRIDES = [8, 16, 32]
# Strides of the maps, layers of neurons, and what PyTorch computes: of YOLOv9 also layers and
# poolings that read what average pooling has added up.
FAMILIES: dict[str, tuple[list[int], int, dict[str, int]]] = {
    "yolov8n-p6": ([*STRIDES, 64], 75, {}),
    "yolov8n-pose": (STRIDES, 57, {}),
    "yolov9t": (STRIDES, 179, {"conv": 5}),
    "yolov9c": (STRIDES, 138, {"conv": 10, "max_pool": 5}),
    "yolov10n": (STRIDES, 70, attention(1)),
    "yolo11n-seg": (STRIDES, 78, attention(1)),
    "yolo12n": (STRIDES, 89, attention(8)),
    "yolo12l": (STRIDES, 157, attention(16)),
    "yolo26n": (STRIDES, 89, attention(2)),
}


@pytest.mark.parametrize("name", FAMILIES)
def test_raw_heads_of_other_families_are_those_of_ultralytics(folder, name):
    strides, layers, others = FAMILIES[name]
    theirs = read_safetensors(folder / f"{name}.safetensors")[1]
    graph, spec = read_checkpoint(folder / f"{name}.pt")
    assert spec.stride == strides[-1] and (spec.height, spec.width) == (128, 128)
    assert spec.names == ("cat", "dog", "bird")
    assert spec.nms == (name not in ("yolov10n", "yolo26n"))
    assert len(graph.activations) == layers and without_kernel(graph, spec) == others
    outputs = forward(graph, theirs["x"])
    assert [theirs["x"].shape[3] // y.shape[3] for y in outputs] == strides
    raw = torch.cat([y.flatten(2) for y in outputs], 2)
    assert (raw - theirs["raw"]).abs().max() < 1e-4 * theirs["raw"].abs().max()


# Sizes and variants whose blocks differ from those above; v10m and v10b have layers of groups that
# read sums.
SIZES = ["yolov10m", "yolov10b", "yolov8n-p6", "yolov9m", "yolo26n-p2", "yolov5n-p6", "yolov3-tiny"]


@pytest.fixture(scope="module")
def sizes():
    """A folder with random weights of these at 64 pixels, of hundreds of MB."""
    with TemporaryDirectory() as folder:
        yield write_reference(Path(folder), *SIZES, "64")


@pytest.mark.parametrize("name", SIZES)
def test_other_sizes_are_opened_and_detect(sizes: Path, name: str):
    """Random weights need no more than the picture that they are shown."""
    path = sizes / f"{name}.pt"
    theirs = read_safetensors(path.with_suffix(".safetensors"))[1]
    graph, _ = read_checkpoint(path)
    raw = torch.cat([y.flatten(2) for y in forward(graph, theirs["x"])], 2)
    assert (raw - theirs["raw"]).abs().max() < 1e-4 * theirs["raw"].abs().max()
    picture = (theirs["x"][0].movedim(0, -1) * 255).byte().numpy()
    with pytest.warns(Notice, match="no calibration"):
        result = SpikingYOLO(path).detect(picture, conf=1e-9)
    assert len(result) > 0 and 0 < result.operations_per_mac < 1000
