"""Groups of options that several commands share, and what is made from them. Imports nothing heavy.

The options of a command are a frozen dataclass that inherits the groups it needs:

    sources   SourceOptions
    network   WeightsOptions < ConversionOptions < MethodOptions or MethodsOptions
    boxes     DetectionOptions
    videos    VideoOptions
    images    LimitOptions
    output    OutputOptions
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from spiking_yolo import arguments
from spiking_yolo.convert.methods import get_recipe, list_methods
from spiking_yolo.decode import CONF, IOU, MAX_DET
from spiking_yolo.errors import UserError
from spiking_yolo.io.files import default_weights
from spiking_yolo.io.text import Size
from spiking_yolo.recipe import Recipe

if TYPE_CHECKING:
    from spiking_yolo.convert.load import Converted
    from spiking_yolo.data.images import Picture
    from spiking_yolo.decode.selection import Selection
    from spiking_yolo.models.load import Ann


@dataclass(frozen=True)
class SourceOptions(arguments.Options):
    """What to look at. A class inherits this group last, so that its words come first."""

    sources: tuple[str, ...]
    """Images, videos, folders, globs, .txt lists, streams, webcams."""


@dataclass(frozen=True, kw_only=True)
class WeightsOptions(arguments.Options):
    """The network to convert."""

    weights: Path | None = None
    """Network: .pt, .onnx, .weights, .safetensors, or a name of `list` (default: Tiny-YOLOv3)."""
    imgsz: Annotated[int | Size | None, arguments.SIZE, arguments.NETWORK] = None
    """Network input in pixels, its longer side (416) or exactly HEIGHTxWIDTH (288x416): multiples
    of 32, or of 64 with P6.
    """
    cfg: Annotated[Path | None, arguments.NETWORK] = None
    """Darknet cfg, if it does not lie beside the weights."""
    names: Annotated[Path | None, arguments.NETWORK] = None
    """Class names, one per line, if they do not lie beside the weights."""

    @property
    def exact(self) -> bool:
        """Whether the input has one height and width, whatever the shapes of images."""
        return isinstance(self.imgsz, tuple)

    def reading(self) -> dict[str, Any]:
        """How to read the file of the weights, as `load_ann` takes it."""
        return {"cfg": self.cfg, "names": self.names, "imgsz": self.imgsz}

    def open_ann(self) -> "Ann":
        """The original network."""
        from spiking_yolo.models.load import load_ann

        return load_ann(self.weights or default_weights(), **self.reading())


@dataclass(frozen=True, kw_only=True)
class ConversionOptions(WeightsOptions):
    """How the network is converted, and where it runs.

    Inherit MethodOptions or MethodsOptions.
    """

    settings: arguments.Settings = field(default_factory=dict)
    """Change a setting of the method; see `spiking-yolo list METHOD`."""
    calibration: Annotated[str | None, arguments.NETWORK] = None
    """Name of the method's calibration, such as fine or tuned; see `spiking-yolo list WEIGHTS`."""
    statistics: Annotated[Path | None, arguments.NETWORK] = None
    """File of statistics and calibrations, if it does not lie beside the weights."""
    device: Annotated[str, arguments.NETWORK] = "cpu"
    """cpu, cuda, cuda:1, ..."""

    def convert_by(
        self,
        method: str | None,
        photographs: "Iterable[Picture]" = (),
        video: bool = False,
        ann: "Ann | None" = None,
    ) -> "Converted":
        """The network, converted.

        Args:
            method: None for the default method, or that of a converted file.
            photographs: See `convert.load.load`.
            video: Whether it is for a video.
            ann: The network, where it was read already.
        """
        from spiking_yolo.convert.load import load

        return load(
            ann or self.weights or default_weights(),
            method,
            self.settings,
            calibration=self.calibration,
            statistics=self.statistics,
            photographs=photographs,
            video=video,
            **self.reading(),
        )


@dataclass(frozen=True, kw_only=True)
class MethodOptions(ConversionOptions):
    """One conversion method."""

    method: str | None = None
    """See `list` (default: signed-digits)."""

    def convert(self, photographs: "Iterable[Picture]" = (), video: bool = False) -> "Converted":
        """The network, converted; see `convert_by`."""
        return self.convert_by(self.method, photographs, video)


@dataclass(frozen=True, kw_only=True)
class MethodsOptions(ConversionOptions):
    """Any number of conversion methods, side by side."""

    methods: Annotated[tuple[str, ...], arguments.COMMAS, arguments.METHODS] = ()
    """Methods with commas, see `list`, or all (default: signed-digits)."""

    def convert_all(self, video: bool = False) -> "dict[str, Converted]":
        """The network converted by every method, by its name. video: Whether it is for a video.

        Raises:
            UserError: A method is unknown or given twice, or the settings do not fit.
        """
        from spiking_yolo.convert.load import of_all

        if len(self.methods) <= 1 and self.methods != ("all",):
            network = self.convert_by(next(iter(self.methods), None), video=video)
            return {network.recipe.label: network}
        # Recipes first: a mistake in them is reported before the weights are read.
        recipes: dict[str, Recipe] = {}
        for name in list_methods() if self.methods == ("all",) else self.methods:
            recipe = get_recipe(name, self.calibration).with_settings(self.settings)
            if recipe.label in recipes:
                raise UserError(f"--method has {recipe.label} twice: give each method once")
            recipes[recipe.label] = recipe
        ann = self.open_ann()
        names: Sequence[str] = self.methods
        if self.methods == ("all",):
            names = of_all(ann, recipes, self.statistics)
        networks = [self.convert_by(name, video=video, ann=ann) for name in names]
        return {network.recipe.label: network for network in networks}


@dataclass(frozen=True, kw_only=True)
class DetectionOptions(arguments.Options):
    """Which boxes of a detector count, see Selection."""

    conf: Annotated[float, arguments.within(0, 1), arguments.BOXES] = CONF
    """Smallest confidence."""
    iou: Annotated[float, arguments.within(0, 1), arguments.BOXES] = IOU
    """Suppress boxes that overlap more; one2one heads: 0.7 or more."""
    max_det: Annotated[int, arguments.at_least(1), arguments.BOXES] = MAX_DET
    """Boxes per image."""
    agnostic_nms: Annotated[bool, arguments.BOXES] = False
    """Suppress boxes across classes, not within each class."""

    def box_options(self) -> dict[str, Any]:
        """These options alone, by name, of a command that has more."""
        return {one.name: getattr(self, one.name) for one in fields(DetectionOptions)}

    def selection(self, multi_label: bool = False) -> "Selection":
        """The boxes that these options ask for."""
        from spiking_yolo.decode.selection import Selection

        return Selection(**self.box_options(), multi_label=multi_label)


@dataclass(frozen=True, kw_only=True)
class VideoOptions(arguments.Options):
    """How the frames of a video are computed, see Stream."""

    lossless: Annotated[bool, arguments.VIDEO] = False
    """Every frame of a video has, to the bit, the boxes of a frame computed anew."""


@dataclass(frozen=True, kw_only=True)
class LimitOptions(arguments.Options):
    """A part of the images, see `data.datasets.draw`."""

    limit: Annotated[int | None, arguments.at_least(1)] = None
    """Use N images only, drawn by --seed."""
    seed: Annotated[int, arguments.at_least(0)] = 0
    """Draws the images of --limit."""


def check_inside(_: Any, name: str) -> None:
    """Raise UserError for a name that leads out of the folder of all runs."""
    if Path(name).is_absolute() or ".." in Path(name).parts:
        raise UserError(f"--name {name} must lie inside of --project: give that instead")


@dataclass(frozen=True, kw_only=True)
class OutputOptions(arguments.Options):
    """Where files go: PROJECT/NAME, or PROJECT/NAME2, NAME3, ... when it exists already."""

    project: Annotated[Path, arguments.OUTPUT] = Path("runs")
    """Folder of all runs."""
    name: Annotated[str, arguments.OUTPUT, Parameter(validator=check_inside)] = "exp"
    """Folder inside the project; exp2, exp3, ... when it exists."""


def ordered_steps(steps: Sequence[int], T: int | None) -> tuple[int, ...]:
    """The timesteps sorted, each once.

    Raises:
        UserError: One is beyond T; None allows any.
    """
    chosen = tuple(sorted(set(steps)))
    if chosen and T is not None and chosen[-1] > T:
        raise UserError(f"--steps must lie in 1..{T} (--T), not {','.join(map(str, steps))}")
    return chosen
