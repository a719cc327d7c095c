import json

import pytest
import torch
from helpers.checkpoints import read_provenance
from safetensors.torch import save_file

from spiking_yolo.errors import UserError
from spiking_yolo.models.load import load_checkpoint, save_checkpoint
from spiking_yolo.models.spec import Spec
from spiking_yolo.models.trainable import build, yolov1_spec

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
