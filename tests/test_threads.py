"""One detector in several threads: every call gives what it gives alone."""

import copy
import ctypes
import pickle
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from helpers.tiny import assert_same, write_tiny
from helpers.video import walk

from spiking_yolo import Result, SpikingYOLO
from spiking_yolo.errors import Notice
from spiking_yolo.integer.library import threads

T = 4
SETTINGS = {"calibration.kind": "none", "threshold.rule": "percentile"}
# As a server has them: clients, and their calls.
CLIENTS, REQUESTS = 8, 200


@pytest.fixture(scope="module", params=["signed-digits", "p-norm"])
def detector(request, weights):
    return SpikingYOLO(weights, request.param, SETTINGS if request.param != "p-norm" else None)


@pytest.fixture(scope="module")
def photos(weights):
    return [weights.parent / "photos" / name for name in ("a.png", "b.png")]


def detect(detector: SpikingYOLO, photo) -> Result:
    return detector.detect(photo, T, conf=0.05)


def test_a_server_with_eight_clients(detector, photos):
    """Photographs at T = 1 in eight threads, and a video beside them."""
    clip = walk(12, seed=3)

    def answer(number: int) -> Result:
        return detector.detect(photos[number % 2], T=1, conf=0.001)

    def watch() -> list[Result]:
        return list(detector.stream(clip, conf=0.001))

    expected, film = [answer(number) for number in range(2)], watch()
    with ThreadPoolExecutor(CLIENTS + 1) as pool:
        stream = pool.submit(watch)
        answers = list(pool.map(answer, range(REQUESTS)))
    for number, result in enumerate(answers):
        assert_same(result, expected[number % 2])
    for result, frame in zip(stream.result(), film, strict=True):
        assert_same(result, frame)


def test_the_first_pictures_in_two_threads_calibrate_once(tmp_path, photos):
    shared = SpikingYOLO(write_tiny(tmp_path, calibrated=False))

    def watch(photo) -> list[Result]:
        return list(shared.stream([photo], T=T, conf=0.05))

    with pytest.warns(Notice) as notices, ThreadPoolExecutor(4) as pool:
        calls = [pool.submit(detect, shared, photo) for photo in photos]
        streams = [pool.submit(watch, photo) for photo in photos]
        results = [call.result(timeout=60) for call in calls]
        films = [stream.result(timeout=60) for stream in streams]
    assert len([w for w in notices if w.category is Notice]) == 1
    alone = SpikingYOLO(shared.converted)
    for photo, result, (frame,) in zip(photos, results, films, strict=True):
        assert_same(result, detect(alone, photo))
        assert torch.equal(frame.boxes.xyxy, result.boxes.xyxy)


def test_a_call_from_within_a_call(detector, photos):
    """progress may call the detector whose run it follows, and copies of it; all are what they are
    alone.
    """
    inner, outer = detect(detector, photos[1]), detect(detector, photos[0])
    for twin in (detector, copy.deepcopy(detector), pickle.loads(pickle.dumps(detector))):
        within: list[Result] = []
        ask = lambda t, twin=twin, found=within: found.append(detect(twin, photos[1]))  # noqa: E731
        assert_same(detector.detect(photos[0], T, conf=0.05, progress=ask), outer)
        assert within
        for one in within:
            assert_same(one, inner)


@pytest.mark.parametrize("kind", ["float64", "bfloat16", "autocast"])
@pytest.mark.parametrize("method", ["signed-digits", "p-norm"])
def test_settings_of_the_program_around_it(weights, photos, method, kind):
    """Of its default dtype and its autocast, which stay as they are: opened, calibrated, a
    photograph, and a video.
    """

    def everything() -> list[Result]:
        detector = SpikingYOLO(weights, method, SETTINGS if method == "signed-digits" else None)
        results = [detector.detect(photos[0], T, conf=0.001)]
        return results + list(detector.stream(walk(3, seed=3), conf=0.001, T=T))

    expected, before = everything(), torch.get_default_dtype()
    try:
        if kind != "autocast":
            torch.set_default_dtype(getattr(torch, kind))
        with torch.autocast("cpu", enabled=kind == "autocast"):
            found = everything()
            assert torch.is_autocast_enabled("cpu") == (kind == "autocast")
        outside = torch.float32 if kind == "autocast" else getattr(torch, kind)
        assert torch.get_default_dtype() == outside
    finally:
        torch.set_default_dtype(before)
    for one, other in zip(found, expected, strict=True):
        assert_same(one, other)


@pytest.mark.skipif(not hasattr(ctypes.pythonapi, "omp_set_num_threads"), reason="no OpenMP")
def test_threads_of_one_caller():
    """`threads` is for its caller alone, and only within its block."""
    before = torch.get_num_threads()
    with ThreadPoolExecutor(1) as pool:
        other = pool.submit(torch.get_num_threads).result()
        with threads(before + 1):
            assert torch.get_num_threads() == before + 1
            assert pool.submit(torch.get_num_threads).result() == other
        assert torch.get_num_threads() == before


def test_a_frame_leaves_the_threads_of_pytorch_alone(weights):
    """A small network computes with one thread, and PyTorch has its own afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    list(SpikingYOLO(weights).stream(walk(3, seed=3)))
    after = torch.get_num_threads()
    torch.set_num_threads(before)
    assert after == 3
