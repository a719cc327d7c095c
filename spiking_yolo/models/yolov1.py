"""The YOLOv1 detector trained here: Tiny-YOLO backbone, ReLU and a convolutional head.

Redmon et al., "You Only Look Once", 2016, with the connected head replaced by 1 x 1 and 3 x 3
convolutions, so that any input size works. Stride 32: a 288 x 416 input has 9 rows of 13 cells.
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from spiking_yolo.errors import UserError
from spiking_yolo.graph.modules import PaddedMaxPool2d
from spiking_yolo.graph.modules import activation as make_activation
from spiking_yolo.io.names import Size, input_size
from spiking_yolo.models.spec import HeadSpec, Spec

WIDTHS = (16, 32, 64, 128, 256, 512, 1024)


def conv_block(cin: int, cout: int, kernel: int, activation: str, levels: int) -> nn.Sequential:
    """Convolution at stride 1, batch norm, activation."""
    conv = nn.Conv2d(cin, cout, kernel, padding=kernel // 2, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(cout), make_activation(activation, levels))


def _weighted(network: nn.Module) -> list[nn.Conv2d | nn.BatchNorm2d]:
    """The convolutions and batch norms of a network, in order."""
    return [m for m in network.modules() if isinstance(m, nn.Conv2d | nn.BatchNorm2d)]


class YOLOv1(nn.Module):
    """Images [N, 3, H, W] in [0, 1] to one raw map [N, C + 5 B, H / 32, W / 32].

    Channels: C class values, B confidences, then x, y, w, h of each of the B boxes.

    Args:
        classes: C.
        num: B.
        activation: "relu", "leaky", "clip" or "qcfs" (with `levels`).
        pool: "max", or "avg", which is linear and needs no spiking rule; "avg" leaves out the
            stride-1 max pooling before the last backbone convolution.
        levels: Levels of QCFS.
    """

    def __init__(
        self,
        classes: int = 20,
        num: int = 2,
        activation: str = "relu",
        pool: str = "max",
        levels: int = 8,
    ) -> None:
        super().__init__()
        if pool not in ("max", "avg"):
            raise UserError(f"unknown pooling {pool!r}: choose max or avg")
        self.classes = classes
        self.num = num
        backbone: list[nn.Module] = []
        for i, (cin, cout) in enumerate(zip((3, *WIDTHS), WIDTHS, strict=False)):
            backbone.append(conv_block(cin, cout, 3, activation, levels))
            if i < 5:
                backbone.append(nn.MaxPool2d(2) if pool == "max" else nn.AvgPool2d(2))
            elif i == 5 and pool == "max":
                backbone.append(PaddedMaxPool2d(2, 1, (0, 1, 0, 1)))
        self.backbone = nn.Sequential(*backbone)
        self.neck = nn.Sequential(
            conv_block(WIDTHS[-1], 256, 1, activation, levels),
            conv_block(256, 512, 3, activation, levels),
        )
        self.head = nn.Conv2d(512, classes + 5 * num, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.neck(self.backbone(x)))

    def init_from_darknet(self, path: str | Path, own: Spec) -> None:
        """Start from the public Tiny-YOLOv3 weights, whose backbone has the same shapes.

        The output layer starts as a linear approximation of COCO's for the common class names.

        Args:
            path: The .weights file.
            own: This network's Spec.

        Raises:
            UserError: The file cannot be read, or is of another network.
        """
        from spiking_yolo.models.darknet_weights import load_darknet

        source, spec = load_darknet(Path(path))
        theirs, ours = _weighted(source), _weighted(self)
        if len(theirs) < len(ours) or theirs[0].weight.shape != ours[0].weight.shape:
            raise UserError(f"{path} is no Tiny-YOLOv3: pass weights/yolov3-tiny.weights to --init")
        for a, b in zip(ours[:-1], theirs, strict=False):
            a.load_state_dict(b.state_dict())
        output = theirs[len(ours) - 1]
        assert isinstance(output, nn.Conv2d) and output.bias is not None
        self.read_output(output.weight.detach(), output.bias.detach(), spec, own)

    @torch.no_grad()
    def read_output(self, weight: Tensor, bias: Tensor, theirs: Spec, own: Spec) -> None:
        """Set the output layer to a first-order approximation of a YOLOv3 output layer.

        The boxes take anchors evenly spaced from small to large. w = anchor exp(t) becomes
        sqrt(w) = sqrt(anchor) (1 + t / 2), with anchors as fractions of this network's input, since
        receptive fields span as many pixels at any input size. Classes are means over the anchors.

        Args:
            weight: Weight of the YOLOv3 layer, [A (5 + K), 512, 1, 1].
            bias: [A (5 + K)].
            theirs: Its Spec.
            own: This network's Spec.
        """
        head: HeadSpec = theirs.heads[0]
        full = torch.cat([weight.flatten(1), bias[:, None]], 1).view(head.num, 5 + head.classes, -1)
        out = torch.zeros(self.classes + 5 * self.num, full.shape[2])
        for c, name in enumerate(own.names):
            if name in theirs.names:
                out[c] = full[:, 5 + theirs.names.index(name)].mean(0)
            else:
                out[c, -1] = full[:, 5:, -1].mean()
        for b in range(self.num):
            a = round((b + 0.5) * head.num / self.num - 0.5 + 1e-6)
            rows = full[a]
            out[self.classes + b] = rows[4]
            box = out[self.classes + self.num + 4 * b :][:4]
            box[:2] = rows[:2]
            side = torch.tensor(head.anchors[a]) / torch.tensor([own.width, own.height])
            box[2:] = side.sqrt()[:, None] * rows[2:4] / 2
            box[2:, -1] += side.sqrt()
        self.head.weight.copy_(out[:, :-1].view_as(self.head.weight))
        assert self.head.bias is not None
        self.head.bias.copy_(out[:, -1])


def yolov1_spec(
    names: Sequence[str], size: int | Size, num: int = 2, logistic: bool = True
) -> Spec:
    """The Spec of a YOLOv1.

    Args:
        names: Class names.
        size: A side or (height, width) in pixels.
        num: Boxes per cell.
        logistic: Whether the head is logistic.

    Raises:
        UserError: The size is not a multiple of 32, see `input_size`.
    """
    height, width = input_size(size)
    head = HeadSpec("yolov1", classes=len(names), num=num, sqrt=True, logistic=logistic)
    return Spec("detect", tuple(names), height, width, "stretch", (head,))
