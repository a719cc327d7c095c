"""What Ultralytics itself says, for the tests to compare with.

Run in a process of its own, since importing that package changes the whole process.

    python tests/helpers/ultralytics_reference.py FOLDER [NAME ... SIZE]

It writes NAME.pt for each network, and NAME.safetensors with the raw heads and the boxes of one
tensor; for FAMILIES, or for the networks that are named, with the raw heads only.
"""

import sys
from pathlib import Path

import torch
from ultralytics.nn.tasks import DetectionModel, PoseModel, SegmentationModel, yaml_model_load
from ultralytics.utils.nms import non_max_suppression
from ultralytics.utils.ops import xywh2xyxy

from spiking_yolo.io.tensors import write_safetensors

FOLDER = Path(sys.argv[1])
NETWORKS = {
    "yolov8n": "ReLU()",
    "yolov5n": "ReLU()",
    "yolov3-tiny": "ReLU()",
    "yolov5n-relu6": "ReLU6()",
    "yolov8n-silu": "SiLU()",
}
# Only their raw heads are compared.
FAMILIES = (
    "yolov8n-p6",
    "yolov8n-pose",
    "yolov9t",
    "yolov9c",
    "yolov10n",
    "yolo11n-seg",
    "yolo12n",
    "yolo12l",
    "yolo26n",
)
NAMES = ("cat", "dog", "bird")
SIZE = 192


def smooth(n: int, size: int, seed: int) -> torch.Tensor:
    """Images of blobs, [n, 3, size, size] in [0, 1]."""
    coarse = torch.rand(n, 3, 6, 6, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.interpolate(coarse, size=size, mode="bicubic").clamp(0, 1)


def build(name: str, activation: str = "ReLU()", kind=DetectionModel):
    """A random network from Ultralytics' own yaml."""
    torch.manual_seed(0)
    model = kind(
        {**yaml_model_load(f"{name}.yaml"), "activation": f"torch.nn.{activation}"},
        nc=3,
        verbose=False,
    )
    model.names = dict(enumerate(NAMES))
    return model.eval()


@torch.no_grad()
def calibrate(model):
    """Let batch norm know its inputs, and the heads find boxes of one to several cells."""
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None  # the mean over all batches
            # Less chaotic than a zero: rounding stays rounding.
            torch.nn.init.uniform_(module.bias, 1, 2)
    model.train()
    for seed in range(2):
        model(smooth(2, SIZE, seed))
    for box, score in zip(model.model[-1].cv2, model.model[-1].cv3, strict=True):
        box[-1].bias -= 0.7 * torch.arange(16).repeat(4)
        score[-1].weight *= 2
        score[-1].bias.fill_(-2)
    return model.eval()


@torch.no_grad()
def reference(name: str) -> None:
    model = calibrate(build(name.removesuffix("-relu6").removesuffix("-silu"), NETWORKS[name]))
    torch.save({"model": model, "train_args": {"imgsz": SIZE - 5}}, FOLDER / f"{name}.pt")
    x = smooth(1, SIZE, 7)
    decoded, raw = model(x)
    found = non_max_suppression(decoded.clone(), 0.4, 0.45)[0]
    tensors = {
        "x": x,
        "boxes": xywh2xyxy(decoded[0, :4].T),
        "classes": decoded[0, 4:].T,
        "found": found,
    }
    tensors |= {"raw boxes": raw["boxes"], "raw scores": raw["scores"]}
    write_safetensors(FOLDER / f"{name}.safetensors", tensors, {})


@torch.no_grad()
def family(name: str, size: int = 128) -> None:
    """A network whose normalisations and heads all differ, with the raw heads of a small image."""
    kinds = {"seg": SegmentationModel, "pose": PoseModel}
    model = build(name, "SiLU()", kinds.get(name.split("-")[-1], DetectionModel))
    chance = torch.Generator().manual_seed(1)
    norms = [m for m in model.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = None  # the mean over all batches
        norm.weight.uniform_(0.7, 1.4, generator=chance)
        norm.bias.uniform_(-0.5, 0.8, generator=chance)
    for module in model.modules():
        # Small weights would hide attention, and the shortcut of large scales.
        if type(module).__name__ == "ABlock":
            for conv in module.modules():
                if isinstance(conv, torch.nn.Conv2d):
                    torch.nn.init.kaiming_uniform_(conv.weight, 2, generator=chance)
        if getattr(module, "gamma", None) is not None:
            module.gamma.uniform_(0.2, 0.8, generator=chance)
    # Networks of two heads start with copies.
    for parameter in model.model[-1].parameters():
        parameter += 0.02 * torch.randn(parameter.shape, generator=chance)
    model.train()
    model(smooth(2, 128, 0))
    model.eval()
    torch.save({"model": model, "train_args": {"imgsz": size}}, FOLDER / f"{name}.pt")
    x = smooth(1, size, 7)
    if size == 128 and model.stride.max() == 32:
        x = x[..., :64, :]
    raw = model(x)[1]
    raw = raw.get("one2one", raw)
    tensors = {"x": x.contiguous(), "raw": torch.cat([raw["boxes"], raw["scores"]], 1)}
    write_safetensors(FOLDER / f"{name}.safetensors", tensors, {})


if __name__ == "__main__":
    if len(sys.argv) > 2:
        for name in sys.argv[2:-1]:
            family(name, int(sys.argv[-1]))
        sys.exit()
    for name in NETWORKS:
        reference(name)
    for name in FAMILIES:
        family(name)
