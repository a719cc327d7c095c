"""SpikingYOLO of weights without a calibration: thresholds from the first picture, or on request."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.tiny import assert_same, write_tiny
from helpers.video import walk, write_frames

from spiking_yolo import SpikingYOLO, UserError
from spiking_yolo.convert.load import Converted, load
from spiking_yolo.data.images import Picture, read_image
from spiking_yolo.errors import Notice

CONF: dict[str, Any] = {"conf": 0.3}


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny(tmp_path_factory.mktemp("tiny"), calibrated=False)


@pytest.fixture
def other(photo: Path) -> Path:
    return photo.with_name("b.png")


@contextmanager
def silent() -> Iterator[None]:
    """No notice is given."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", Notice)
        yield


def expected(weights: Path, *pictures: Path, method: str | None = None) -> Converted:
    """The network as the command line converts it for these pictures."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Notice)
        return load(weights, method, photographs=[Picture.file(str(path)) for path in pictures])


def assert_same_thetas(network: Converted, wanted: Converted) -> None:
    assert network.neurons.keys() == wanted.neurons.keys()
    for name, own in wanted.neurons.items():
        assert torch.equal(network.neurons[name]["theta"], own["theta"]), name


@pytest.mark.parametrize("method", [None, "p-norm"])
def test_the_first_picture_gives_the_thresholds(weights, photo, other, method):
    detector, wanted = SpikingYOLO(weights, method), expected(weights, photo, method=method)
    calibrated = SpikingYOLO(wanted)
    for name in ("names", "method"):
        assert getattr(detector, name) == getattr(calibrated, name) and getattr(detector, name)
    assert repr(detector) == f"{calibrated!r}, no thresholds yet"
    with pytest.warns(Notice, match="no calibration at 64 pixels.* from the first pictures"):
        first = detector.detect(photo, T=4, **CONF)
    assert repr(detector) == repr(calibrated)
    assert_same_thetas(detector.converted, wanted)
    assert_same(first, calibrated.detect(photo, T=4, **CONF))
    with silent():
        detector.detect(other, T=4)
    assert_same_thetas(detector.converted, wanted)


def test_what_needs_thresholds_says_so(weights: Path, photo: Path, tmp_path: Path):
    detector = SpikingYOLO(weights)
    path = tmp_path / "net.safetensors"
    for call in (lambda: detector.save(path), lambda: detector.converted, detector.observer):
        with pytest.raises(UserError, match=r"tiny\.weights has no thresholds yet.*calibrate"):
            call()
    assert not list(tmp_path.iterdir())
    with pytest.warns(Notice):
        result = detector.detect(photo, T=4, **CONF)
    detector.save(path)
    assert_same(SpikingYOLO(path).detect(photo, T=4, **CONF), result)


def test_a_stream_begins_with_its_first_frame(weights: Path):
    frames = walk(3)
    detector = SpikingYOLO(weights)
    stream = detector.stream(iter(frames), T=2, **CONF)
    assert "no thresholds yet" in repr(detector)
    with pytest.warns(Notice, match="from the first pictures") as notices:
        results = list(stream)
    assert len(notices) == 1 and [r.frame for r in results] == [0, 1, 2]
    alone = SpikingYOLO(weights)
    alone.calibrate([frames[0]])
    assert_same_thetas(detector.converted, alone.converted)
    for result, wanted in zip(results, alone.stream(frames, T=2, **CONF), strict=True):
        assert_same(result, wanted)


@pytest.mark.filterwarnings("ignore::spiking_yolo.errors.Notice")
def test_black_frames_at_the_start_give_no_thresholds(weights: Path):
    shown = walk(3)
    black = [0 * shown[0]] * 3
    detector, alone = SpikingYOLO(weights), SpikingYOLO(weights)
    assert [result.frame for result in detector.stream([*black, *shown])] == [*range(6)]
    alone.calibrate([shown[0]])
    assert_same_thetas(detector.converted, alone.converted)
    assert len(list(SpikingYOLO(weights).stream(black))) == 3


def test_pictures_on_request(weights: Path, photo: Path, other: Path, tmp_path: Path):
    """A folder, a glob, a list of files or of arrays, a video; and again, of other pictures."""
    detector = SpikingYOLO(weights)
    both = expected(weights, photo, other)
    arrays = read_image(photo), read_image(other)
    for images in (photo.parent, f"{photo.parent}/*.png", [photo, str(other)], arrays):
        with pytest.warns(Notice, match="from the first pictures"):
            detector.calibrate(images)
        assert_same_thetas(detector.converted, both)
    for image, bgr in ((arrays[1], False), (arrays[1][..., ::-1], True)):
        detector.calibrate(image, bgr=bgr)
        assert_same_thetas(detector.converted, expected(weights, other))
    with pytest.warns(Notice, match="from the first pictures"):
        detector.calibrate(write_frames(tmp_path / "clip.mp4", walk(12)))
