"""PASCAL VOC in the layout of its devkit.

The XML is read here because torchvision's VOCDetection takes no custom split and checks neither
sizes nor files.
"""

import math
from pathlib import Path
from xml.etree import ElementTree

from spiking_yolo.data.coco import VOC_NAMES
from spiking_yolo.data.detection import DetectionSet, Sample, present
from spiking_yolo.errors import UserError
from spiking_yolo.io.files import read_text, regular
from spiking_yolo.io.names import reason

_CORNERS = ("xmin", "ymin", "xmax", "ymax")


def voc_years(data: Path) -> list[int]:
    """The years of a VOCdevkit, in order; none elsewhere."""
    years = [folder.name[3:] for folder in data.glob("VOC[0-9]*")]
    return sorted(int(year) for year in years if year.isdecimal())


def load_voc(devkit: str | Path, year: int | str, split: str) -> DetectionSet:
    """A split of a VOCdevkit: ImageSets/Main/SPLIT.txt, Annotations/*.xml, JPEGImages/*.jpg.

    image_id is the file's stem; labels are indices of VOC_NAMES. VOC counts pixels from 1, boxes
    here from 0 (all four coordinates are one less, as darknet trains on them).

    Args:
        devkit: The folder VOCdevkit.
        year: Year of VOC{year}/ in it.
        split: Such as train or val.

    Raises:
        UserError: The split or an XML file is missing or malformed; names the file.
    """
    base = Path(devkit) / f"VOC{year}"
    listing = base / "ImageSets" / "Main" / f"{split}.txt"
    if not listing.is_file():
        raise UserError(f"{listing} is missing: pass VOCdevkit, and a year and a split that it has")
    stems = read_text(listing).split()
    if not stems:
        raise UserError(f"{listing} lists no images: pass a split with images")
    images = base / "JPEGImages"
    there, notes = present([f"{stem}.jpg" for stem in stems], images, listing)
    samples: list[Sample] = []
    for stem in stems:
        if f"{stem}.jpg" in there:
            xml = base / "Annotations" / f"{stem}.xml"
            samples.append(read_xml(xml, images / f"{stem}.jpg"))
    return DetectionSet(f"VOC{year} {split}", VOC_NAMES, samples, notes, metric="voc")


def read_xml(xml: Path, image: Path) -> Sample:
    """Read an annotation file. Raises UserError if it is missing or not in VOC's format."""
    boxes: list[list[float]] = []
    labels: list[int] = []
    difficult: list[bool] = []
    try:
        root = ElementTree.parse(regular(xml)).getroot()
        width, height = (int(root.findtext(f"size/{side}", "")) for side in ("width", "height"))
        for item in root.findall("object"):
            labels.append(VOC_NAMES.index(item.findtext("name", "").strip()))
            # VOC counts from 1.
            box = [float(item.findtext(f"bndbox/{corner}", "")) - 1 for corner in _CORNERS]
            if not (box[0] <= box[2] < math.inf and box[1] <= box[3] < math.inf):
                raise ValueError(f"the box {box}")
            boxes.append(box)
            difficult.append(item.findtext("difficult", "0").strip() == "1")
    except (OSError, ElementTree.ParseError, LookupError, ValueError) as error:
        raise UserError(
            f"{xml} is no annotation of VOC, with a size, and objects of its classes with whole"
            f" boxes ({reason(error)}): correct it"
        ) from None
    return Sample.of(xml.stem, image, (width, height), boxes, labels, difficult)
