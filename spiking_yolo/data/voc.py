"""PASCAL VOC in the layout of its devkit.

The XML is read here because torchvision's VOCDetection takes no custom split and checks neither
sizes nor files.
"""

import math
from pathlib import Path
from xml.etree import ElementTree

from spiking_yolo.data.coco import VOC_NAMES
from spiking_yolo.data.detection import DetectionSet, Sample, outside_notes, present
from spiking_yolo.errors import UserError
from spiking_yolo.io.files import read_text, regular

_CORNERS = ("xmin", "ymin", "xmax", "ymax")


class VocSet(DetectionSet):
    """A DetectionSet that is scored by PASCAL VOC's protocol."""

    metric = "voc"


def voc_years(data: Path) -> list[int]:
    """The years of a VOCdevkit, or of the one in the folder, in order; none elsewhere."""
    folders = [*data.glob("VOC[0-9]*"), *data.glob("VOCdevkit/VOC[0-9]*")]
    return sorted(int(folder.name[3:]) for folder in folders if folder.name[3:].isdecimal())


def load_voc(devkit: str | Path, year: int | str, split: str) -> DetectionSet:
    """A split of a VOCdevkit: ImageSets/Main/SPLIT.txt, Annotations/*.xml, JPEGImages/*.jpg.

    image_id is the file's stem; labels are indices of VOC_NAMES. VOC counts pixels from 1, boxes
    here from 0 (all four coordinates are one less, as darknet trains on them).

    Args:
        devkit: The folder VOCdevkit or its parent.
        year: Year of VOC{year}/ in it.
        split: Such as train or val.

    Raises:
        UserError: The split or an XML file is missing or malformed; names the file.
    """
    devkit = Path(devkit)
    if (devkit / "VOCdevkit").is_dir():
        devkit = devkit / "VOCdevkit"
    base = devkit / f"VOC{year}"
    listing = base / "ImageSets" / "Main" / f"{split}.txt"
    if not listing.is_file():
        # Those with "_" are of one class.
        splits = sorted(p.stem for p in listing.parent.glob("*.txt") if "_" not in p.stem)
        raise UserError(
            f"{listing} is missing: pass VOCdevkit, its year and a split (found:"
            f" {', '.join(splits) or 'none'})"
        )
    # A listing of one class has a second column, 1 or -1; only the name matters.
    stems: list[str] = []
    for line in read_text(listing).splitlines():
        if line.strip():
            stems.append(line.split()[0])
    if not stems:
        raise UserError(f"{listing} lists no images: pass a split with images")
    images = base / "JPEGImages"
    there, notes = present([f"{stem}.jpg" for stem in stems], images, listing)
    samples: list[Sample] = []
    for stem in stems:
        if f"{stem}.jpg" in there:
            xml = base / "Annotations" / f"{stem}.xml"
            samples.append(read_xml(xml, images / f"{stem}.jpg"))
    return VocSet(f"VOC{year} {split}", VOC_NAMES, samples, notes + outside_notes(samples))


def read_xml(xml: Path, image: Path) -> Sample:
    """Read an annotation file. Raises UserError if it is missing or not in VOC's format."""
    path = regular(xml)
    try:
        root = ElementTree.parse(path).getroot()
    except FileNotFoundError:
        raise UserError(f"{xml} is missing: every listed image needs its annotation") from None
    except (ElementTree.ParseError, LookupError, ValueError) as error:
        raise UserError(f"{xml} is not readable XML ({error}): replace it") from None
    try:
        size = (int(root.findtext("size/width", "")), int(root.findtext("size/height", "")))
    except ValueError:
        size = (0, 0)
    if min(size) < 1:
        raise UserError(f"{xml} gives no image size: add <size> with width and height in pixels")
    boxes: list[list[float]] = []
    labels: list[int] = []
    difficult: list[bool] = []
    for item in root.findall("object"):
        name = item.findtext("name", "").strip()
        if name not in VOC_NAMES:
            raise UserError(
                f"{xml} has an object named '{name}', which is not a VOC class: correct the name"
            )
        boxes.append(_box(item, f"{xml} has a {name}"))
        labels.append(VOC_NAMES.index(name))
        difficult.append(item.findtext("difficult", "0").strip() == "1")
    return Sample.of(xml.stem, image, size, boxes, labels, difficult)


def _box(item: ElementTree.Element, what: str) -> list[float]:
    """The corners of an object, counted from 0."""
    try:
        box = [float(item.findtext(f"bndbox/{corner}", "")) - 1 for corner in _CORNERS]
    except ValueError:
        raise UserError(f"{what} without a whole bndbox: add the numbers") from None
    if not all(map(math.isfinite, box)):
        raise UserError(f"{what} with a corner that is no finite number: correct the box")
    x1, y1, x2, y2 = box
    if not (x2 >= x1 and y2 >= y1):
        raise UserError(f"{what} with max before min: correct the box")
    return box
