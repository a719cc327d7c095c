"""The engine of `calibrate`: images, statistics, and what methods learn from them."""

import itertools
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor

from spiking_yolo.apps.calibrate import CalibrateOptions
from spiking_yolo.convert import calibrate as calibrating
from spiking_yolo.convert import calibration_file as files
from spiking_yolo.convert.learn.statistics import ImageList, Statistics, take_statistics
from spiking_yolo.convert.learn.training import Session, State, Training
from spiking_yolo.convert.methods import CALIBRATIONS, DEFAULT, get_recipe, list_methods
from spiking_yolo.convert.thresholds import check_activations, least_thetas
from spiking_yolo.data.datasets import draw, spread
from spiking_yolo.data.formats import open_classification, open_photographs
from spiking_yolo.data.images import Picture, preprocessed
from spiking_yolo.data.mot import VideoSequence, has_videos, open_sequences
from spiking_yolo.data.sources import image_paths
from spiking_yolo.data.unlabelled import RandomClips, RandomPictures, clips_of, frame_times
from spiking_yolo.errors import UserError
from spiking_yolo.io.distributed import usable_device
from spiking_yolo.io.files import Progress
from spiking_yolo.io.text import did_you_mean
from spiking_yolo.models.load import Ann, load_ann
from spiking_yolo.recipe import Recipe

# Images that are drawn from a dataset of classes, where they are small, for the statistics.
OF_CLASSES = 1000
# Tuning on fewer pictures learns nothing that holds for others.
FEWEST = 32
# Pictures on which states are compared when tuning, and which are not trained on.
VALIDATION = 48
# Pictures of a step of a detector that is tuned, and parts of clips.
BATCH, PARTS = 4, 8
# Clips by which thresholds for later frames are found.
CLIPS = 16


def calibrate(options: CalibrateOptions, say: Callable[[str], Any], progress: Progress) -> "Job":
    """Write the statistics, and a calibration for each method that learns by running the network.

    Args:
        options: Network, images, methods, and where the file goes.
        say: say(line), called with what was written, and the figures of training.
        progress: Called as the progress of a study.

    Raises:
        UserError: The options or the images do not fit the methods.
    """
    recipes = recipes_of(options)
    ann = options.open_ann()
    if options.methods != ("all",):
        for recipe in recipes:
            check_activations(ann.graph, recipe)
    images = Images()
    for path in options.images:
        images.add(path, ann)
    if options.limit:
        images.folders = [draw(images.all(), options.limit, options.seed)]
    job = Job(options, ann, files.destination(ann, options.output), images, say, progress)
    job.run(recipes)
    return job


def calibrate_trained(
    weights: Path, pictures: Sequence[Picture], seed: int, say: Callable[[str], Any], bars: Progress
) -> None:
    """Calibrate a trained network for the default method, on some of its training images."""
    ann, recipe = load_ann(weights), get_recipe(DEFAULT)
    images = Images([draw(pictures, _needed(recipe, ann), seed)])
    options = CalibrateOptions(weights=weights)
    Job(options, ann, files.destination(ann), images, say, bars).run([recipe])


def recipes_of(options: CalibrateOptions) -> list[Recipe]:
    """The recipes to calibrate for, with the settings applied."""
    kinds = {"video": options.video, "untrained": options.quick, "tuned": options.tune}
    kind = next((name for name, chosen in kinds.items() if chosen), None)
    name, settings = options.calibration, dict(options.settings)
    methods = options.methods
    if methods == ("all",):
        methods = tuple(list_methods())
    if name and name not in CALIBRATIONS and not (kind or settings):
        hint = did_you_mean(name, CALIBRATIONS)
        what = "say by --quick, --video, --tune or --set what to make"
        raise UserError(f"--calibration {name} is a name of your own: {what}{hint}")
    # Kinds are of the default method; a name of one's own has the settings of the kind.
    start = name if name in CALIBRATIONS else kind
    recipes = [get_recipe(method, start if method == DEFAULT else None) for method in methods]
    if name:
        settings["calibration.name"] = name
    return [recipe.with_settings(settings) for recipe in recipes]


@dataclass
class Images:
    """What to learn from: pictures by folder, and the videos of which frames are among them."""

    folders: list[Sequence[Picture]] = field(default_factory=list)
    videos: list[VideoSequence] = field(default_factory=list)

    def add(self, path: Path, ann: Ann) -> None:
        """The pictures or videos at a path."""
        if has_videos(path):
            for video in open_sequences(path):
                self.videos.append(video)
                frames = clips_of(video, [0], max(ann.imgsz))
                folder = [Picture(f"{video.name}#{k}", one[0]) for k, one in enumerate(frames)]
                self.folders.append(folder)
            if path.is_file() or not image_paths(path):
                return
        classes = ann.spec.task == "classify" and path.is_dir()
        if classes and any(one.is_dir() for one in path.iterdir()):
            pictures = open_classification(path, "train").pictures
            self.folders.append(draw(pictures, min(OF_CLASSES, len(pictures))))
        else:
            files = open_photographs([str(path)], training=True)
            self.folders.append(list(map(Picture.file, files)))

    def all(self) -> list[Picture]:
        """The pictures of all folders."""
        return list(itertools.chain(*self.folders))


@dataclass
class Job:
    """A network, the images to calibrate it on, and its file. skipped: images that are none."""

    options: CalibrateOptions
    ann: Ann
    path: Path
    images: Images
    say: Callable[[str], Any]
    progress: Progress
    skipped: int = 0

    def run(self, recipes: Sequence[Recipe]) -> None:
        """Write the statistics, and what the recipes learn."""
        count = len(self.images.all())
        if count < FEWEST and any(one.calibration.kind == "tuned" for one in recipes):
            enough = f"give {FEWEST} or more; 500 are good"
            raise UserError(f"{count} pictures are too few to train thresholds on: {enough}")
        statistics = self._statistics()
        for recipe in recipes:
            if not recipe.runs_network:
                self.say(f"method {recipe.name} needs the statistics only")
            elif recipe.calibration.kind == "tuned" and not self.options.quick:
                self._tune(recipe, statistics)
            else:
                self._learn(recipe, statistics)

    def _learn(self, recipe: Recipe, statistics: Statistics) -> None:
        """Write what a method learns by running the network."""
        ann, parts = self.ann, itertools.count(1)
        pictures = spread(self.images.all(), _needed(recipe, ann))
        names = [picture.identity for picture in pictures]
        known, session = self._session(recipe, names)
        if session is None:
            return

        def report(text: str, done: int | None = None, total: int = 0, remark: str = "") -> None:
            """Work of known length has a bar of its own, other parts are counted."""
            if done is None:
                self.progress(recipe.name, next(parts), None, text)
            else:
                self.progress(text, done, total, remark)

        spec, done = ann.spec, 1.0
        if recipe.calibration.frames > 1:
            # Training goes on from what is not trained.
            done = 0.0
            clips = self._clips(recipe, [pictures], self.images.videos)
            spec, images = clips.part, clips.first(CLIPS)
        else:
            images = preprocessed(pictures, spec)
        if recipe.by_gradient and known is None:
            later = "; --minutes count from the training on" if self.options.minutes else ""
            self.say(f"looking for thresholds{later}")
        how = replace(session, progress=report), known and known.neurons
        job = calibrating.CalibrationJob(ann.graph, spec, statistics, recipe, images, *how)
        self._save(recipe, names, State(calibrating.calibrate(job)), done)

    def _tune(self, recipe: Recipe, statistics: Statistics) -> None:
        """Write what a method learns from random crops or clips.

        It starts from trained neurons, and for later frames from thresholds that are balanced
        there.
        """
        device = usable_device(self.options.device)
        ann, images = self.ann, self.images
        names = [picture.identity for picture in images.all()]
        known, session = self._session(recipe, names)
        if session is None:
            return
        folders, validation = split(images.folders)
        start = recipe if recipe.calibration.frames > 1 else get_recipe(DEFAULT)
        known = known or files.find_calibration(files.calibration_files(ann), start)
        if known is None:
            self._learn(start, statistics)
            known = self._file().calibration(start.name, start.calibration.name)
        pictures: Callable[[int], Tensor]
        spec = ann.spec
        if recipe.calibration.frames > 1:
            pictures = self._clips(recipe, folders, images.videos)
            spec = pictures.part
            compared = self._clips(recipe, [validation], ()).first(len(validation))
        else:
            batch = max(BATCH, ann.spec.images_at_once)
            pictures = RandomPictures(folders, ann.spec, batch, self.options.seed)
            compared = preprocessed(validation, ann.spec)
        least = least_thetas(ann.graph, statistics.histograms)
        training = Training(ann.graph, spec, recipe, known.neurons, compared, device, least)
        training.run(pictures, session)
        self._save(recipe, names, training.result())

    def _clips(
        self, recipe: Recipe, folders: Sequence[Sequence[Picture]], videos: Sequence[VideoSequence]
    ) -> RandomClips:
        frames, side = recipe.calibration.frames, max(self.ann.imgsz)
        clips = [clips_of(video, frame_times(frames), side) for video in videos]
        return RandomClips(folders, self.ann.spec, PARTS, self.options.seed, frames, clips)

    def _session(
        self, recipe: Recipe, names: Sequence[str]
    ) -> tuple[files.CalibrationResult | None, Session | None]:
        """What the file has of these images, if it is to be trained further; and how to train, None
        if nothing is left to do.
        """
        save, minutes = partial(self._save, recipe, names), self.options.minutes
        session = Session(minutes and 60 * minutes, 0.0, self.progress, save, self.say)
        known = None
        with suppress(UserError, LookupError):
            known = files.find_calibration([self._file()], recipe)
        if known is None or known.images != ImageList.of(names) or not known.fits(recipe):
            return None, session
        title = f"calibration {recipe.calibration.name} of these images"
        if known.done < 1:
            self.say(f"{title}: going on after {known.done:.0%}")
            return known, replace(session, done=known.done)
        if minutes and recipe.calibration.by_gradient:
            return known, session
        self.say(f"{title}: kept in {self.path}")
        return known, None

    def _file(self) -> files.CalibrationFile:
        """What is there of this network. Raises UserError if there is nothing."""
        file = files.CalibrationFile.read(self.path)
        file.check(self.ann)
        return file

    def _save(self, recipe: Recipe, names: Sequence[str], state: State, done: float = 1.0) -> None:
        """Write what was learned so far."""
        result = files.CalibrationResult(recipe, state.neurons, ImageList.of(names), done)
        files.save_calibrations(self.path, self.ann.sha256, self.ann.imgsz, [result])
        # Other shares are of a state on the way.
        if done in (0, 1):
            name = f"{recipe.name}, calibration {recipe.calibration.name}"
            self.say(f"{name} of {len(names)} images: saved to {self.path}")

    def _statistics(self) -> Statistics:
        """Take the statistics from the file if they are of these pictures, else measure and write
        them.

        Pictures that cannot be read are left out from now on.
        """
        ann, pictures = self.ann, self.images.all()
        names = ImageList.of([picture.identity for picture in pictures])
        instead = ""
        # A missing file, or a damaged one, is made again.
        with suppress(UserError, LookupError):
            old = self._file().statistics()
            if old.images == names:
                self.say(f"statistics of these {names.count} images: kept in {self.path}")
                return old
            instead = f", in place of those of {old.images.count}"

        self.say(f"taking statistics of {len(pictures)} images")

        def counted() -> Iterator[Picture]:
            for k, picture in enumerate(pictures):
                yield picture
                self.progress("images", k + 1, len(pictures))

        statistics, used, skipped = take_statistics(ann.graph, ann.spec, ann.sha256, counted())
        for line in skipped:
            print(f"skipped: {line}", file=sys.stderr)
        self.skipped = len(skipped)
        readable = set(map(id, used))
        kept = [[one for one in folder if id(one) in readable] for folder in self.images.folders]
        self.images.folders = [folder for folder in kept if folder]
        files.save_calibrations(self.path, ann.sha256, ann.imgsz, (), statistics)
        self.say(f"statistics of {len(used)} images: saved to {self.path}{instead}")
        return statistics


def split(folders: Sequence[Sequence[Picture]]) -> tuple[list[list[Picture]], list[Picture]]:
    """The pictures to tune on, folder by folder, and those to validate on: as many of each folder,
    at equal distances.
    """
    each = max(1, min(VALIDATION, sum(map(len, folders)) // 4) // len(folders))
    validation: list[Picture] = []
    rest: list[list[Picture]] = []
    for pictures in folders:
        chosen = spread(pictures, each)
        validation += chosen
        taken = set(map(id, chosen))
        rest.append([picture for picture in pictures if id(picture) not in taken])
    return [pictures for pictures in rest if pictures], validation


def _needed(recipe: Recipe, ann: Ann) -> int:
    """The number of images that a method runs on: those that train their neurons need more."""
    small = ann.spec.task == "classify"
    if recipe.by_gradient:
        return 1000 if small else 128
    return 100 if small else 16
