"""The networks that are known to work, by name: weights/index.json. Imports nothing heavy."""

import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from spiking_yolo.errors import UserError
from spiking_yolo.io.files import shipped
from spiking_yolo.io.text import did_you_mean, read_json_file


@dataclass(frozen=True)
class Accuracy:
    """The accuracy of a network with a calibration of signed-digits, at T = 1, in percent.

    Attributes:
        calibration: Its name.
        imgsz: Input size.
        data: What it was measured on.
        ann: AP50 or top-1 of the ANN.
        snn: AP50 or top-1 of the spiking network.
        interval: 95 % interval of the difference.
        operations: Digits per multiply-accumulate of the ANN.
    """

    calibration: str
    imgsz: str
    data: str
    ann: float
    snn: float
    interval: tuple[float, float]
    operations: float


@dataclass(frozen=True)
class IndexedNetwork:
    """A network that is known to work.

    Attributes:
        name: What --weights takes.
        weights: Its file in the weights folder, or as its source calls it.
        task: "detect" or "classify".
        dataset: That it was trained on.
        imgsz: Input size as published.
        activation: Activation of its layers.
        licence: Licence of the weights.
        source: Where to get the file.
        files: All that comes with this repository, by name, and its SHA-256; nothing of a network
            that has to be fetched from its source.
        accuracy: The figures that were measured; docs/results has the commands.
    """

    name: str
    weights: str
    task: str
    dataset: str
    imgsz: str
    activation: str
    licence: str
    source: str
    files: dict[str, str]
    accuracy: tuple[Accuracy, ...]


@dataclass(frozen=True)
class Index:
    """The content of the index: networks, and what the columns of their table mean."""

    networks: tuple[IndexedNetwork, ...]
    notes: tuple[str, ...]


@cache
def index() -> Index:
    """Read the index. Raises UserError if it is missing."""
    return read_json_file(shipped("weights") / "index.json", Index)


def located(weights: str | Path) -> Path:
    """The file that --weights means: a path, or else the name of a network of the index.

    Raises:
        UserError: The network does not come with the package, or its file is not there.
    """
    path = Path(weights)
    network = find(str(weights))
    if os.path.isfile(path) or (network is None and (path.suffix or os.path.exists(path))):
        return path
    if network is None:
        hint = did_you_mean(str(weights), [n.name for n in index().networks])
        raise UserError(
            f"{weights} is no file, and no network of `spiking-yolo list networks`{hint}"
        )
    shipped_file = shipped("weights") / network.weights
    if not shipped_file.is_file():
        missing = f"{network.name} does not come with this installation ({network.licence})"
        fetch = f"fetch {network.weights} from {network.source}, and give its path"
        raise UserError(f"{missing}: {fetch}")
    return shipped_file


def find(name: str) -> IndexedNetwork | None:
    """The network of this name, or of this file's name; with suffix if the file is not shipped."""
    for network in index().networks:
        names = [network.name, Path(network.weights).stem.lower()]
        if not network.files:
            names.append(network.weights)
        if name.lower() in names:
            return network
    return None


def licence(file: str) -> str:
    """Licence of the weights in a file of this name, or that it is unknown here."""
    for network in index().networks:
        if network.weights == file:
            return network.licence
    return "that of the file with the weights"
