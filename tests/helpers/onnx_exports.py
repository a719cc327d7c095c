"""Small detectors with the head of YOLOv5, exported as that project does it."""

import warnings
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

ANCHORS = (
    ((10, 13), (16, 30), (33, 23)),
    ((30, 61), (62, 45), (59, 119)),
    ((116, 90), (156, 198), (373, 326)),
)
SIZE, STRIDES, CLASSES = 64, (8, 16, 32), 3


def block(inputs: int, outputs: int, kernel: int, stride: int, act: nn.Module) -> nn.Sequential:
    norm = nn.BatchNorm2d(outputs)
    conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
    return nn.Sequential(conv, norm, act)


class Backbone(nn.Module):
    """Three maps of 8 channels, with what the networks have: bottlenecks with shortcuts, pooling of
    several sizes, upsampling, halves of the channels, and joined maps.
    """

    def __init__(self, act: nn.Module) -> None:
        super().__init__()
        self.stem = block(3, 8, 6, 2, act)
        self.stem[0].padding = (2, 2)
        self.down = nn.ModuleList([block(8, 8, 3, 2, act) for _ in range(4)])
        self.inner = nn.ModuleList([block(4, 4, 3, 1, act), block(4, 4, 3, 1, act)])
        self.joined = block(12, 8, 1, 1, act)
        self.pools = nn.MaxPool2d(5, 1, 2)
        self.pooled = block(16, 8, 1, 1, act)
        self.laterals = nn.ModuleList([block(16, 8, 1, 1, act) for _ in range(2)])

    def forward(self, x: Tensor) -> list[Tensor]:
        x = self.down[0](self.stem(x))
        fine = self.down[1](x)
        left, right = fine.chunk(2, 1)
        fine = self.joined(torch.cat([left, right, right + self.inner[1](self.inner[0](right))], 1))
        middle = self.down[2](fine)
        coarse = self.down[3](middle)
        coarse = self.pooled(torch.cat([coarse, self.pools(coarse)], 1))
        middle = self.laterals[0](torch.cat([F.interpolate(coarse, scale_factor=2.0), middle], 1))
        fine = self.laterals[1](torch.cat([F.interpolate(middle, scale_factor=2.0), fine], 1))
        return [fine, middle, coarse]


def cells(x: Tensor) -> Tensor:
    """Column and row of every cell, [1, 1, H, W, 2]."""
    rows, columns = torch.meshgrid(
        torch.arange(x.shape[2]).float(), torch.arange(x.shape[3]).float(), indexing="ij"
    )
    return torch.stack([columns, rows], 2)[None, None]


class Anchored(nn.Module):
    """Of YOLOv5."""

    def __init__(self, act: nn.Module) -> None:
        super().__init__()
        self.backbone = Backbone(act)
        values = 3 * (5 + CLASSES)
        self.m = nn.ModuleList([nn.Conv2d(8, values, 1) for _ in STRIDES])

    def forward(self, x: Tensor) -> Any:
        rows: list[Tensor] = []
        for k, feature in enumerate(self.backbone(x)):
            y = self.m[k](feature)
            height, width = int(y.shape[2]), int(y.shape[3])
            y = y.view(1, 3, 5 + CLASSES, height, width).permute(0, 1, 3, 4, 2).contiguous()
            xy, wh, sure = y.sigmoid().split((2, 2, 1 + CLASSES), 4)
            sizes = torch.tensor(ANCHORS[k]).float().view(1, 3, 1, 1, 2)
            xy = (xy * 2 + (cells(feature) - 0.5)) * STRIDES[k]
            wh = (wh * 2) ** 2 * sizes
            rows.append(torch.cat((xy, wh, sure), 4).view(1, 3 * height * width, 5 + CLASSES))
        return torch.cat(rows, 1)


def lively(model: nn.Module) -> nn.Module:
    """With statistics of batch norms unlike 0 and 1, in eval mode."""
    generator = torch.Generator().manual_seed(0)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            for values, least in ((module.running_mean, -0.2), (module.running_var, 0.3)):
                assert values is not None
                values.copy_(torch.rand(values.shape, generator=generator) * 0.4 + least)
            with torch.no_grad():
                module.weight.uniform_(0.7, 1.5, generator=generator)
                module.bias.uniform_(-0.3, 0.3, generator=generator)
    return model.eval()


def export(
    model: nn.Module, path: Path, dynamo: bool = False, opset: int = 12, **metadata: str
) -> Path:
    """Export a model for an image of SIZE x SIZE pixels, with what the file should say of itself.

    The newer of torch's two exporters (dynamo) has a least opset of its own.
    """
    import onnx

    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        options: dict[str, Any] = {"dynamo": dynamo, "opset_version": 18 if dynamo else opset}
        if dynamo:
            options |= {"external_data": False, "verbose": False}
        torch.onnx.export(
            lively(model),
            (torch.zeros(1, 3, SIZE, SIZE),),
            str(path),
            input_names=["images"],
            **options,
        )
    if metadata:
        proto = onnx.load(path)
        for key, value in metadata.items():
            proto.metadata_props.add(key=key, value=value)
        onnx.save(proto, path)
    return path
