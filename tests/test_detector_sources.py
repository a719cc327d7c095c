"""What `detect` and `predict` take besides a picture: folders, globs, lists, addresses, sizes."""

import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
from helpers.tiny import run_tool, write_tiny

from spiking_yolo import Result, SpikingYOLO, UserError
from spiking_yolo.data import images
from spiking_yolo.data.sources import is_stream


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """tiny.weights, photos/a.png, photos/b.png, ..."""
    return write_tiny(tmp_path_factory.mktemp("tiny")).parent


@pytest.fixture(scope="module")
def detector(folder: Path) -> SpikingYOLO:
    return SpikingYOLO(folder / "tiny.weights")


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def address(folder: Path) -> Iterator[str]:
    """Of a server of the folder on this machine."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=folder))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_several_by_one_name(detector, folder, tmp_path):
    photos = sorted((folder / "photos").iterdir())
    one = [detector.detect(path, conf=0.3) for path in photos]
    (tmp_path / "list.txt").write_text("\n".join(map(str, photos)))
    of_folder = (folder / "photos", f"{folder}/photos/*.png", [folder / "photos"])
    for source in (*of_folder, tmp_path / "list.txt", photos):
        several = detector.detect(source, conf=0.3)
        assert isinstance(several, list) and len(several) == len(photos) > 1
        for a, b in zip(several, one, strict=True):
            assert torch.equal(a.boxes.xyxy, b.boxes.xyxy)
        assert [result.path for result in several] == [str(path) for path in photos]


def test_predict_is_always_a_list(detector, folder):
    photo = folder / "photos" / "a.png"
    (result,) = detector.predict(photo, conf=0.3, T=2)
    assert isinstance(result, Result) and result.T == 2
    assert torch.equal(result.boxes.xyxy, detector.detect(photo, conf=0.3, T=2).boxes.xyxy)
    assert len(detector.predict([photo, photo])) == 2


def test_pictures_at_an_address(detector, folder, address, tmp_path, monkeypatch):
    result = detector.detect(f"{address}/photos/a.png", conf=0.3)
    expected = detector.detect(folder / "photos/a.png", conf=0.3)
    assert torch.equal(result.boxes.xyxy, expected.boxes.xyxy)
    assert result.path == f"{address}/photos/a.png"
    line = ("--weights", folder / "tiny.weights", "--project", tmp_path, "--save-json")
    assert run_tool("detect", f"{address}/photos/a.png?size=1", *line) == 0
    assert (tmp_path / "exp" / "a.jpg").is_file()
    for wrong, message in (
        (f"{address}/gone.png", "cannot fetch .*404"),
        (f"{address}/tiny.cfg", "is no picture; give the address of one"),
        ("http://127.0.0.1:1/a.png", "cannot fetch .*check the address and the net"),
        ("rtsp://127.0.0.1/a.png", "give an address of http or https"),
    ):
        with pytest.raises(UserError, match=message):
            detector.detect(wrong)
    monkeypatch.setattr(images, "LARGEST_DOWNLOAD", 10)
    with pytest.raises(UserError, match="fetch it yourself"):
        detector.detect(f"{address}/photos/a.png")


def test_what_is_no_picture(detector, tmp_path):
    (tmp_path / "a.mp4").touch()
    (tmp_path / "empty").mkdir()
    for name, message in (
        ("a.mp4", r"a\.mp4 is a video: read it with SpikingYOLO\.stream"),
        ("empty", "holds no images"),
        ("*.png", "no image matches"),
    ):
        with pytest.raises(UserError, match=message):
            detector.detect(f"{tmp_path}/{name}")


def test_which_addresses_are_streams():
    assert not is_stream("https://a.org/b/c.JPG?x=1.mp4") and not is_stream("http://a/c.png#d")
    assert is_stream("rtsp://a.org/b.jpg") and is_stream("https://a.org/live") and is_stream("3")
