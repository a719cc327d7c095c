"""The head sections of a darknet cfg: [detection] (v1), [region] (v2), [yolo] (v3)."""

from spiking_yolo.models.darknet_cfg import Section
from spiking_yolo.models.spec import HeadSpec

HEADS = ("detection", "region", "yolo")
# Of AlexeyAB's fork alone: keys of a head, and of [net].
FORK_KEYS = frozenset({"scale_x_y", "iou_loss", "iou_normalizer", "cls_normalizer", "nms_kind"})
FORK_NET_KEYS = frozenset({"letter_box", "mosaic", "cutmix"})


def head_spec(section: Section) -> HeadSpec:
    """The HeadSpec of a section. Raises UserError for options whose decoding is not supported."""
    if section.integer("coords", 4 if section.kind != "detection" else None) != 4:
        raise section.error("only coords=4 is supported")
    if section.kind == "detection":
        return HeadSpec(
            kind="yolov1",
            classes=section.integer("classes", 1, minimum=1),
            num=section.integer("num", 1, minimum=1),
            side=section.integer("side", 7, minimum=1),
            sqrt=bool(section.integer("sqrt", 0)),
            softmax=bool(section.integer("softmax", 0)),
        )
    return _anchored(section)


def _anchored(section: Section) -> HeadSpec:
    for key, neutral in (("tree", ""), ("new_coords", "0"), ("background", "0")):
        if section.options.get(key, neutral) not in (neutral, f"{neutral}.0"):
            raise section.error(f"{key} is not supported; use a plain yolov2/yolov3 cfg")
    values = section.numbers("anchors")
    anchors = list(zip(values[::2], values[1::2], strict=False))
    num = section.integer("num", 1, minimum=1)
    if len(values) != 2 * num:
        raise section.error(f"num={num} needs {2 * num} numbers in anchors=, found {len(values)}")
    if min(values) <= 0:
        raise section.error(f"an anchor of {min(values):g} has no size; give widths and heights above 0")
    if section.kind == "yolo":
        mask = section.integers("mask") or list(range(num))
        if not set(mask) <= set(range(num)):
            raise section.error(f"mask={section.options['mask']} points outside the {num} anchors")
        anchors = [anchors[i] for i in mask]
    region = section.kind == "region"
    scale = section.number("scale_x_y", 1.0)
    if scale < 1:
        raise section.error(f"scale_x_y={scale:g} must be at least 1")
    return HeadSpec(
        kind="yolov2" if region else "yolov3",
        classes=section.integer("classes", 20, minimum=1),
        num=len(anchors),
        anchors=tuple(anchors),
        softmax=region and bool(section.integer("softmax", 0)),
        scale=scale,
    )
