"""Networks that are trained here: their shapes, and their checkpoints."""

import json
from pathlib import Path

import pytest
import torch
from helpers.checkpoints import read_provenance
from safetensors.torch import save_file

from spiking_yolo.errors import UserError
from spiking_yolo.models.darknet import load_darknet
from spiking_yolo.models.load import load_checkpoint, save_checkpoint
from spiking_yolo.models.spec import Spec
from spiking_yolo.models.trainable import NETWORKS, YOLOv1, build, yolov1_spec

NAMES = ("cat", "dog", "cow")
DETECT, CLASSIFY = yolov1_spec(NAMES, 64), Spec("classify", NAMES, 32, 32, "stretch")


def test_round_trip(tmp_path):
    for arch, spec, options in [
        ("yolov1", DETECT, {"activation": "qcfs", "levels": 4, "pool": "avg"}),
        ("resnet20", CLASSIFY, {"activation": "relu"}),
        ("vgg_thin", CLASSIFY, {"width": 0.25}),
    ]:
        model = build(arch, len(spec.names), **options)
        with torch.no_grad():
            for module in model.modules():
                if isinstance(module, torch.nn.BatchNorm2d):
                    assert module.running_var is not None
                    module.running_var.fill_(1e6)  # beyond float16
        path = tmp_path / "net.safetensors"
        save_checkpoint(path, model, arch, options, spec, {"seed": 3})
        loaded, loaded_spec = load_checkpoint(path)
        assert loaded_spec == spec and not loaded.training
        assert read_provenance(path) == {"seed": 3}
        for (name, a), b in zip(
            model.state_dict().items(), loaded.state_dict().values(), strict=True
        ):
            assert b.dtype == a.dtype, name
            assert torch.equal(a.half().float() if a.ndim > 1 else a, b), name
        x = torch.rand(1, 3, spec.height, spec.width)
        assert torch.isfinite(loaded(x)).all()


def save_raw(path, **changes):
    model = build("resnet20", len(CLASSIFY.names))
    metadata = {
        "format": "spiking_yolo-ann",
        "arch": "resnet20",
        "options": "{}",
        "spec": CLASSIFY.to_json(),
    }
    metadata = {k: v for k, v in (metadata | changes).items() if v is not None}
    save_file({k: v.contiguous() for k, v in model.state_dict().items()}, path, metadata)


def test_a_file_that_lies_is_a_user_error(tmp_path):
    for changes in [
        {"format": "other"},
        {"spec": None},
        {"options": "{"},
        {"arch": "os.system"},
        {"arch": "yolov1"},
        {"options": json.dumps({"activation": "sin"})},
    ]:
        path = tmp_path / "net.safetensors"
        save_raw(path)
        load_checkpoint(path)
        save_raw(path, **changes)
        with pytest.raises(UserError) as error:
            load_checkpoint(path)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", sorted(NETWORKS.keys() - {"yolov1"}))
def test_shape_trace_and_gradients(name: str):
    model = build(name, 7)
    x = torch.rand(2, 3, 32, 32)
    traced = torch.fx.symbolic_trace(model.eval())
    assert model(x).shape == (2, 7)
    assert torch.equal(traced(x), model(x))
    model(x).sum().backward()
    assert all(p.grad is not None for p in model.parameters())


def test_resnet20_has_nineteen_activations_of_its_own():
    model = build("resnet20", 10, activation="qcfs", levels=4)
    assert len([m for m in model.modules() if type(m).__name__ == "QCFS"]) == 19


def test_mistakes_are_user_errors():
    for name, options in [("vgg99", {}), ("resnet20", {"depth": 3})]:
        with pytest.raises(UserError):
            build(name, 10, **options)


WEIGHTS = Path(__file__).parents[2] / "weights" / "yolov3-tiny.weights"


def test_shape_stride_and_gradients():
    for activation in ["relu", "qcfs"]:
        for pool in ["max", "avg"]:
            net = YOLOv1(classes=3, activation=activation, pool=pool).train()
            output = net(torch.rand(2, 3, 64, 96))
            assert output.shape == (2, 13, 2, 3)
            output.square().sum().backward()
            assert all(p.grad is not None for p in net.parameters())


def test_mistakes():
    for size in (300, (320, 300)):
        with pytest.raises(UserError, match="multiple of 32"):
            yolov1_spec(("a",), size)


@pytest.mark.skipif(not WEIGHTS.is_file(), reason=f"{WEIGHTS.name} is missing from weights/")
def test_starts_as_the_public_network():
    """With leaky ReLU the features before the output are those of Tiny-YOLOv3's coarse head."""
    net = YOLOv1(classes=1, activation="leaky")
    net.init_from_darknet(WEIGHTS)
    source = load_darknet(WEIGHTS)[0]
    x = torch.rand(1, 3, 96, 96)
    with torch.no_grad():
        y = x
        # Up to the convolution in front of the coarse head.
        for layer in source.layers[:15]:
            y = layer(y)
        torch.testing.assert_close(net.eval().neck(net.backbone(x)), y)
