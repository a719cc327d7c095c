"""SpikingYOLO in Python: kinds of input, what a Result holds, saving and loading, and what is
refused.
"""

from typing import Any

import numpy as np
import pytest
import torch
from helpers.calibrating import calibrate_on
from helpers.tiny import NAMES, SIZE, YOLO, assert_same, write_tiny
from PIL import Image

from spiking_yolo import Recipe, SpikingYOLO, UserError
from spiking_yolo.data.images import preprocess, read_image
from spiking_yolo.decode.selection import Selection, class_ids
from spiking_yolo.graph import forward
from spiking_yolo.integer.network import IntegerNetwork
from spiking_yolo.io.files import samples_folder
from spiking_yolo.models.darknet import load_darknet
from spiking_yolo.models.load import load_ann

CONF: dict[str, Any] = {"conf": 0.3}


@pytest.fixture(scope="module")
def detector(weights):
    return SpikingYOLO(weights)


@pytest.fixture(scope="module")
def converted(detector, tmp_path_factory):
    path = tmp_path_factory.mktemp("converted") / "net.safetensors"
    detector.save(path)
    return path


def test_path_array_and_pil_image_give_the_same(detector, photo):
    result = detector.detect(photo, T=4, **CONF)
    assert result.path == str(photo)
    for source in (str(photo), np.asarray(Image.open(photo)), Image.open(photo)):
        assert_same(result, detector.detect(source, T=4, **CONF))


def test_several_by_one_name(detector, photo, tmp_path):
    folder = photo.parent
    photos = sorted(folder.iterdir())
    one = [detector.detect(path, conf=0.3) for path in photos]
    (tmp_path / "list.txt").write_text("\n".join(map(str, photos)))
    of_folder = (folder, f"{folder}/*.png", [folder])
    for source in (*of_folder, tmp_path / "list.txt", photos):
        several = detector.predict(source, conf=0.3)
        assert isinstance(several, list) and len(several) == len(photos) > 1
        for a, b in zip(several, one, strict=True):
            assert torch.equal(a.boxes.xyxy, b.boxes.xyxy)
        assert [result.path for result in several] == [str(path) for path in photos]


def test_only_arrays_are_bgr(detector, photo):
    """Files have their own order of channels, in a stream, too."""
    (expected,) = detector.stream([photo])
    for source in ([photo], photo, [expected.image[..., ::-1]]):
        (result,) = detector.stream(source, bgr=True)
        assert (result.image == expected.image).all()
    with pytest.raises(UserError, match="not float"):
        detector.stream(3.5)


def test_classes_are_chosen_before_max_det(detector, photo):
    every = detector.detect(photo, T=4, **CONF)
    rare = int(every.boxes.cls[-1])
    only = every.boxes.cls == rare
    assert 0 < only.sum() < len(only)
    chosen = detector.detect(photo, T=4, classes=[rare], **CONF)
    assert torch.equal(chosen.boxes.xyxy, every.boxes.xyxy[only])
    best = detector.detect(photo, T=4, classes=[rare], max_det=1, **CONF)
    assert torch.equal(best.boxes.xyxy, every.boxes.xyxy[only][:1])
    assert len(detector.detect(photo, T=4, classes=[], **CONF).detections) == 0


def test_ann_is_the_original_network(detector, weights, photo):
    net, spec = load_darknet(weights)
    x, placement = preprocess(read_image(photo), spec)
    with torch.no_grad():
        (expected,) = Selection(conf=0.3).boxes(net(x[None] / 255), spec, [placement])
    ann = detector.detect_ann(photo, **CONF)
    assert ann.T == 0 and ann.spikes == 0 and ann.mean_rate == 0
    spiking = detector.detect(photo)
    assert ann.macs == spiking.macs > 0
    assert ann.energy == pytest.approx(spiking.ann_energy, nan_ok=True)
    assert torch.equal(ann.boxes.cls, expected.class_id)
    torch.testing.assert_close(ann.boxes.xyxy, expected.xyxy, atol=1e-3, rtol=1e-4)
    beside = detector.detect(photo, want=["ann"], **CONF)
    assert torch.equal(beside.ann.boxes.xyxy, ann.boxes.xyxy) and beside.ann.T == 0 < beside.T
    with pytest.raises(UserError, match="the ANN was not observed"):
        assert spiking.ann
    with pytest.raises(UserError, match="want has 'an', which is none of boxes, ann, maps"):
        detector.detect(photo, want=["an"])


def test_a_saved_network_is_the_same_detector(detector, converted, photo):
    loaded = SpikingYOLO(converted)
    for name in ("names", "spec", "method"):
        assert getattr(loaded, name) == getattr(detector, name)
    assert_same(detector.detect(photo, T=4, **CONF), loaded.detect(photo, T=4, **CONF))
    ann, own = loaded.detect_ann(photo, **CONF), detector.detect_ann(photo, **CONF)
    assert torch.equal(ann.boxes.xyxy, own.boxes.xyxy)


def test_a_rectangular_input(weights, detector, photo, tmp_path):
    """imgsz=(64, 96) is the network whose cfg says height=64 and width=96, and follows its ANN."""
    ann, size = load_ann(weights, imgsz=(64, 96)), (64, 96)
    photos = [str(photo), str(photo.with_name("b.png"))]
    calibrate_on(weights, photos, size)
    wide = SpikingYOLO(weights, imgsz=size)
    assert (wide.spec.height, wide.spec.width) == size
    assert wide.detect(photo, T=1).placement.network[::-1] == size
    other = write_tiny(tmp_path, cfg=YOLO.replace(f"width={SIZE}", "width=96"))
    assert_same(wide.detect(photo, T=4, **CONF), SpikingYOLO(other).detect(photo, T=4, **CONF))
    x = preprocess(read_image(photo), wide.spec)[0][None]
    found = wide.converted.network().run(x, 256).snapshots[256].outputs[0]
    (expected,) = forward(ann.graph, wide.spec.normalised(x))
    assert expected.shape[2:] == (16, 24) and (found - expected).norm() < 0.05 * expected.norm()
    square = SpikingYOLO(weights, imgsz=SIZE)
    assert_same(detector.detect(photo, T=4, **CONF), square.detect(photo, T=4, **CONF))


NAN = float("nan")
BOXES: dict[str, tuple[Any, ...]] = {
    "conf": (2, -0.1, NAN, "x", None, True),
    "iou": (1.5, -1, NAN, "0.5", [0.5]),
    "max_det": (0, 2.0, "all", None, True),
    "classes": (["dgo"], 3, [-1], 1.0, True, [None], "", b"dog"),
}
SIMULATED: dict[str, tuple[Any, ...]] = {
    "T": (0, -1, "8", 4.0, NAN),
    "steps": (5, 0, (5,), (0,), "12", [1.0], None, 2.0, ["2"]),
}


@pytest.mark.parametrize("name", BOXES | SIMULATED)
def test_wrong_arguments_are_refused_before_anything_is_computed(
    detector, photo, monkeypatch, name
):
    def computed(*args, **kwargs):
        raise AssertionError("the network was computed")

    monkeypatch.setattr(IntegerNetwork, "run", computed)
    monkeypatch.setattr("spiking_yolo.observe.forward", computed)
    for value in (BOXES | SIMULATED)[name]:
        with pytest.raises(UserError, match=f"^{name}\\b") as refused:
            detector.detect(photo, **{"T": 4, name: value})
        assert "\n" not in str(refused.value)
        if name in BOXES:
            with pytest.raises(UserError, match=f"^{name}\\b"):
                detector.detect_ann(photo, **{name: value})


def test_classes_go_by_name_and_by_id(detector, photo):
    every = detector.detect(photo, T=4, **CONF)
    assert {box["class"] for box in every.entries()} == {"cat", "bird"}
    for classes in ("bird", 2, "2", ["bird"], (np.int64(2),), {" bird "}, ["bird", 2, "dog"]):
        chosen = detector.detect(photo, T=4, classes=classes, **CONF)
        assert torch.equal(chosen.boxes.xyxy, every.boxes.xyxy[every.boxes.cls == 2])
        ann = detector.detect_ann(photo, classes=classes, **CONF)
        assert {box["class"] for box in ann.entries()} == {"bird"}
    with pytest.raises(UserError, match="no class 'birds'; did you mean 'bird'"):
        detector.detect(photo, classes="birds")
    with pytest.raises(UserError, match="no class '9999"):
        class_ids("9" * 5000, NAMES)


def test_a_name_that_is_a_number_is_a_name_first():
    assert class_ids(["1", "0", 1], ("1", "2")) == (0, 0, 1)
    assert class_ids(["Person", "TV"], ("tvmonitor", "person")) == (1, 0)
    # As it is written before what it resembles.
    assert class_ids("Dog", ("dog", "Dog")) == (1,)
    assert class_ids(None, NAMES) is None and class_ids([], NAMES) == ()


def test_a_converted_network_is_taken_as_it_is(detector, converted, photo):
    again = SpikingYOLO(detector.converted)
    assert again.converted is detector.converted
    assert_same(detector.detect(photo, T=4, **CONF), again.detect(photo, T=4, **CONF))
    options: dict[str, tuple[Any, ...]] = {
        "method": ("burst",),
        "settings": ({"neuron.gamma": 2},),
        "imgsz": (SIZE, (SIZE, SIZE)),
        "names": ("x",),
        "statistics": ("x",),
    }
    for name, values in options.items():
        for value in values:
            with pytest.raises(UserError, match="already converted: give no"):
                SpikingYOLO(detector.converted, **{name: value})
            with pytest.raises(UserError, match="already converted"):
                SpikingYOLO(converted, **{name: value})


def test_habits_of_ultralytics(detector, photo):
    boxes = detector(photo, **CONF)[0].boxes
    assert torch.equal(boxes.xyxy, detector.detect(photo, **CONF).boxes.xyxy)
    with pytest.raises(AttributeError, match="track=True"):
        detector.track(photo)
    with pytest.raises(UserError, match="device is no argument here: use SpikingYOLO"):
        detector.predict(photo, device="cpu")
    with pytest.raises(UserError, match="colour is no argument here"):
        detector.detect(photo, colour="red")
    assert not hasattr(detector, "nothing")


def test_the_default_network_finds_the_dog():
    result = SpikingYOLO().detect(samples_folder() / "dog.jpg", T=4)
    assert {"dog", "bicycle"} <= {box["class"] for box in result.entries()}
    assert len(result.names) == 80


def test_timesteps_by_default(weights, photo):
    """Those of the table of methods; of what it does not know 64; of `steps` the last."""
    for method, T in (("dcgs", 2), ("channel-norm", 128)):
        assert SpikingYOLO(weights, method).detect(photo).T == T
        (frame,) = SpikingYOLO(weights, method).stream([photo])
        assert frame.T == T
    own = Recipe("my-method")
    detector = SpikingYOLO(weights, own)
    assert detector.detect(photo).T == 64
    assert [frame.T for frame in SpikingYOLO(weights).stream([photo])] == [1]
    assert detector.detect(photo, steps=iter([3, 2])).T == 3
    assert list(detector.detect(photo, steps=2).steps) == [2]
    with pytest.raises(UserError, match=r"steps must be a whole number.*not 0"):
        detector.detect(photo, steps=[0])
