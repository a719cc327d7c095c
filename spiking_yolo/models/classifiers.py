"""Classifiers for 32 x 32 images, by name."""

from collections.abc import Callable
from functools import partial

from torch import Tensor, nn

from spiking_yolo.errors import UserError
from spiking_yolo.graph.modules import activation as make_activation
from spiking_yolo.io.names import reason

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
        self.act1 = make_activation(activation, levels)
        self.second = conv_bn(cout, cout)
        self.act2 = make_activation(activation, levels)
        self.shortcut = nn.Identity()
        if cin != cout or stride != 1:
            self.shortcut = conv_bn(cin, cout, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        return self.act2(self.second(self.act1(self.first(x))) + self.shortcut(x))


def resnet20(classes: int = 10, activation: str = "relu", levels: int = 8) -> nn.Module:
    """ResNet-20 for [N, 3, 32, 32] to logits [N, classes], with convolutional shortcuts.

    He et al., "Deep residual learning for image recognition", 2016, section 4.2: 16, 32 and 64
    channels with three blocks each, then global average pooling.
    """
    layers: list[nn.Module] = [conv_bn(3, 16), make_activation(activation, levels)]
    cin = 16
    for cout in (16, 32, 64):
        for _ in range(3):
            # The first block of a stage halves the map, where channels double.
            stride = 2 if cout > cin else 1
            layers.append(BasicBlock(cin, cout, stride, activation, levels))
            cin = cout
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(cin, classes))


def vgg16(
    classes: int = 10,
    activation: str = "relu",
    levels: int = 8,
    pool: str = "max",
    width: float = 1.0,
) -> nn.Module:
    """VGG-16 for [N, 3, 32, 32] to logits [N, classes], with batch norm and one linear layer.

    Simonyan and Zisserman, "Very deep convolutional networks", 2015.

    Args:
        classes: Number of classes.
        activation: See `graph.modules.activation`.
        levels: Levels of QCFS.
        pool: "max" or "avg".
        width: Factor on the number of channels.
    """
    layers: list[nn.Module] = []
    cin = 3
    for channels in VGG16:
        if channels:
            cout = round(channels * width)
            layers += [conv_bn(cin, cout), make_activation(activation, levels)]
            cin = cout
        else:
            layers.append(nn.MaxPool2d(2) if pool == "max" else nn.AvgPool2d(2))
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(cin, classes))


CLASSIFIERS: dict[str, Callable[..., nn.Module]] = {
    "resnet20": resnet20,
    "vgg16": vgg16,
    # Half the channels: 3.7 million parameters instead of 14.7.
    "vgg_thin": partial(vgg16, width=0.5),
}


def build(name: str, classes: int, **options: object) -> nn.Module:
    """A classifier by name.

    Args:
        name: A key of CLASSIFIERS.
        classes: Number of classes.
        options: Options of the builder.

    Raises:
        UserError: The name or an option is unknown.
    """
    try:
        return CLASSIFIERS[name](classes, **options)
    except (ArithmeticError, LookupError, TypeError, ValueError) as error:
        names = ", ".join(CLASSIFIERS)
        raise UserError(f"cannot build {name} ({reason(error)}): choose one of {names}") from error
