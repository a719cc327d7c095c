"""List methods, networks, the calibrations of a network, or the settings of a method."""

from dataclasses import dataclass
from pathlib import Path

from spiking_yolo.arguments import Options
from spiking_yolo.convert.methods import DEFAULT, get_recipe, list_methods
from spiking_yolo.errors import UserError
from spiking_yolo.io.files import command
from spiking_yolo.io.text import columns, did_you_mean
from spiking_yolo.models.index import find, index
from spiking_yolo.recipe import settings_table

NOTE = (
    "T: timesteps with which Tiny-YOLOv3 keeps 85 % of the ANN's mAP50 on 206 COCO photographs"
    " (above 64: on fewer photographs)"
)


@dataclass(frozen=True)
class ListOptions(Options):
    """The list to print."""

    what: str | None = None
    """methods or networks; a method, whose settings are listed; or a network or a
    file of weights, whose calibrations are.
    """


def main(options: ListOptions = ListOptions()) -> None:
    """List methods, networks, the calibrations of a network, or the settings of a method.

    ```
    spiking-yolo list  # methods and networks
    spiking-yolo list networks  # with their accuracy as ANN and as spiking network
    spiking-yolo list yolov3-tiny  # its calibrations, for --calibration
    spiking-yolo list msat  # its settings, for --set; * marks what differs from the default
    ```

    A name of a network can be given as --weights wherever a file can. A clone of the
    repository holds all of them, an installation two.
    """
    what = options.what
    if what is None:
        print(f"{methods_text()}\n\n{networks_text()}")
    elif what == "methods":
        print(methods_text())
    elif what == "networks":
        print(networks_text())
    elif find(what) or Path(what).is_file():
        print(calibrations_text(what))
    elif what in list_methods():
        recipe = get_recipe(what)
        rows = [("  setting", recipe.name, "")]
        for key, default, doc in settings_table():
            slot, _, name = key.partition(".")
            value = getattr(getattr(recipe, slot), name)
            mark = " " if value == default else "*"
            rows.append((f"{mark} {key}", str(value), f"{doc} (default {default})"))
        print(f"{columns(rows, words=True)}\n* differs from the default")
    else:
        hint = did_you_mean(what, [*list_methods(), *(one.name for one in index().networks)])
        raise UserError(f"{what} is no method, network or file{hint}; see `{command('list')}`")


def methods_text() -> str:
    """A table of the conversion methods."""
    rows = [("method", "year", "T", "calibration", "limits")]
    for name, method in list_methods().items():
        kind = method.recipe.calibration.kind
        rows.append((name, str(method.year), method.needs, kind, method.limits))
    return f"{columns(rows, words=True)}\nThe default is {DEFAULT}. {NOTE}"


def networks_text() -> str:
    """A table of the networks, a row for each calibration that was measured."""
    figures = ("input", "calibration", "ANN", "SNN", "difference", "SynOps/MAC", "measured on")
    rows: list[tuple[str, ...]] = [("name", *figures, "activation", "licence", "source")]
    for network in index().networks:
        for one in network.accuracy:
            low, high = one.interval
            scores = (f"{one.ann:.1f}", f"{one.snn:.1f}", f"[{low:.1f}, {high:.1f}]")
            measured = (one.imgsz, one.calibration, *scores, f"{one.operations:.3g}", one.data)
            origin = (network.activation, network.licence, network.source)
            rows.append((network.name, *measured, *origin))
    return "\n".join([columns(rows, words=True), *index().notes])


def calibrations_text(weights: str) -> str:
    """The calibrations of a network, by the method and the name that --calibration takes."""
    from spiking_yolo.convert.calibration_file import calibration_files
    from spiking_yolo.models.load import load_ann

    ann = load_ann(weights)
    rows = [("method", "calibration", "images", "settings")]
    files = calibration_files(ann)
    for file in files:
        for key in file.entries:
            method, _, calibration = key.partition("/")
            _, entry = file.part(key)
            settings = [f"{name}={value}" for name, value in entry.get("settings", {}).items()]
            rows.append((method, calibration, str(entry["images"]["count"]), " ".join(settings)))
    if not files:
        raise UserError(f"{ann.weights} has no calibration: make one with {ann.calibrate_command}")
    return "\n".join([columns(rows, words=True), *(str(file.path) for file in files)])
