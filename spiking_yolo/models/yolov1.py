"""The YOLOv1 detector trained here: Tiny-YOLO backbone, ReLU and a convolutional head.

Redmon et al., "You Only Look Once", 2016, with the connected head replaced by 1 x 1 and 3 x 3
convolutions, so that any input size works. Stride 32: a 288 x 416 input has 9 rows of 13 cells.
"""

from collections.abc import Sequence
from pathlib import Path

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

    def init_from_darknet(self, path: Path) -> None:
        """Take all but the output from Tiny-YOLOv3's weights, whose first layers have the same
        shapes.

        Raises:
            UserError: The file cannot be read, or is of another network.
        """
        from spiking_yolo.models.darknet_weights import load_darknet

        theirs, ours = _weighted(load_darknet(path)[0]), _weighted(self)
        try:
            for own, other in zip(ours[:-1], theirs, strict=False):
                own.load_state_dict(other.state_dict())
        except RuntimeError as error:
            raise UserError(
                f"{path} is no Tiny-YOLOv3: give weights/yolov3-tiny.weights"
            ) from error


def yolov1_spec(names: Sequence[str], size: int | Size, num: int = 2) -> Spec:
    """The Spec of a YOLOv1, whose head is logistic.

    Args:
        names: Class names.
        size: A side or (height, width) in pixels.
        num: Boxes per cell.

    Raises:
        UserError: The size is not a multiple of 32, see `input_size`.
    """
    height, width = input_size(size)
    head = HeadSpec("yolov1", classes=len(names), num=num, sqrt=True, logistic=True)
    return Spec("detect", tuple(names), height, width, "stretch", (head,))
