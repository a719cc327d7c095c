"""The networks that are known to work, by name (zoo.json). Imports nothing heavy."""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path
from typing import Any
from urllib.parse import quote

from spiking_yolo import __version__
from spiking_yolo.errors import UserError
from spiking_yolo.io.assets import command, fetched_weights, shipped, shipped_calibrations
from spiking_yolo.io.fetch import fetch
from spiking_yolo.io.files import sha256
from spiking_yolo.io.names import did_you_mean


@dataclass(frozen=True)
class ZooNetwork:
    """A network that is known to work.

    Attributes:
        name: What --weights takes.
        file: In the weights folder, or as its source calls it.
        task: The dataset that it was trained on.
        imgsz: Input size as published.
        activation: Of its layers.
        licence: Of the weights.
        source: Where to get the file.
        shipped: Whether the file comes with this repository.
        sha256: Of its own files, by name: weights last, and what is needed to read them.
    """

    name: str
    file: str
    task: str
    imgsz: str
    activation: str
    licence: str
    source: str
    shipped: bool = True
    sha256: Mapping[str, str] = field(default_factory=dict[str, str])

    @property
    def files(self) -> dict[str, str]:
        """SHA-256 by name of all files: what was learned for it, then its own, the weights last."""
        return {**shipped_calibrations().get(self.file, {}), **self.sha256}


_CONTENT = json.loads(Path(__file__).with_suffix(".json").read_text())
ZOO: tuple[ZooNetwork, ...] = tuple(ZooNetwork(**entry) for entry in _CONTENT["networks"])
_HEADER: tuple[str, ...] = (
    *("name", "input", "ANN", "T=1", "minus ANN", "digits", "T=8", "digits"),
    *("measured on", "--set", "activations", "file", "licence", "source"),
)

_TUNED_HEADER: tuple[str, ...] = (
    "name",
    "ANN",
    "T=1",
    "minus ANN",
    "digits",
    "measured on",
    "--set",
)


def located(weights: str | Path) -> Path:
    """The file that --weights means: a path, or else the name of a network of the zoo.

    Raises:
        UserError: The network is not shipped, or neither installed nor fetched.
    """
    path = Path(weights)
    if os.path.isfile(path):
        return path
    network = _named(str(weights).lower())
    if network is None:
        is_name = not path.suffix and not os.path.exists(path)
        hint = did_you_mean(str(weights), [n.name for n in ZOO]) if is_name else ""
        if hint:
            raise UserError(f"there are no weights {weights}{hint}")
        return path
    if not network.shipped:
        raise UserError(
            f"{network.name} is not shipped ({network.licence}): fetch {network.file} from"
            f" {network.source} and give its path, --weights {network.file}"
        )
    file = _present(network)
    if file is None:
        raise UserError(
            f"{network.file} comes with a checkout and not with an installation:"
            f" `{command('zoo')} --get {network.name}` fetches it"
        )
    return file


def _present(network: ZooNetwork) -> Path | None:
    """The file of a network that is shipped or was fetched."""
    for folder in (shipped("weights"), fetched_weights()):
        if (folder / network.file).is_file():
            return folder / network.file
    return None


def get(
    name: str,
    release: str | None = None,
    progress: Callable[[str, int, int, str], object] = lambda *_: None,
) -> Path:
    """Fetch the files of a network that are not there yet.

    Args:
        name: Of the network.
        release: Address or folder that holds them; by default the project's repository at this
            version.
        progress: Called with ("files", done, of how many, name) before each file.

    Returns:
        The weights. They are complete once they are there, since they are fetched last.

    Raises:
        UserError: There is no such network, it is not shipped, or a file cannot be fetched or is
            not the one that was released.
    """
    network = _named(name.lower())
    if network is None:
        hint = did_you_mean(name.lower(), [n.name for n in ZOO])
        raise UserError(f"no network {name}{hint}; `{command('zoo')}` lists them")
    if not network.shipped:
        return located(network.name)
    if (file := shipped("weights") / network.file).is_file():
        return file
    file = fetched_weights() / network.file
    missing = {
        name: digest
        for name, digest in network.files.items()
        if not (file.parent / name).is_file() or sha256(file.parent / name) != digest
    }
    base = _base(release or release_address()) if missing else ""
    for done, (name, digest) in enumerate(missing.items()):
        progress("files", done, len(missing), name)
        fetch(f"{base}/{quote(name)}", file.parent / name, digest)
    progress("files", len(missing), len(missing), "")
    return file


def _base(release: str) -> str:
    """The address of a folder."""
    if os.path.isdir(release):
        return Path(release).resolve().as_uri()
    return release.rstrip("/")


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
            tree = "main" if "dev" in __version__ else f"v{__version__}"
            return f"{address}/raw/{tree}/weights"
    raise UserError("where to fetch from is not known in a checkout: give --release ADDRESS")


def _named(name: str) -> ZooNetwork | None:
    """The network of this name, or of this file's name; with suffix if the file is not shipped."""
    for network in ZOO:
        names = [network.name, Path(network.file).stem.lower()]
        if not network.shipped:
            names.append(network.file)
        if name in names:
            return network
    return None


def licence(file: str) -> str:
    """Of the weights in a file of this name; of unknown ones, that it is unknown here."""
    for network in ZOO:
        if network.file == file:
            return network.licence
    return "that of the file with the weights"


def measurements() -> list[dict[str, Any]]:
    """What the networks achieve, in percent.

    Each row has the network's `name`, what it was measured `on`, and `set` and `imgsz` if they are
    not the defaults. `ann` and `snn` are of the ANN and of the default method at T = 1, which sends
    `digits`; `interval` is of their difference. `refined` and `refined_digits` are at T = 8 with
    spikes that become finer. The commands are in docs/results/zoo.md.
    """
    return _CONTENT["measured"]


def tuned_measurements() -> list[dict[str, Any]]:
    """What networks achieve that were tuned without labels, as `measurements` has it.

    `ann_map` and `snn_map` are AP50-95 where that was measured. docs/results/tuned.md has the
    commands.
    """
    return _CONTENT["tuned"]


def zoo_text() -> str:
    """The tables of `spiking-yolo zoo`."""
    rows = [_HEADER]
    for network in ZOO:
        file = network.file if network.shipped else f"{network.file} (not shipped)"
        for row in measurements():
            if row["name"] != network.name:
                continue
            low, high = row["interval"]
            rows.append(
                (
                    network.name,
                    row.get("imgsz", network.imgsz),
                    f"{row['ann']:.1f}",
                    f"{row['snn']:.1f}",
                    f"[{low:.1f}, {high:.1f}]",
                    f"{row['digits']:.2f}",
                    f"{row['refined']:.1f}",
                    f"{row['refined_digits']:.2f}",
                    row["on"],
                    row.get("set", "-"),
                    network.activation,
                    file,
                    network.licence,
                    network.source,
                )
            )
    tuned = [_TUNED_HEADER]
    for row in tuned_measurements():
        low, high = row["interval"]
        tuned.append(
            (
                row["name"],
                f"{row['ann']:.1f}",
                f"{row['snn']:.1f}",
                f"[{low:.1f}, {high:.1f}]",
                f"{row['digits']:.3g}",
                row["on"],
                row.get("set", "-"),
            )
        )
    title = "tuned without labels: --method signed-digits-tuned"
    return "\n".join([*_aligned(rows), "", title, *_aligned(tuned), "", *_CONTENT["notes"]])


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """A line per row, in columns."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines: list[str] = []
    for cells in rows:
        padded = [cell.ljust(width) for cell, width in zip(cells, widths, strict=True)]
        lines.append("  ".join(padded).rstrip())
    return lines
