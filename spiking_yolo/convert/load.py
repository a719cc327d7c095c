"""A converted network as one frozen value, and the way there from a weights file: the ANN, its
statistics, a recipe, neurons.

A network without a calibration takes its thresholds from the pictures that it is about to see.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from spiking_yolo.convert import calibration_file, thresholds
from spiking_yolo.convert.calibrate import CalibrationJob, calibrate
from spiking_yolo.convert.calibration_file import calibrate_command, calibration_files
from spiking_yolo.convert.learn.statistics import ImageList, Statistics, collect_histograms
from spiking_yolo.convert.methods import DEFAULT, METHODS, get_recipe
from spiking_yolo.data.images import Picture, preprocessed, read_image
from spiking_yolo.errors import UserError, notice
from spiking_yolo.graph import Graph, Node, own_dtypes, shapes
from spiking_yolo.integer.network import IntegerNetwork
from spiking_yolo.io.files import command
from spiking_yolo.io.tensors import checksum, read_safetensors, write_safetensors
from spiking_yolo.io.text import entry, json_text, size_name
from spiking_yolo.models.index import located
from spiking_yolo.models.load import Ann, file_kind, load_ann
from spiking_yolo.models.spec import Spec, check_network
from spiking_yolo.rate.network import SpikingNetwork
from spiking_yolo.recipe import UNTRAINED_OPERATIONS, Recipe
from spiking_yolo.spikes.layout import NeuronParameters
from spiking_yolo.spikes.readout import Network

# The number is raised where old files no longer serve; since 2, thetas suffice for 8-bit events.
FORMAT = "spiking_yolo-network-2"


@dataclass(frozen=True)
class Converted:
    """A converted network: everything a simulation needs, and its origin.

    Attributes:
        graph: The ANN, which results are compared with.
        spec: Its interface.
        recipe: The method.
        neurons: Node -> {"theta": [C], "theta_off": [C] of an ON/OFF pair, "initial": scalar, in
            thresholds, ...}; see NeuronLayer.
        provenance: weights_sha256 and whatever else identifies the source.
    """

    graph: Graph
    spec: Spec
    recipe: Recipe
    neurons: NeuronParameters
    provenance: Mapping[str, str]

    def network(self, device: torch.device | str = "cpu") -> Network:
        """Build the engine: whole numbers where layers send complete values, else the simulator.

        device: Where it runs.
        """
        if not self.recipe.complete:
            return self.simulator(device)
        return IntegerNetwork(self.graph, self.neurons, self.recipe, self.spec, device)

    def simulator(
        self, device: torch.device | str = "cpu", observed: bool = False
    ) -> SpikingNetwork:
        """The simulator of T steps, for methods whose values are not complete in the first."""
        graph = self.graph.to(device)
        return SpikingNetwork(graph, self.neurons, self.recipe, observed, self.spec.normalised)

    def tensors(self) -> dict[str, Tensor]:
        """All its numbers, as files name them."""
        tensors = {f"graph/{k}": v for k, v in self.graph.tensors.items()}
        return tensors | {f"site/{k}": v for k, v in calibration_file.pack(self.neurons).items()}

    def sha256(self) -> str:
        """SHA-256 of all its numbers."""
        return checksum({}, self.tensors())

    def save(self, path: str | Path) -> None:
        """Write one safetensors file, whole or not at all."""
        metadata = {
            "format": FORMAT,
            "nodes": json_text(list(map(asdict, self.graph.nodes))),
            "outputs": json_text(self.graph.outputs),
            "spec": self.spec.to_json(),
            "recipe": self.recipe.to_json(),
            "provenance": json_text(dict(self.provenance)),
        }
        write_safetensors(path, self.tensors(), metadata)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a file written by `save`. Executes no code. Raises UserError for anything else."""
        metadata, tensors = read_safetensors(path)
        if metadata.get("format") != FORMAT:
            make = f"make one with `{command('export')}`"
            raise UserError(f"{path} is not a converted network: {make}")
        folders: dict[str, dict[str, Tensor]] = {"graph": {}, "site": {}}
        for key, value in tensors.items():
            folder, _, name = key.partition("/")
            folders.setdefault(folder, {})[name] = value
        neurons = calibration_file.unpack(folders["site"])
        try:
            nodes = tuple(entry(metadata, "nodes", list[Node]))
            graph = Graph(nodes, tuple(entry(metadata, "outputs", list[str])), folders["graph"])
            spec = Spec.from_json(metadata["spec"])
            recipe = Recipe.from_json(metadata["recipe"])
            calibration_file.check_neurons(graph, neurons, check_network(graph, spec))
            return cls(graph, spec, recipe, neurons, entry(metadata, "provenance", dict[str, str]))
        except (AttributeError, LookupError, TypeError, ValueError) as error:
            raise UserError(f"{path} is damaged, or old ({error}): convert it again") from error


def convert(
    graph: Graph,
    spec: Spec,
    statistics: Statistics | None,
    recipe: Recipe,
    provenance: Mapping[str, str] | None = None,
    neurons: NeuronParameters | None = None,
) -> Converted:
    """Convert an ANN: put spiking neurons in place of every activation node of `graph`.

    Args:
        statistics: None where neurons are given, and the provenance has `weights_sha256`.
        neurons: What `calibrate` returned, for recipes that run the network; other recipes need
            the statistics only.

    Raises:
        UserError: Statistics, recipe and network do not fit together.
    """
    origin: dict[str, str] = {}
    if statistics is not None:
        if statistics.histograms.keys() != {node.name for node in graph.activations}:
            raise UserError(f"the statistics are of another network: run `{command('calibrate')}`")
        origin["weights_sha256"] = statistics.weights_sha256
        origin["calibration_images"] = str(statistics.images.count)
    thresholds.check_activations(graph, recipe)
    if neurons is None:
        assert statistics is not None
        neurons = thresholds.base_parameters(graph, statistics.histograms, recipe)
    elif recipe.by_gradient:
        neurons = thresholds.scaled(graph, neurons, recipe.threshold.scale)
    return Converted(graph, spec, recipe, neurons, {**origin, **(provenance or {})})


# Thresholds that are not trained are taken from so many photographs.
FEW = 8


def converts_at_once(recipe: Recipe) -> bool:
    """Whether no calibration file is needed: other methods run the network for minutes.

    A calibration that was asked for by its name is needed.
    """
    if recipe.calibration.name != "default" or recipe.calibration.kind == "tuned":
        return False
    return recipe.threshold.rule == "sensitivity" or not recipe.runs_network


@dataclass
class Uncalibrated:
    """A network that has no thresholds yet.

    Attributes:
        ann: The network, with `graph` and `spec`.
        recipe: A method that `converts_at_once`.
        provenance: The name of its file, as in Converted.
    """

    ann: Ann
    recipe: Recipe

    def __post_init__(self) -> None:
        self.graph, self.spec = self.ann.graph, self.ann.spec
        self.provenance = {"weights": self.ann.weights.name}

    # The search for thresholds needs gradients.
    @own_dtypes()
    @torch.inference_mode(False)
    def convert(self, photographs: Iterable[Picture]) -> Converted:
        """The network with statistics of the first FEW readable photographs; a Notice says so.

        Neurons are not trained, whatever the recipe says, but spend more operations.

        Raises:
            UserError: There are no photographs, or none can be read.
        """
        ann, recipe = self.ann, self.recipe
        pictures = _read(photographs)
        if not pictures:
            raise UserError(no_statistics(ann, recipe))
        untrained = video = ""
        if recipe.by_gradient:
            untrained = ", untrained"
            video = "; for video add --quick --video (loses weak boxes)"
        notice(
            f"{ann.weights.name} has no calibration{_others(ann, recipe)}: thresholds"
            f" are taken from the first pictures{untrained}, which takes up to minutes every time;"
            f" kept, and better: {calibrate_command(ann, recipe)}{video}"
        )
        images = preprocessed(pictures, ann.spec)
        names = ImageList.of([picture.name for picture in pictures])
        # Copy the weights: those that were read in inference mode have no gradients.
        tensors = {key: value.clone() for key, value in ann.graph.tensors.items()}
        graph = replace(ann.graph, tensors=tensors)
        neurons = None
        # Another number of threads rounds sums differently, and the search for thresholds would
        # amplify a difference in the last bit.
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            histograms = collect_histograms(graph, images)
            statistics = Statistics(histograms, ann.sha256, ann.imgsz, names)
            if recipe.by_gradient:
                settings: dict[str, Any] = {"calibration.kind": "none", "calibration.frames": 1}
                if "calibration.operations" not in calibration_file.own_settings(recipe):
                    settings["calibration.operations"] = UNTRAINED_OPERATIONS
                recipe = recipe.with_settings(settings)
                neurons = calibrate(CalibrationJob(graph, ann.spec, statistics, recipe, images))
        finally:
            torch.set_num_threads(threads)
        return convert(ann.graph, ann.spec, statistics, recipe, self.provenance, neurons)


def _read(photographs: Iterable[Picture]) -> list[Picture]:
    """The pixels of the first FEW that can be read.

    Raises the UserError of the first where none can be read.
    """
    pictures: list[Picture] = []
    errors: list[UserError] = []
    for name, source in photographs:
        try:
            pictures.append(Picture(name, read_image(source)))
        except UserError as error:
            errors.append(error)
        if len(pictures) == FEW:
            break
    if errors and not pictures:
        raise errors[0]
    return pictures


def load(
    weights: str | Path | Ann | Converted,
    method: str | Recipe | None = None,
    settings: Mapping[str, Any] | None = None,
    *,
    photographs: Iterable[Picture] = (),
    **options: Any,
) -> Converted:
    """The spiking network of a weights file: converted now, or as `export` saved it.

    Args:
        weights, method, settings, options: See `prepare`.
        photographs: Used only where no file has what the method needs, see Uncalibrated.

    Raises:
        UserError: Something is missing, damaged, or does not fit the rest.
    """
    network = prepare(weights, method, settings, **options)
    return network if isinstance(network, Converted) else network.convert(photographs)


def read_network(weights: str | Path | Ann | Converted, **reading: Any) -> Ann | Converted:
    """Read the network of a file, or of a name of the index. reading: See `prepare`."""
    if not isinstance(weights, str | Path):
        return weights
    path = located(weights)
    if file_kind(path) == "safetensors" and read_safetensors(path)[0].get("format") == FORMAT:
        return Converted.load(path)
    return load_ann(path, **reading)


@own_dtypes()
def prepare(
    weights: str | Path | Ann | Converted,
    method: str | Recipe | None = None,
    settings: Mapping[str, Any] | None = None,
    *,
    calibration: str | None = None,
    statistics: str | Path | None = None,
    video: bool = False,
    **reading: Any,
) -> Converted | Uncalibrated:
    """The spiking network of a weights file, as far as files tell it.

    Args:
        weights: A file, the name of a network that `list networks` has, a network that was read
            already, or a converted one.
        method: Name of a method, or a recipe; the default method if None.
        settings: Changes of the recipe by key, as of --set.
        calibration: Name of the method's calibration; if None the best that the user has made, or
            else "default".
        statistics: File of statistics and calibrations, instead of that which belongs to the
            weights.
        video: Whether it is for a video, for which there may be a calibration.
        reading: See load_ann: cfg, names, imgsz.

    Raises:
        UserError: Something is missing, damaged, or does not fit the rest.
    """
    network = read_network(weights, **reading)
    if isinstance(network, Ann):
        ann = network
        files = calibration_files(ann, None if statistics is None else Path(statistics))
        recipe, settings = get_recipe(method or DEFAULT, calibration), settings or {}
        learned = any(key.startswith(("calibration.", "threshold.rule")) for key in settings)
        if method in (None, DEFAULT) and calibration is None and not learned:
            own = calibration_file.best_calibration(files, video)
            if own is not None:
                name = own.recipe.calibration.name
                if name != "default":
                    notice(f"taking your calibration {name} of {ann.weights.name}")
                recipe = get_recipe(DEFAULT, name)
                if not own.fits(recipe):
                    recipe = own.recipe
        return _prepared(ann, recipe.with_settings(settings), files, statistics is None)
    if settings or any((method, calibration, statistics, *reading.values())):
        changes = "method, calibration, settings, statistics or size"
        raise UserError(f"it is already converted: give no {changes}, or the original weights")
    return network


def _prepared(
    ann: Ann, recipe: Recipe, files: Sequence[calibration_file.CalibrationFile], or_pictures: bool
) -> Converted | Uncalibrated:
    """The network converted, or as it is where files have nothing and pictures can replace them."""
    at_once = or_pictures and converts_at_once(recipe)
    known = calibration_file.find_statistics(files)
    if not recipe.runs_network:
        if known is not None:
            return convert(ann.graph, ann.spec, known, recipe, {"weights": ann.weights.name})
        if at_once:
            return Uncalibrated(ann, recipe)
        raise UserError(no_statistics(ann, recipe))
    recipe, result = _calibration(files, recipe)
    if result is None and at_once:
        return Uncalibrated(ann, recipe)
    if result is None:
        thresholds.check_activations(ann.graph, recipe)
        known = ", ".join([name for file in files for name in file.names(recipe.name)]) or "none"
        raise UserError(
            f"{ann.weights.name} has no calibration {recipe.calibration.name} of {recipe.name} with"
            f" these settings at {size_name(ann.imgsz)} pixels (found: {known}): make it with"
            f" {calibrate_command(ann, recipe)}"
        )
    if 0 < result.done < 1:
        partly = f"calibration {recipe.calibration.name} is trained to {result.done:.0%} only"
        notice(f"{ann.weights.name}: {partly}; the same `{command('calibrate')}` goes on")
    origin = {"weights": ann.weights.name, "weights_sha256": ann.sha256}
    origin["calibration_images"] = str(result.images.count)
    neurons = result.neurons
    calibration_file.check_neurons(ann.graph, neurons, shapes(ann.graph, *ann.imgsz))
    if recipe.complete and known is not None:
        # Events of 8 bits need thetas that are large enough.
        least = thresholds.least_thetas(ann.graph, known.histograms)
        neurons = thresholds.scaled(ann.graph, neurons, 1.0, least)
    return convert(ann.graph, ann.spec, None, recipe, origin, neurons)


def _calibration(
    files: Sequence[calibration_file.CalibrationFile], recipe: Recipe
) -> tuple[Recipe, calibration_file.CalibrationResult | None]:
    """Find the calibration of this network that fits a recipe, if there is one.

    A calibration with a name brings the settings that it was made with.
    """
    result = calibration_file.find_calibration(files, recipe)
    method = METHODS.get(recipe.name)
    name = recipe.calibration.name
    if result is not None and method and name != "default":
        recipe = result.recipe.with_settings(recipe.changes(get_recipe(recipe.name, name)))
    if result is not None and not result.fits(recipe):
        result = None
    return recipe, result


def load_statistics(ann: Ann, path: Path | None = None) -> Statistics:
    """The statistics that belong to this network: of this file, or the first that is found."""
    statistics = calibration_file.find_statistics(calibration_files(ann, path))
    if statistics is None:
        raise UserError(no_statistics(ann, get_recipe(DEFAULT)))
    return statistics


def no_statistics(ann: Ann, recipe: Recipe) -> str:
    """The message that a network has nothing to take thresholds from, and how to change that."""
    what = "calibration" if recipe.runs_network else "activation statistics"
    make = f"make them with {calibrate_command(ann, recipe)}"
    return f"no {what} of {ann.weights}{_others(ann, recipe)}: {make}"


def _others(ann: Ann, recipe: Recipe) -> str:
    """The part of a message that says at which size none was found, and which have to be named."""
    names = [name for file in calibration_files(ann) for name in file.names(recipe.name)]
    found = f" (found: --calibration {' or '.join(names)})" if names else ""
    return f" at {size_name(ann.imgsz)} pixels{found}"


def of_all(ann: Ann, recipes: Mapping[str, Recipe], statistics: Path | None = None) -> list[str]:
    """List the methods for which this network has all that they need, as `--method all` means it.

    A Notice says how to calibrate for another one.
    """
    files, chosen = calibration_files(ann, statistics), list[str]()
    for name, recipe in recipes.items():
        if recipe.runs_network and _calibration(files, recipe)[1] is None:
            notice(f"{name} is left out: calibrate it with {calibrate_command(ann, recipe)}")
        else:
            chosen.append(recipe.name)
    return chosen
