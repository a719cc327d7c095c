"""Simulator, decoder and evaluation on a graphics card that is not there: what is on the wrong
device, and who waits.

In the time loop nobody waits for the device. Around it, these do:
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
import torch
from helpers.classifying import write_all
from helpers.evaluating import make_scene
from helpers.fake_device import DEVICE, FakeDevice, Mixed, Waited
from helpers.methods import recipe_of
from helpers.networks import Pooled, Residual, TinyLeaky, images, make, numbers, spiking
from helpers.tiny import photo, write_tiny
from torch import Tensor

from spiking_yolo.apps.evaluate import EvalOptions
from spiking_yolo.apps.evaluate.run import Setup, evaluate, scorer_of
from spiking_yolo.convert.converted import Converted
from spiking_yolo.convert.load import load
from spiking_yolo.convert.methods import list_methods
from spiking_yolo.data.coco import load_coco
from spiking_yolo.data.formats import open_classification
from spiking_yolo.data.images import place
from spiking_yolo.decode.boxes import Detections, decode
from spiking_yolo.decode.selection import Selection
from spiking_yolo.detector import SpikingYOLO
from spiking_yolo.integer.stream import Stream
from spiking_yolo.io.assets import default_weights
from spiking_yolo.io.distributed import Ranks
from spiking_yolo.models.spec import HeadSpec, Spec
from spiking_yolo.snn.network import SpikingNetwork
from spiking_yolo.snn.neurons import SigmaDelta

# Before it: weights go to the device.
WEIGHTS = {
    "graph/graph.py:Graph.to",
    "integer/convolution.py:WholeConvolution.to",
    "integer/convolution.py:Border.to",
    "integer/neuron.py:NeuronLayer.to",
    "integer/parameters.py:NetworkParameters.to",
}
# Before it: the fingerprint of an image, where its spikes are random.
KEYS = {"snn/coding.py:image_keys"}
FRAME = {  # after it: whether a frame of a video is another scene, and how much of it was new
    "integer/stream.py:unlike",
    "integer/stream.py:Stream._operations",
    "snn/operations.py:total_macs",
}
# After it: the heads are read, and decoded on the host.
BOXES = {"observe.py:_on_cpu"}
DETECTOR = {  # and the costs
    "io/distributed.py:usable_device",
    "observe.py:Observer._stack",
    "observe.py:_step",
    "snn/counting.py:Counts.of_image",
}
# Images that the tests move there.
HERE = {"outside of the package"}
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "random input": ("p-norm", {"encoding.input": "poisson"}),
    "algorithm 1": ("msat", {"msat.variant": "algorithm1"}),
    "switches": ("p-norm", {"neuron.events": "switches"}),
    "reset to zero": ("p-norm", {"neuron.reset": "zero"}),
    "some steps are not read": ("burst", {"readout.skip": 1}),
}


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> FakeDevice:
    """Nobody may wait for it in the time loop: in a step, and where a snapshot is taken on
    the way.
    """
    fake = FakeDevice()
    for name in ("step", "snapshot"):
        watched = fake.without_waiting(getattr(SpikingNetwork, name))
        monkeypatch.setattr(SpikingNetwork, name, watched)
    return fake


@cache
def converted(cls: Any, method: str, **settings: Any) -> Converted:
    recipe = recipe_of(method)
    short = {"calibration.steps": 2} if recipe.calibration.kind == "trained" else {}
    return spiking(make(cls), images(2), recipe, {**short, **settings})


def test_no_method_waits_in_the_time_loop(device: FakeDevice):
    """A detector and a classifier. What is left to be read is on the device."""
    for method, cls in (
        *((method, TinyLeaky) for method in list_methods()),
        *((method, Pooled) for method in ("p-norm", "dcgs", "signed-digits")),
    ):
        net = converted(cls, method)
        with device:
            run = net.network(DEVICE).run(images(2).to(DEVICE), 3, [1], maps=True)
            last = run.snapshots[3]
            assert {str(value.device) for value in (*numbers(last), last.updates)} == {DEVICE}
        assert device.waits - HERE <= WEIGHTS | KEYS


@pytest.mark.parametrize("variant", VARIANTS)
def test_nor_does_any_variant(device: FakeDevice, variant: str):
    """Residual blocks, and neurons that are observed too."""
    method, settings = VARIANTS[variant]
    net = converted(Residual, method, **settings)
    with device:
        x = images(2).to(DEVICE)
        net.network(DEVICE).run(x, 3, [2])
        probe = lambda name, t, layer, current: layer.threshold  # noqa: E731
        net.simulator(DEVICE, observed=True).run(x, 3, probes=[probe])
    assert device.waits - HERE <= WEIGHTS | KEYS


def test_a_network_that_is_moved_there_is_as_one_that_was_made_there(device: FakeDevice):
    net = converted(TinyLeaky, "msat").network()
    with device:
        run = net.to(DEVICE).run(images(1).to(DEVICE), 3)
        assert str(run.snapshots[3].outputs[0].device) == DEVICE


@pytest.mark.parametrize(
    "method", [name for name in list_methods() if recipe_of(name).keeps_frames]
)
def test_frames_of_a_video(device: FakeDevice, method: str):
    net = converted(TinyLeaky, method, **{"encoding.tau": 0.1})
    with device:
        stream = Stream(net.network(DEVICE), T=2)
        runs = [stream(images(1, seed).to(DEVICE), maps=True) for seed in range(2)]
    assert any(not one.fresh for one in runs) and device.waits - HERE <= WEIGHTS | FRAME | KEYS


HEADS = {
    "yolov1": HeadSpec("yolov1", 3, 2, softmax=True, logistic=True),
    "yolov1, connected": HeadSpec("yolov1", 3, 2, side=4),
    "yolov2": HeadSpec("yolov2", 3, 2, ((1.0, 2.0), (3.0, 1.0)), softmax=True),
    "yolov3": HeadSpec("yolov3", 3, 2, ((8.0, 16.0), (24.0, 8.0))),
    "yolov5": HeadSpec("yolov5", 3, 2, ((8.0, 16.0), (24.0, 8.0)), scale=2.0),
    "yolov8": HeadSpec("yolov8", 3, 1),
}


@pytest.mark.parametrize("head", HEADS)
def test_heads_are_decoded_anywhere_and_suppressed_on_the_host(device: FakeDevice, head: str):
    """Suppression decides how many boxes there are, which only the host can wait for: the heads are
    read before.
    """
    kind = HEADS[head]
    spec = Spec("detect", ("a", "b", "c"), 32, 32, heads=(kind,))
    placement = place(64, 48, spec)
    shape = (1, kind.values * 16) if kind.side else (1, kind.values, 4, 4)
    with device:
        output = torch.zeros(shape, device=DEVICE)
        boxes, scores = decode([output], spec)
        assert boxes.shape[2:] == (4,) and scores.shape[2:] == (3,)
        assert {boxes.device, scores.device} == {output.device}
        assert device.waits <= {"models/heads.py:_anchored"}  # the anchors
        for several in (False, True):
            with pytest.raises(Waited, match=r"decode/(selection.py:Selection.select|boxes.py)"):
                Selection(conf=0.1, multi_label=several).select(boxes[0], scores[0])
        device.waits.clear()
        (found,) = Selection(conf=0.01).boxes([output], spec, [placement])
        assert isinstance(found, Detections)
    assert device.waits == {"decode/selection.py:Selection.boxes"}


@pytest.mark.parametrize("method", ["p-norm", "dcgs", None])
def test_a_detector(device: FakeDevice, method: str | None, tmp_path: Any):
    """None: the network and the method that one gets unasked."""
    net = load(write_tiny(tmp_path) if method else default_weights(), method)
    one, other = (photo(tmp_path / f"{seed}.png", seed) for seed in range(2))
    with device:
        found = SpikingYOLO(net, device=DEVICE)
        result = found.detect(one, T=3, steps=[1, 2], maps=True, conf=0.5)
        assert len(found.detect_ann(one, conf=0.5)) and len(result) and result.operations
        frames = list(found.stream([one, other], T=2, conf=0.5))
    assert len(frames) == 2 and device.waits <= WEIGHTS | FRAME | BOXES | DETECTOR


@pytest.mark.parametrize("task", ["detect", "classify"])
def test_an_evaluation(device: FakeDevice, task: str, tmp_path: Any):
    if task == "detect":
        weights, _ = make_scene(tmp_path)
        data: Any = load_coco(tmp_path)
    else:
        weights, folder = write_all(tmp_path)
        data = open_classification(folder, "test")
    net = load(weights, "dcgs")
    with device:
        options = EvalOptions(T=4, steps=(2,), batch=2, limit=3)
        setup = Setup(ranks=Ranks(device=DEVICE))
        found = evaluate({"dcgs": net}, scorer_of(data, net.spec, options), options, setup)
    assert found and [row.T for row in found.rows] == [None, 2, 4]
    assert device.waits <= WEIGHTS | BOXES | DETECTOR


# Whether the tests above could fail.


def mask(x: Tensor) -> None:
    x[x > 0]


MISTAKES: dict[str, tuple[type[AssertionError], Callable[[Tensor], Any]]] = {
    ".cpu()": (Waited, lambda x: x.cpu()),
    ".item()": (Waited, lambda x: x.flatten()[0].item()),
    ".tolist()": (Waited, lambda x: x.flatten()[:2].tolist()),
    "bool()": (Waited, lambda x: bool(x.any())),
    "nonzero()": (Waited, lambda x: x.nonzero()),
    "a mask": (Waited, mask),
    "equal()": (Waited, lambda x: torch.equal(x, x)),
    "a constant that is copied": (Waited, lambda x: x + torch.ones(1).to(x.device)),
    "a constant that is made there": (Waited, lambda x: x + torch.tensor(1.0, device=x.device)),
    "copy_()": (Waited, lambda x: torch.empty(x.shape).copy_(x)),
    "a constant of the host": (Mixed, lambda x: x + torch.ones(x.shape[-1])),
    "a number of the host": (Mixed, lambda x: x * torch.tensor(2.0)),
    "an index of the host": (Mixed, lambda x: x[torch.tensor([0])]),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_found(device: FakeDevice, monkeypatch: pytest.MonkeyPatch, mistake: str):
    """In a neuron, one at a time."""
    net, correct = converted(TinyLeaky, "sigma-delta"), SigmaDelta.due
    error, make_mistake = MISTAKES[mistake]

    def wrong(*args: Any, **kwargs: Any) -> Any:
        make_mistake(torch.zeros(2, 3, device=DEVICE))
        return correct(*args, **kwargs)

    monkeypatch.setattr(SigmaDelta, "due", wrong)
    with device, pytest.raises(error):
        net.network(DEVICE).run(images(1).to(DEVICE), 2)
