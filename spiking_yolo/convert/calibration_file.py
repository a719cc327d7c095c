"""The file of a network's activation statistics and calibrations, at one input size.

NAME.SIZE.calibrations.safetensors lies beside the weights. Its tensors are named "statistics/..."
and "METHOD/CALIBRATION/...", and its metadata have an entry for each of these with a checksum, so
that only what is needed is read.
"""

import hashlib
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Self

from filelock import FileLock
from torch import Tensor

from spiking_yolo.convert.learn.statistics import ImageList, Statistics
from spiking_yolo.convert.methods import DEFAULT, METHODS
from spiking_yolo.errors import UserError, notice
from spiking_yolo.graph import Graph, Ints
from spiking_yolo.io.files import cache_folder, command, derived_file, is_shipped
from spiking_yolo.io.tensors import check_finite, checksum, open_safetensors, write_safetensors
from spiking_yolo.io.text import Size, entry, json_text, label, size_name
from spiking_yolo.models.load import Ann
from spiking_yolo.recipe import Recipe
from spiking_yolo.spikes.layout import NeuronParameters

THRESHOLD_KEYS = ("theta", "theta_off")
FORMAT = "spiking_yolo-calibrations-1"
STATISTICS = "statistics"
# Keys of the metadata beside an entry for the statistics and one for each calibration.
COMMON = {"format", "weights_sha256", "imgsz", "checksum"}

# The calibrations of the default method, the best first: the order in which one is looked for where
# none is named.
BEST = ("tuned", "default", "fine", "untrained")

Entry = dict[str, Any]


def check_neurons(graph: Graph, neurons: NeuronParameters, sizes: Mapping[str, Ints]) -> None:
    """Raise UserError, naming the node, unless its neurons have all parameters, which fit.

    sizes: Shape of every node's output, [N, C, ...].
    """
    for node in graph.activations:
        if not neurons.get(node.name, {}).keys() >= {"theta", "initial"}:
            raise UserError(f"node {node.name!r} has no threshold")
    for name, parameters in neurons.items():
        check_finite(parameters, f"node {label(name)!r}")
        if any((parameters[key] <= 0).any() for key in THRESHOLD_KEYS if key in parameters):
            raise UserError(f"node {label(name)!r}: theta must be above 0")
        fitting = [(), (1,), (sizes[name][1],)] if name in sizes else []
        if any(tuple(value.shape) not in fitting for value in parameters.values()):
            raise UserError(f"the parameters of node {label(name)!r} are not for its channels")


def pack(neurons: NeuronParameters) -> dict[str, Tensor]:
    """{node: {name: tensor}} to {"node/name": tensor}."""
    tensors = {}
    for node, parameters in neurons.items():
        for name, value in parameters.items():
            tensors[f"{node}/{name}"] = value
    return tensors


def unpack(tensors: Mapping[str, Tensor]) -> NeuronParameters:
    """The inverse of `pack`."""
    neurons: dict[str, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        node, _, name = key.rpartition("/")
        neurons.setdefault(node, {})[name] = value
    return neurons


def start_of(method: str) -> Recipe:
    """The recipe of a method that is known by its name, else a plain one."""
    return METHODS[method].recipe if method in METHODS else Recipe(method)


def own_settings(recipe: Recipe) -> dict[str, Any]:
    """The settings of a recipe that are not its method's, by key."""
    settings = recipe.changes(start_of(recipe.name))
    settings.pop("calibration.name", None)
    return settings


@dataclass(frozen=True)
class CalibrationResult:
    """The parameters that a recipe has learned, and the images they were learned from.

    Attributes:
        recipe: The recipe, whose name and calibration are the key in a file.
        neurons: The parameters of every layer of neurons.
        images: The calibration images.
        done: Share of its training that is done.
    """

    recipe: Recipe
    neurons: NeuronParameters
    images: ImageList
    done: float = 1.0

    def fits(self, recipe: Recipe) -> bool:
        """Whether the recipe learns the same.

        Gradients learn what holds for every setting of the neurons. For how many steps they did is
        a fact about a calibration, and not a choice of those who use it.
        """
        own, wanted = own_settings(self.recipe), own_settings(recipe)
        if recipe.by_gradient:
            for settings in (own, wanted):
                for key in list(settings):
                    decisive = key.startswith(("calibration.", "threshold.rule"))
                    if not decisive or key == "calibration.steps":
                        del settings[key]
        return own == wanted

    def contents(self) -> tuple[dict[str, Tensor], Entry]:
        """Tensors and entry in the file."""
        content: Entry = {"settings": own_settings(self.recipe), "images": asdict(self.images)}
        if self.done < 1:
            content["done"] = self.done
        return pack(self.neurons), content


@dataclass(frozen=True)
class CalibrationFile:
    """Statistics and calibrations of a network at one input size; they are read when asked for.

    Attributes:
        path: The file.
        weights_sha256: SHA-256 of the network's weights.
        imgsz: Size of its input.
        entries: Key, which is "statistics" or METHOD/CALIBRATION -> its entry as JSON.
    """

    path: Path
    weights_sha256: str
    imgsz: Size
    entries: Mapping[str, str]

    @classmethod
    def read(cls, path: str | Path) -> Self:
        """Read what the file has, but none of it. Raises UserError for another file."""
        with open_safetensors(path) as file:
            metadata = dict(file.metadata() or {})
        if metadata.get("format") != FORMAT:
            make = f"make one with `{command('calibrate')}`"
            raise UserError(f"{path} has no activation statistics and calibrations: {make}")
        try:
            height, width = entry(metadata, "imgsz", list[int])
            digest = metadata["weights_sha256"]
        except (LookupError, ValueError) as error:
            raise damaged(path, error) from error
        # The library gives them in varying order.
        keys = sorted(metadata.keys() - COMMON, key=lambda key: (not key.endswith("/default"), key))
        return cls(Path(path), digest, (height, width), {key: metadata[key] for key in keys})

    def check(self, ann: Ann) -> None:
        """Raise UserError unless it is of this network at its size."""
        mend = f"run {ann.calibrate_command}"
        if self.weights_sha256 != ann.sha256:
            raise UserError(f"{self.path} is of other weights than {ann.weights}: {mend}")
        if self.imgsz != tuple(ann.imgsz):
            sizes = f"{size_name(self.imgsz)} pixels, not {size_name(ann.imgsz)}"
            raise UserError(f"{self.path} is of {sizes}: {mend}")

    def names(self, method: str) -> list[str]:
        """Names of a method's calibrations."""
        return [key.partition("/")[2] for key in self.entries if key.startswith(f"{method}/")]

    def statistics(self) -> Statistics:
        """The activation statistics. Raises UserError if they are damaged."""
        tensors, content = self.part(STATISTICS)
        try:
            return Statistics.of_contents(tensors, content, self.weights_sha256, self.imgsz)
        except (LookupError, OSError, RuntimeError, TypeError, ValueError) as error:
            raise damaged(self.path, error) from error

    def calibration(self, method: str, name: str) -> CalibrationResult:
        """A calibration that `names` has. Raises UserError if it is damaged, or has weights."""
        tensors, content = self.part(f"{method}/{name}")
        try:
            settings = {**content["settings"], "calibration.name": name}
            recipe, done = start_of(method).with_settings(settings), content.get("done", 1.0)
            images = ImageList(**content["images"])
            result = CalibrationResult(recipe, unpack(tensors), images, done)
        except (AttributeError, LookupError, TypeError, ValueError) as error:
            raise damaged(self.path, error) from error
        return result

    def part(self, key: str) -> tuple[dict[str, Tensor], Entry]:
        """The tensors of an entry, without its key in their names, and the entry."""
        tensors = self._tensors(f"{key}/")
        try:
            content = entry(self.entries, key, dict[str, Any])
            content.pop("checksum", None)
        except ValueError as error:
            raise damaged(self.path, error) from error
        if self.entries[key] != entry_text(key, content, tensors):
            raise damaged(self.path, f"{key} is not as it was written")
        return tensors, content

    def _tensors(self, prefix: str) -> dict[str, Tensor]:
        with open_safetensors(self.path) as file:
            chosen = [key for key in file.keys() if key.startswith(prefix)]  # noqa: SIM118
            return {key.removeprefix(prefix): file.get_tensor(key) for key in chosen}


def damaged(path: str | Path, reason: object) -> UserError:
    """Return the error of a file of calibrations that is damaged."""
    again = f"make it again with `{command('calibrate')}`"
    return UserError(f"{path} is damaged or of another version ({reason}): {again}")


def entry_text(key: str, content: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> str:
    """An entry with its checksum, as JSON."""
    digest = checksum({key: json_text(dict(content))}, tensors)
    return json_text({**content, "checksum": digest})


def save_calibrations(
    path: Path,
    weights_sha256: str,
    imgsz: Size,
    calibrations: Sequence[CalibrationResult] = (),
    statistics: Statistics | None = None,
) -> None:
    """Add calibrations to a file, or replace those of the same names; the others stay.

    The file is written whole or not at all. One of other weights or of another size is replaced,
    as is one that cannot be read.
    """
    digest = hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:16]
    lock = Path(tempfile.gettempdir()) / f"spiking-yolo-{digest}.lock"
    with FileLock(lock):
        entries: dict[str, str] = {}
        tensors: dict[str, Tensor] = {}
        with suppress(UserError):
            old = CalibrationFile.read(path)
            if (old.weights_sha256, old.imgsz) == (weights_sha256, tuple(imgsz)):
                tensors, entries = old._tensors(""), dict(old.entries)
        parts: dict[str, tuple[dict[str, Tensor], Entry]] = {}
        for one in calibrations:
            parts[f"{one.recipe.name}/{one.recipe.calibration.name}"] = one.contents()
        if statistics is not None:
            parts[STATISTICS] = statistics.contents()
        for key, (own, content) in parts.items():
            prefix = f"{key}/"
            tensors = {k: value for k, value in tensors.items() if not k.startswith(prefix)}
            tensors |= {prefix + name: value for name, value in own.items()}
            entries[key] = entry_text(key, content, own)
        common = {"format": FORMAT, "weights_sha256": weights_sha256, "imgsz": json_text(imgsz)}
        write_safetensors(path, tensors, {**common, **entries})
        # A process that waits for the lock sees that it is gone, and makes another.
        with suppress(OSError):
            lock.unlink()


def calibrations_path(weights: Path, imgsz: Size) -> Path:
    """The file of a network's statistics and calibrations, beside its weights."""
    return derived_file(weights, f"{weights.stem}.{size_name(imgsz)}.calibrations.safetensors")


def user_path(ann: Ann) -> Path:
    """The user's own file of a network that ships with the package."""
    name = calibrations_path(ann.weights, ann.imgsz).name
    return cache_folder() / "calibrations" / ann.sha256[:16] / name


def destination(ann: Ann, output: Path | None = None) -> Path:
    """The path that `calibrate` writes to.

    output: A folder, or the .safetensors file; by default beside the weights, for a network of the
    package in the user's cache.
    """
    path = calibrations_path(ann.weights, ann.imgsz)
    if output is not None:
        if output.suffix == ".safetensors" and not output.is_dir():
            return output
        return output / path.name
    if is_shipped(ann.weights):
        return user_path(ann)
    return path


def calibration_files(ann: Ann, chosen: Path | None = None) -> list[CalibrationFile]:
    """The files in which something is looked for, in this order: the user's, and that beside the
    weights. One that is damaged, of other weights or of another size is passed over; a Notice names
    it. Where a size that is no square has none, those of the square count: its longer side is what
    objects are scaled to.

    chosen: The only one, which must exist and fit, else UserError.
    """
    paths = [calibrations_path(ann.weights, ann.imgsz)]
    if is_shipped(ann.weights):
        paths.insert(0, user_path(ann))
    if chosen is not None:
        paths = [chosen]
    files: list[CalibrationFile] = []
    for path in paths:
        if chosen is None and not path.is_file():
            continue
        try:
            file = CalibrationFile.read(path)
            file.check(ann)
        except UserError as error:
            if chosen is not None:
                raise
            notice(f"passed over: {error}")
            continue
        files.append(file)
        if path == user_path(ann):
            notice(f"using your calibration in {path}, remove it to return to the shipped one")
    side = max(ann.imgsz)
    if not files and chosen is None and min(ann.imgsz) < side:
        square = replace(ann.spec, height=side, width=side)
        return calibration_files(replace(ann, spec=square))
    return files


def best_calibration(files: Sequence[CalibrationFile], video: bool) -> CalibrationResult | None:
    """The best that the user has made for the default method, if there is any.

    video: Whether it is for a video.
    """
    order = ("video", *BEST) if video else BEST
    for file in files:
        names = file.names(DEFAULT)
        for name in order:
            if name in names and not is_shipped(file.path):
                return file.calibration(DEFAULT, name)
    return None


def find_statistics(files: Sequence[CalibrationFile]) -> Statistics | None:
    """The network's statistics, from the first file that has them; None if there are none."""
    for file in files:
        if STATISTICS in file.entries:
            return file.statistics()
    return None


def find_calibration(files: Sequence[CalibrationFile], recipe: Recipe) -> CalibrationResult | None:
    """The calibration that a recipe names, from the first file that has it; None if none has."""
    name = recipe.calibration.name
    for file in files:
        if name in file.names(recipe.name):
            return file.calibration(recipe.name, name)
    return None


def calibrate_command(ann: Ann, recipe: Recipe) -> str:
    """The command line that calibrates this network by a recipe."""
    words = [ann.calibrate_command]
    if recipe.name != DEFAULT and (recipe.name in METHODS or recipe.runs_network):
        words.append(f"--method {recipe.name}")
    if recipe.calibration.name != "default":
        words.append(f"--calibration {recipe.calibration.name}")
    return " ".join(words)
