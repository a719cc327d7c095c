"""The networks that `train` trains: classifiers for 32 x 32 images by name, and a YOLOv1 detector,
Tiny-YOLO's backbone with ReLU and a convolutional head.

Redmon et al., "You Only Look Once", 2016, with the connected head replaced by 1 x 1 and 3 x 3
convolutions, so that any input size works. Stride 32: a 288 x 416 input has 9 rows of 13 cells.
"""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from torch import Tensor, nn

from spiking_yolo.errors import UserError
from spiking_yolo.graph.modules import QCFS, ClippedReLU, PaddedMaxPool2d
from spiking_yolo.io.text import Size, input_size, reason
from spiking_yolo.models.spec import HeadSpec, Spec

# Name of an activation -> f(levels of QCFS).
ACTIVATIONS: dict[str, Callable[[int], nn.Module]] = {
    "relu": lambda levels: nn.ReLU(),
    "leaky": lambda levels: nn.LeakyReLU(0.1),
    "clip": lambda levels: ClippedReLU(),
    "qcfs": QCFS,
}
# Channels of each convolution; 0 is a pooling.
VGG16 = (64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512, 0)


def conv_bn(cin: int, cout: int, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    conv = nn.Conv2d(cin, cout, kernel, stride, kernel // 2, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(cout))


class BasicBlock(nn.Module):
    """Two 3 x 3 convolutions and a shortcut, a 1 x 1 convolution where the shape changes."""

    def __init__(self, cin: int, cout: int, stride: int, activation: str, levels: int) -> None:
        super().__init__()
        self.first = conv_bn(cin, cout, stride=stride)
        self.act1 = ACTIVATIONS[activation](levels)
        self.second = conv_bn(cout, cout)
        self.act2 = ACTIVATIONS[activation](levels)
        self.shortcut = nn.Identity()
        if cin != cout or stride != 1:
            self.shortcut = conv_bn(cin, cout, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        return self.act2(self.second(self.act1(self.first(x))) + self.shortcut(x))


def resnet20(classes: int, activation: str = "relu", levels: int = 8) -> nn.Module:
    """ResNet-20 for [N, 3, 32, 32] to logits [N, classes], with convolutional shortcuts.

    He et al., "Deep residual learning for image recognition", 2016, section 4.2: 16, 32 and 64
    channels with three blocks each, then global average pooling.
    """
    layers: list[nn.Module] = [conv_bn(3, 16), ACTIVATIONS[activation](levels)]
    cin = 16
    for cout in (16, 32, 64):
        for _ in range(3):
            # The first block of a stage halves the map, where channels double.
            stride = 2 if cout > cin else 1
            layers.append(BasicBlock(cin, cout, stride, activation, levels))
            cin = cout
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(cin, classes))


def vgg16(
    classes: int, activation: str = "relu", levels: int = 8, pool: str = "max", width: float = 1.0
) -> nn.Module:
    """VGG-16 for [N, 3, 32, 32] to logits [N, classes], with batch norm and one linear layer.

    Simonyan and Zisserman, "Very deep convolutional networks", 2015.

    Args:
        classes: Number of classes.
        activation: A key of ACTIVATIONS.
        levels: Levels of QCFS.
        pool: "max" or "avg".
        width: Factor on the number of channels.
    """
    layers: list[nn.Module] = []
    cin = 3
    for channels in VGG16:
        if channels:
            cout = round(channels * width)
            layers += [conv_bn(cin, cout), ACTIVATIONS[activation](levels)]
            cin = cout
        else:
            layers.append(nn.MaxPool2d(2) if pool == "max" else nn.AvgPool2d(2))
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(cin, classes))


WIDTHS = (16, 32, 64, 128, 256, 512, 1024)


def conv_block(cin: int, cout: int, kernel: int, activation: str, levels: int) -> nn.Sequential:
    """Convolution at stride 1, batch norm, activation."""
    return nn.Sequential(*conv_bn(cin, cout, kernel), ACTIVATIONS[activation](levels))


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
        reduced = conv_block(WIDTHS[-1], 256, 1, activation, levels)
        self.neck = nn.Sequential(reduced, conv_block(256, 512, 3, activation, levels))
        self.head = nn.Conv2d(512, classes + 5 * num, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.neck(self.backbone(x)))

    def init_from_darknet(self, path: Path) -> None:
        """Take all but the output from Tiny-YOLOv3's weights, whose first layers have the same
        shapes.

        Raises:
            UserError: The file cannot be read, or is of another network.
        """
        from spiking_yolo.models.darknet import load_darknet

        theirs, ours = _weighted(load_darknet(path)[0]), _weighted(self)
        try:
            for own, other in zip(ours[:-1], theirs, strict=False):
                own.load_state_dict(other.state_dict())
        except RuntimeError as error:
            raise UserError(f"{path} is no Tiny-YOLOv3: give yolov3-tiny.weights") from error


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
    head = HeadSpec("yolov1", classes=len(names), num=num, logistic=True)
    return Spec("detect", tuple(names), height, width, "stretch", (head,))


NETWORKS: dict[str, Callable[..., nn.Module]] = {
    "yolov1": YOLOv1,
    "resnet20": resnet20,
    "vgg16": vgg16,
    # Half the channels: 3.7 million parameters instead of 14.7.
    "vgg_thin": partial(vgg16, width=0.5),
}


def build(name: str, classes: int, **options: object) -> nn.Module:
    """A newly initialised network by name.

    Args:
        name: A key of NETWORKS.
        classes: Number of classes.
        options: Options of the builder.

    Raises:
        UserError: The name or an option is unknown.
    """
    try:
        return NETWORKS[name](classes, **options)
    except (ArithmeticError, LookupError, TypeError, ValueError) as error:
        names = ", ".join(NETWORKS)
        raise UserError(f"cannot build {name} ({reason(error)}): choose one of {names}") from error
