"""The networks that are known to work, by name: weights/index.json. Imports nothing heavy."""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path
from typing import Any
from urllib.parse import quote

from spiking_yolo import __version__
from spiking_yolo.errors import UserError
from spiking_yolo.io.assets import command, fetched_weights, shipped
from spiking_yolo.io.files import read_text, sha256
from spiking_yolo.io.names import did_you_mean


@dataclass(frozen=True)
class IndexedFile:
    """A file of a network: its name, size and SHA-256."""

    file: str
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Accuracy:
    """What a network achieves with a calibration of signed-digits, at T = 1, in percent.

    Attributes:
        calibration: Its name.
        imgsz: Input size.
        data: What it was measured on.
        ann: AP50 or top-1 of the ANN.
        snn: The same of the spiking network.
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
        about: What it is.
        task: "detect" or "classify".
        dataset: That it was trained on.
        imgsz: Input size as published.
        activation: Activation of its layers.
        licence: Licence of the weights.
        source: Where to get the file.
        files: All that comes with this repository, the weights last; nothing of a network that has
            to be fetched from its source.
        accuracy: As measured; docs/results has the commands.
    """

    name: str
    weights: str
    about: str
    task: str
    dataset: str
    imgsz: str
    activation: str
    licence: str
    source: str
    files: tuple[IndexedFile, ...]
    accuracy: tuple[Accuracy, ...]


@cache
def networks() -> tuple[IndexedNetwork, ...]:
    """All networks of the index. Raises UserError if it is missing."""
    result: list[IndexedNetwork] = []
    for row in _content()["networks"]:
        files = tuple(IndexedFile(**file) for file in row["files"])
        accuracy = tuple(Accuracy(**one) for one in row["accuracy"])
        result.append(IndexedNetwork(**{**row, "files": files, "accuracy": accuracy}))
    return tuple(result)


def notes() -> Sequence[str]:
    """What the columns of the table of networks mean."""
    return _content()["notes"]


@cache
def _content() -> dict[str, Any]:
    return json.loads(read_text(shipped("weights") / "index.json"))


def located(weights: str | Path) -> Path:
    """The file that --weights means: a path, or else the name of a network of the index.

    Raises:
        UserError: The network does not come with the package, or its file is not there.
    """
    path = Path(weights)
    if os.path.isfile(path):
        return path
    network = find(str(weights))
    if network is None:
        hint = did_you_mean(str(weights), [n.name for n in networks()])
        if hint and not path.suffix and not os.path.exists(path):
            raise UserError(f"there are no weights {weights}{hint}")
        return path
    if not network.files:
        raise UserError(
            f"{network.name} does not come with the package ({network.licence}): fetch"
            f" {network.weights} from {network.source}, and give it as --weights {network.weights}"
        )
    for folder in (shipped("weights"), fetched_weights()):
        if (folder / network.weights).is_file():
            return folder / network.weights
    raise UserError(
        f"{network.weights} comes with a checkout and not with an installation:"
        f" `{command('list')} --get {network.name}` fetches it"
    )


def find(name: str) -> IndexedNetwork | None:
    """The network of this name, or of this file's name; with suffix if the file is not shipped."""
    for network in networks():
        names = [network.name, Path(network.weights).stem.lower()]
        if not network.files:
            names.append(network.weights)
        if name.lower() in names:
            return network
    return None


def licence(file: str) -> str:
    """Licence of the weights in a file of this name, or that it is unknown here."""
    for network in networks():
        if network.weights == file:
            return network.licence
    return "that of the file with the weights"


def fetch(name: str, release: str | None = None) -> Path:
    """Fetch the files of a network that are not there yet.

    Args:
        name: Name of the network.
        release: Address or folder that holds them; by default the project's repository at this
            version.

    Returns:
        The weights. They are complete once they are there, since they are fetched last.

    Raises:
        UserError: There is no such network, it does not come with the project, or a file cannot be
            fetched or is not the one that was released.
    """
    network = find(name)
    if network is None:
        hint = did_you_mean(name.lower(), [n.name for n in networks()])
        raise UserError(f"no network {name}{hint}; `{command('list')} networks` lists them")
    if not network.files or (shipped("weights") / network.weights).is_file():
        return located(network.name)
    from torch.hub import download_url_to_file

    folder = fetched_weights()
    folder.mkdir(parents=True, exist_ok=True)
    base = release or release_address()
    if os.path.isdir(base):
        base = Path(base).resolve().as_uri()
    for file in network.files:
        path = folder / file.file
        if path.is_file() and sha256(path) == file.sha256:
            continue
        address = f"{base.rstrip('/')}/{quote(file.file)}"
        try:
            download_url_to_file(address, str(path), file.sha256)
        except (OSError, RuntimeError, ValueError) as error:
            raise UserError(f"cannot fetch {address} ({error}): try again, or --release") from error
    return folder / network.weights


def release_address() -> str:
    """Where the networks of this version lie: in the repository that the package's metadata names.

    Raises:
        UserError: The package is not installed.
    """
    try:
        addresses = metadata("spiking_yolo").get_all("Project-URL") or []
    except PackageNotFoundError:
        addresses = []
    for entry in addresses:
        label, _, address = entry.partition(", ")
        if label == "Repository":
            tree = f"v{__version__}"
            if "dev" in __version__:
                tree = "main"
            return f"{address}/raw/{tree}/weights"
    raise UserError("where to fetch from is not known in a checkout: give --release ADDRESS")
