"""Where the statistics and calibrations of a network are written, and where they are looked for.

They lie beside the weights. For a network that ships with the package they are written to the user's cache instead, and
those there are taken before the shipped ones.
"""

import warnings
from dataclasses import dataclass
from pathlib import Path

from spiking_yolo.convert.calibration_file import calibration_path
from spiking_yolo.convert.statistics import statistics_path
from spiking_yolo.errors import Notice
from spiking_yolo.io.assets import is_shipped
from spiking_yolo.io.places import cache_folder
from spiking_yolo.models.load import Ann
from spiking_yolo.recipe import Recipe


@dataclass(frozen=True)
class Destination:
    """Where to write statistics, and in which folder what methods learn; None is beside the weights."""

    statistics: Path
    folder: Path | None

    def calibration(self, ann: Ann, recipe: Recipe) -> Path:
        """The file of what this recipe learns."""
        path = calibration_path(ann.weights, ann.imgsz, recipe)
        return path if self.folder is None else self.folder / path.name


def destination(ann: Ann, output: Path | None = None, overwrite_shipped: bool = False) -> Destination:
    """Where the files of a network are written. output: a folder, or the .safetensors file of the statistics."""
    if output is not None and output.suffix == ".safetensors" and not output.is_dir():
        return Destination(output, output.parent)
    folder, path = output, statistics_path(ann.weights, ann.imgsz)
    if folder is None and is_shipped(ann.weights) and not overwrite_shipped:
        folder = user_folder(ann)
    return Destination(path if folder is None else folder / path.name, folder)


def user_folder(ann: Ann) -> Path:
    """The user's own files of a network that ships with the package."""
    return cache_folder() / "calibrations" / ann.sha256[:16]


def find_calibration(ann: Ann, recipe: Recipe, statistics: Path | None = None) -> Path:
    """What the recipe learned: beside the given statistics, in the user's cache, or beside the weights."""
    path = calibration_path(ann.weights, ann.imgsz, recipe)
    folders = [] if statistics is None else [statistics.parent]
    folders += [user_folder(ann)] if is_shipped(ann.weights) else []
    for folder in folders:
        if (folder / path.name).is_file():
            return folder / path.name
    return path


def find_statistics(ann: Ann, calibration: Path | None = None) -> Path:
    """The statistics of a network. calibration: of which they are wanted; those in its folder come first."""
    path = statistics_path(ann.weights, ann.imgsz)
    own = user_folder(ann) / path.name
    if not is_shipped(ann.weights) or not own.is_file():
        return path
    of_shipped = calibration is not None and calibration.parent != own.parent
    return path if of_shipped and path.is_file() else own


def notify_of_own(ann: Ann, path: Path) -> None:
    """Say that a file of the user's takes the place of a shipped one; Python shows the same notice once."""
    folder = user_folder(ann)
    if is_shipped(ann.weights) and path.parent == folder:
        what = f"using your calibration in {folder}, remove it to return to the shipped one"
        warnings.warn(Notice(what), stacklevel=1)
