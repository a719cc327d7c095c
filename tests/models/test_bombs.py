"""Small files that ask for terabytes, or for the internet: refused before anything is taken."""

import json
from pathlib import Path

import pytest
import torch
from helpers.classifying import NAMES, SPEC
from helpers.tiny import YOLO, write_tiny
from safetensors.torch import save_file
from torchvision import models

from spiking_yolo.errors import UserError
from spiking_yolo.models.classifiers import build, load_torchvision, resnet20
from spiking_yolo.models.load import FORMAT, load_ann, load_checkpoint
from spiking_yolo.models.spec import HeadSpec, Spec, check_spec


def checkpoint(path: Path, arch: str, options: object, spec: str = SPEC.to_json()) -> Path:
    metadata = {
        "format": FORMAT,
        "arch": arch,
        "options": json.dumps(options),
        "spec": spec,
        "provenance": "{}",
    }
    save_file({k: v.clone() for k, v in resnet20(len(NAMES)).state_dict().items()}, path, metadata)
    return path


@pytest.mark.parametrize(
    "name", ["fcn_resnet50", "fasterrcnn_resnet50_fpn", "quantized_resnet18", "vit_h_14/../x"]
)
def test_no_network_is_built_that_would_download_a_part(
    tmp_path: Path, name: str, monkeypatch
) -> None:
    monkeypatch.setattr(
        "torch.hub.load_state_dict_from_url", lambda *a, **k: pytest.fail(f"it fetched {a}")
    )
    with pytest.raises(UserError, match="torchvision has no classifier"):
        load_checkpoint(checkpoint(tmp_path / "x.safetensors", f"torchvision:{name}", {}))
    with pytest.raises(UserError, match="takes no options"):
        load_checkpoint(
            checkpoint(tmp_path / "x.safetensors", "torchvision:resnet18", {"weights": "DEFAULT"})
        )


@pytest.mark.parametrize(
    ("arch", "options"),
    [
        ("vgg16", {"width": 1e9}),
        ("vgg16", {"width": float("nan")}),
        # 240 million weights, which are not in the file.
        ("vgg16", {"width": 4}),
        ("resnet20", {"levels": 10**30, "activation": "qcfs"}),
        ("resnet20", {"classes": 10**12}),
        ("yolov1", {"num": 10**15}),
        ("resnet20", [1]),
        ("resnet20", {"": 1}),
    ],
)
def test_options_of_a_checkpoint(tmp_path: Path, arch: str, options: object) -> None:
    with pytest.raises(UserError, match="does not describe a network"):
        load_checkpoint(checkpoint(tmp_path / "x.safetensors", arch, options))


@pytest.mark.parametrize(
    "line", ["filters=1000000000", "filters=100000\nsize=9999", "size=0", "groups=0"]
)
def test_layers_of_a_cfg(tmp_path: Path, line: str) -> None:
    weights = write_tiny(tmp_path)
    weights.with_suffix(".cfg").write_text(YOLO.replace("filters=4\nsize=3", line, 1))
    with pytest.raises(UserError, match="layer 0"):
        load_ann(weights)


@pytest.mark.parametrize(("old", "new"), [("stride=2", "stride=0"), ("width=64", "width=1000000")])
def test_sizes_of_a_cfg(tmp_path: Path, old: str, new: str) -> None:
    weights = write_tiny(tmp_path)
    weights.with_suffix(".cfg").write_text(YOLO.replace(old, new))
    with pytest.raises(UserError, match="cfg line"):
        load_ann(weights)


def test_a_state_dict_of_expanded_tensors(tmp_path: Path) -> None:
    """A few bytes that say that they are a billion classes."""
    state = models.resnet18(num_classes=2).state_dict()
    state["fc.weight"], state["fc.bias"] = (
        torch.zeros(1).expand(10**9, 512),
        torch.zeros(1).expand(10**9),
    )
    torch.save(state, tmp_path / "x.pth")
    with pytest.raises(UserError, match="more numbers than it has bytes"):
        load_torchvision(tmp_path / "x.pth", "torchvision:resnet18")


HEAD = HeadSpec("yolov3", 1, 1, ((16.0, 16.0),))


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        (
            Spec(
                "detect", ("a",), 32, 32, heads=(HeadSpec("yolov3", 1, 1, ((float("nan"), 16.0),)),)
            ),
            "anchors",
        ),
        (
            Spec("detect", ("a",), 32, 32, heads=(HeadSpec("yolov3", 1, 2, ((16.0, 16.0),)),)),
            "anchors",
        ),
        (Spec("detect", ("a",), 32, 32, heads=(HeadSpec("yolov8", 1, 1, bins=10**9),)), "bins"),
        (Spec("detect", ("a",), 32, 32, heads=(HeadSpec("yolov8", 2, 1),)), "classes"),
        (Spec("detect", ("a",), 32, 32), "heads"),
        (Spec("detect", (), 32, 32, heads=(HEAD,)), "names"),
        (Spec("detect", ("a",), 100000, 32, heads=(HEAD,)), "height"),
        (Spec("classify", ("a",), 32, 32, std=(1.0, 0.0, 1.0)), "std"),
        (Spec("classify", ("a",), 32, 32, mean=(float("inf"),) * 3), "mean"),
        (Spec("guess", ("a",), 32, 32), "task"),  # pyright: ignore[reportArgumentType]
    ],
)
def test_a_spec_out_of_range(spec: Spec, field: str) -> None:
    with pytest.raises(UserError, match=f"^the network's {field} cannot be"):
        check_spec(spec)


def test_torchvision_classifiers_are_built_as_before() -> None:
    assert build("torchvision:resnet18", 3)(torch.zeros(1, 3, 64, 64)).shape == (1, 3)
