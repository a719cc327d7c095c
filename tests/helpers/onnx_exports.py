"""Small detectors with the heads of YOLOv5, YOLOv7-tiny and YOLOX, exported as these projects do it."""

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

    def __init__(self, act: nn.Module, focus: bool = False) -> None:
        super().__init__()
        self.focus = focus
        self.stem = block(12, 8, 3, 1, act) if focus else block(3, 8, 6, 2, act)
        if not focus:
            self.stem[0].padding = (2, 2)
        self.down = nn.ModuleList([block(8, 8, 3, 2, act) for _ in range(4)])
        self.inner = nn.ModuleList([block(4, 4, 3, 1, act), block(4, 4, 3, 1, act)])
        self.joined = block(12, 8, 1, 1, act)
        self.pools = nn.MaxPool2d(5, 1, 2)
        self.pooled = block(16, 8, 1, 1, act)
        self.laterals = nn.ModuleList([block(16, 8, 1, 1, act) for _ in range(2)])

    def forward(self, x: Tensor) -> list[Tensor]:
        if self.focus:
            corners = [x[..., ::2, ::2], x[..., 1::2, ::2], x[..., ::2, 1::2], x[..., 1::2, 1::2]]
            x = torch.cat(corners, 1)
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
    """Of YOLOv5, or of YOLOv7 with trained numbers that are added and multiplied.

    decoded: Give boxes, as v5's export and v7's with --grid; else the maps.
    """

    def __init__(self, act: nn.Module, decoded: bool = True, implicit: bool = False) -> None:
        super().__init__()
        self.backbone = Backbone(act)
        values = 3 * (5 + CLASSES)
        self.m = nn.ModuleList([nn.Conv2d(8, values, 1) for _ in STRIDES])
        self.decoded = decoded
        self.implicit = implicit
        self.added = nn.ParameterList([torch.randn(1, 8, 1, 1) for _ in STRIDES])
        self.factors = nn.ParameterList([1 + torch.rand(1, values, 1, 1) for _ in STRIDES])

    def forward(self, x: Tensor) -> Any:
        maps: list[Tensor] = []
        rows: list[Tensor] = []
        for k, feature in enumerate(self.backbone(x)):
            if self.implicit:
                y = self.m[k](self.added[k] + feature) * self.factors[k]
            else:
                y = self.m[k](feature)
            height, width = int(y.shape[2]), int(y.shape[3])
            y = y.view(1, 3, 5 + CLASSES, height, width).permute(0, 1, 3, 4, 2).contiguous()
            maps.append(y)
            xy, wh, sure = y.sigmoid().split((2, 2, 1 + CLASSES), 4)
            sizes = torch.tensor(ANCHORS[k]).float().view(1, 3, 1, 1, 2)
            xy = (xy * 2 + (cells(feature) - 0.5)) * STRIDES[k]
            wh = (wh * 2) ** 2 * sizes
            rows.append(torch.cat((xy, wh, sure), 4).view(1, 3 * height * width, 5 + CLASSES))
        return torch.cat(rows, 1) if self.decoded else maps


class YOLOX(nn.Module):
    """With a stem of space to depth; decoded: as with --decode_in_inference."""

    def __init__(self, decoded: bool = False) -> None:
        super().__init__()
        act = nn.SiLU()
        self.backbone = Backbone(act, focus=True)
        self.cls = nn.ModuleList([block(8, 8, 3, 1, act) for _ in STRIDES])
        self.reg = nn.ModuleList([block(8, 8, 3, 1, act) for _ in STRIDES])
        self.cls_preds = nn.ModuleList([nn.Conv2d(8, CLASSES, 1) for _ in STRIDES])
        self.reg_preds = nn.ModuleList([nn.Conv2d(8, 4, 1) for _ in STRIDES])
        self.obj_preds = nn.ModuleList([nn.Conv2d(8, 1, 1) for _ in STRIDES])
        self.decoded = decoded
        for conv in self.reg_preds:
            # Boxes of a width that float32 can centre.
            nn.init.uniform_(conv.weight, -0.02, 0.02)

    def forward(self, x: Tensor) -> Tensor:
        rows: list[Tensor] = []
        grids: list[Tensor] = []
        strides: list[Tensor] = []
        for k, feature in enumerate(self.backbone(x)):
            sure = self.cls_preds[k](self.cls[k](feature))
            branch = self.reg[k](feature)
            parts = [self.reg_preds[k](branch), self.obj_preds[k](branch).sigmoid(), sure.sigmoid()]
            rows.append(torch.cat(parts, 1).flatten(2))
            grids.append(cells(feature).view(1, -1, 2))
            strides.append(torch.full((1, grids[-1].shape[1], 1), float(STRIDES[k])))
        y = torch.cat(rows, 2).permute(0, 2, 1)
        if not self.decoded:
            return y
        stride = torch.cat(strides, 1)
        xy = (y[..., 0:2] + torch.cat(grids, 1)) * stride
        return torch.cat([xy, y[..., 2:4].exp() * stride, y[..., 4:]], 2)


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
