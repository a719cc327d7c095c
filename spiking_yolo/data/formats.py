"""A dataset from whatever a person names: COCO, VOC, Ultralytics; CIFAR, ImageNet; or photographs
alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from spiking_yolo.data.sources import expand, is_stream
from spiking_yolo.errors import UserError

if TYPE_CHECKING:
    from spiking_yolo.data.classification import LabelledSet
    from spiking_yolo.data.detection import DetectionSet

# Folder beside the runs in which archives are unpacked, by whichever tool needs one first.
UNPACKED = "data"


def open_detection(
    data: Path, split: str | None = None, images: Path | None = None, year: int | str | None = None
) -> DetectionSet:
    """COCO folder, annotation .json (with its folder of images), data.yaml, or VOCdevkit.

    split: by default val2017 of a COCO folder and val of the others. year: of a VOCdevkit, by
    default its latest. Raises UserError when it is none of them or its files do not fit.
    """
    from spiking_yolo.data.coco import load_coco, load_coco_json
    from spiking_yolo.data.voc import load_voc
    from spiking_yolo.data.yolo import load_data_yaml

    if data.suffix == ".json":
        return load_coco_json(data, images or data.parent)
    if images is not None:
        raise UserError("--images belongs to an annotation file: give it as --data FILE.json")
    if data.suffix in (".yaml", ".yml"):
        return load_data_yaml(data, split or "val")
    if year is not None or voc_years(data):
        return load_voc(data, year or voc_years(data)[-1], split or "val")
    return load_coco(data, split or ("" if (data / "instances.json").is_file() else "val2017"))


def voc_years(data: Path) -> list[int]:
    """The years of a VOCdevkit, or of the one in the folder, ascending; none where it is something
    else.
    """
    folders = [*data.glob("VOC[0-9]*"), *data.glob("VOCdevkit/VOC[0-9]*")]
    return sorted(int(folder.name[3:]) for folder in folders if folder.name[3:].isdecimal())


def open_classification(
    data: Path, split: str | None = None, cache: Path = Path("runs") / UNPACKED
) -> LabelledSet:
    """CIFAR-100 as torchvision keeps it, or SPLIT/CLASS/ folders of images: CIFAR-10, ImageNet,
    one's own.

    data: the folder, or a tar file of one, which is unpacked once into `cache`. split: by default
    the one to report on: test, or val where the folder has that instead. Raises UserError for
    anything else.
    """
    from spiking_yolo.data.archive import unpack
    from spiking_yolo.data.classification import load_cifar100, load_folders

    if not data.exists():
        raise UserError(
            f"{data} does not exist: pass a folder or a tar file with SPLIT/CLASS/ inside"
        )
    if (data / "cifar-100-python").is_dir():
        return load_cifar100(data, split or "test")
    root = unpack(data, cache) if data.is_file() else data
    split = split or ("val" if (root / "val").is_dir() and not (root / "test").is_dir() else "test")
    return load_folders(f"{data.name.split('.')[0]} {split}", root / split)


def open_photographs(
    data: Sequence[str], split: str | None = None, training: bool = False
) -> list[str]:
    """Image files: of a detection dataset those of a split, else what the sources name.

    split: by default the one to validate on; training: the one to train on. Raises UserError when
    there are no images, and for a split of something that has none.
    """
    folder = Path(data[0])
    official = (folder / "annotations").is_dir()
    if len(data) == 1 and (
        official or voc_years(folder) or folder.suffix in (".json", ".yaml", ".yml")
    ):
        if training and split is None and folder.suffix != ".json":
            split = "train2017" if official else "train"
        return [str(sample.path) for sample in open_detection(folder, split).samples]
    if split is not None:
        raise UserError(
            "--split belongs to a COCO folder, a VOCdevkit or a data.yaml: leave it out"
        )
    images = [path for path in expand(data) if not is_stream(path)]
    if not images:
        raise UserError("there is no image: give photographs or a folder of them, not videos")
    return images
