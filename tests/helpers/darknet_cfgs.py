"""Layouts of public darknet networks, written by functions, and files of random weights for them."""

from pathlib import Path

from helpers.darknet_files import random_network, write_weights

# What AlexeyAB's [yolo] sections say about training, in part.
TRAINING = {"jitter": ".3", "iou_loss": "ciou", "iou_normalizer": "0.07", "random": "0"}
TINY_ANCHORS = "10,14,  23,27,  37,58,  81,82,  135,169,  344,319"
V4_ANCHORS = "12, 16, 19, 36, 40, 28, 36, 75, 76, 55, 72, 146, 142, 110, 192, 243, 459, 401"
V7_ANCHORS = "10,13, 16,30, 33,23, 30,61, 62,45, 59,119, 116,90, 156,198, 373,326"


def section(kind: str, **options: object) -> str:
    return f"[{kind}]\n" + "".join(f"{key} = {value}\n" for key, value in options.items()) + "\n"


def conv(filters: int, size: int = 1, stride: int = 1, activation: str = "leaky") -> str:
    options = {"filters": filters, "size": size, "stride": stride, "pad": 1}
    return section("convolutional", batch_normalize=1, **options, activation=activation)


def route(*layers: int, **options: int) -> str:
    return section("route", layers=", ".join(map(str, layers)), **options)


def pool(size: int, stride: int) -> str:
    return section("maxpool", size=size, stride=stride)


def head(classes: int, activation: str = "linear", **options: object) -> str:
    """The last convolution and its [yolo], of three boxes per cell."""
    shape = {"size": 1, "stride": 1, "pad": 1, "filters": 3 * (5 + classes)}
    last = section("convolutional", **shape, activation=activation)
    return last + section("yolo", classes=classes, **TRAINING, **options)


def net(size: int) -> str:
    training = {"batch": 64, "momentum": 0.9, "decay": 0.0005, "saturation": 1.5, "hue": ".1"}
    return section("net", width=size, height=size, channels=3, **training)


UP = section("upsample", stride=2)


def yolov4_tiny(size: int = 416, classes: int = 80, heads: int = 2) -> str:
    """yolov4-tiny.cfg, or yolov4-tiny-3l.cfg with three heads."""
    text = net(size) + conv(32, 3, 2) + conv(64, 3, 2)
    for filters in (64, 128, 256):
        text += conv(filters, 3) + route(-1, groups=2, group_id=1)
        text += conv(filters // 2, 3) + conv(filters // 2, 3) + route(-1, -2)
        text += conv(filters) + route(-6, -1) + pool(2, 2)
    text += conv(512, 3) + conv(256) + conv(512, 3)
    boxes = {"anchors": TINY_ANCHORS, "num": 6, "scale_x_y": 1.05, "nms_kind": "greedynms"}
    masks = ["3,4,5", "1,2,3"]
    if heads == 3:
        boxes |= {"anchors": V4_ANCHORS, "num": 9}
        masks = ["6,7,8", "3,4,5", "0,1,2"]
    text += head(classes, mask=masks[0], **boxes)
    text += route(-4) + conv(128) + UP + route(-1, 23) + conv(256, 3)
    text += head(classes, mask=masks[1], **boxes)
    if heads == 3:
        text += route(-3) + conv(64) + UP + route(-1, 15) + conv(128, 3)
        text += head(classes, mask=masks[2], **boxes)
    return text


def _elan(filters: int, out: int) -> str:
    text = conv(filters) + route(-2) + conv(filters) + conv(filters, 3) + conv(filters, 3)
    return text + route(-5, -3, -2, -1) + conv(out)


def _spp() -> str:
    text = pool(5, 1) + route(-2) + pool(9, 1) + route(-4) + pool(13, 1)
    return text + route(-1, -3, -5, -6)


def yolov7_tiny(size: int = 416, classes: int = 80) -> str:
    """yolov7-tiny.cfg, whose heads read a logistic function."""
    text = net(size) + conv(32, 3, 2) + conv(64, 3, 2) + _elan(32, 64)
    for filters in (64, 128, 256):
        text += pool(2, 2) + _elan(filters, 2 * filters)
    text += conv(256) + route(-2) + conv(256) + _spp() + conv(256) + route(-10, -1) + conv(256)
    text += conv(128) + UP + route(24) + conv(128) + route(-1, -3) + _elan(64, 128)
    text += conv(64) + UP + route(16) + conv(64) + route(-1, -3) + _elan(32, 64)
    text += conv(128, 3, 2) + route(-1, 56) + _elan(64, 128)
    text += conv(256, 3, 2) + route(-1, 44) + _elan(128, 256)
    boxes = {"anchors": V7_ANCHORS, "num": 9, "scale_x_y": 2.0, "nms_kind": "diounms"}
    boxes |= {"objectness_smooth": 1, "new_coords": 1, "max_delta": 2}
    for layer, filters, mask in ((68, 128, "0,1,2"), (77, 256, "3,4,5"), (86, 512, "6,7,8")):
        text += route(layer) + conv(filters, 3)
        text += head(classes, activation="logistic", mask=mask, **boxes)
    return text


def yolov4(size: int = 608, classes: int = 80, narrow: int = 1) -> str:
    """yolov4.cfg, with mish in the backbone. narrow: Divides the channels."""

    def mish(filters: int, kernel: int = 1, stride: int = 1) -> str:
        return conv(filters // narrow, kernel, stride, activation="mish")

    def leaky(filters: int, kernel: int = 1, stride: int = 1) -> str:
        return conv(filters // narrow, kernel, stride)

    def in_turn(filters: int, pairs: int) -> str:
        return (leaky(filters) + leaky(2 * filters, 3)) * pairs

    text = net(size) + mish(32, 3)
    for filters, blocks in ((64, 1), (128, 2), (256, 8), (512, 8), (1024, 4)):
        # The first stage is not split in halves.
        part = max(64, filters // 2)
        hidden = filters // 2
        text += mish(filters, 3, 2) + mish(part) + route(-2) + mish(part)
        block = mish(hidden) + mish(part, 3)
        text += (block + section("shortcut", **{"from": -3}, activation="linear")) * blocks
        text += mish(part) + route(-1, -4 - 3 * blocks) + mish(filters)
    text += in_turn(512, 1) + leaky(512) + _spp() + in_turn(512, 1) + leaky(512)
    for filters, layer in ((256, 85), (128, 54)):
        text += leaky(filters) + UP + route(layer) + leaky(filters) + route(-1, -3)
        text += in_turn(filters, 2) + leaky(filters)
    boxes = {"anchors": V4_ANCHORS, "num": 9, "nms_kind": "greedynms"}
    text += leaky(256, 3) + head(classes, mask="0,1,2", scale_x_y=1.2, **boxes)
    for filters, other, mask, scale in ((256, -16, "3,4,5", 1.1), (512, -37, "6,7,8", 1.05)):
        text += route(-4) + leaky(filters, 3, 2) + route(-1, other) + in_turn(filters, 3)
        text += head(classes, mask=mask, scale_x_y=scale, **boxes)
    return text


def write_random(path: Path, cfg: str, seed: int = 0) -> Path:
    """PATH.cfg and PATH.weights."""
    weights = path.with_suffix(".weights")
    path.with_suffix(".cfg").write_text(cfg)
    write_weights(random_network(cfg, seed), weights)
    return weights
