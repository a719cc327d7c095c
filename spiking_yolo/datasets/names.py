"""Class names and category ids of PASCAL VOC and COCO, and which names mean the same class."""

from collections.abc import Sequence

VOC_NAMES = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable",
    "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip

# COCO numbers its 80 classes with gaps between 1 and 90; index 0..79 is the order of a network's outputs.
_UNUSED = {12, 26, 29, 30, 45, 66, 68, 69, 71, 83}
COCO_IDS = tuple(i for i in range(1, 91) if i not in _UNUSED)

# COCO's own spelling of the six classes that darknet's coco.names spells as VOC does.
COCO_TO_VOC_SPELLING = {
    "airplane": "aeroplane",
    "couch": "sofa",
    "dining table": "diningtable",
    "motorcycle": "motorbike",
    "potted plant": "pottedplant",
    "tv": "tvmonitor",
}


def canonical(name: str) -> str:
    """One spelling per class: lower case, and VOC's name where COCO has another."""
    name = name.strip().lower()
    return COCO_TO_VOC_SPELLING.get(name, name)


def match_names(names: Sequence[str], classes: Sequence[str]) -> tuple[int, ...]:
    """The index in `classes` of each of `names`, -1 where absent; names are compared by `canonical`."""
    index = {canonical(name): i for i, name in reversed(list(enumerate(classes)))}
    return tuple(index.get(canonical(name), -1) for name in names)
