"""Results in the cells of a notebook: pictures, grids, and `show`."""

import base64
import io
import re
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from helpers.tiny import write_tiny
from PIL import Image

from spiking_yolo import SpikingYOLO
from spiking_yolo.result import Results

CONF = 0.3


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return write_tiny(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def photos(weights):
    return sorted(map(str, (weights.parent / "photos").glob("*.png")))


@pytest.fixture(scope="module")
def detector(weights):
    return SpikingYOLO(weights, "dcgs")


@pytest.fixture(scope="module")
def run(detector, photos):
    """A result at every timestep."""
    return detector.detect(photos[0], T=4, steps=[1, 2, 3], conf=CONF)


def pictures(text: str) -> list[np.ndarray]:
    """The JPEGs of a page."""
    codes = re.findall(r'<img src="data:image/jpeg;base64,([^"]+)"', text)
    return [np.asarray(Image.open(io.BytesIO(base64.b64decode(code)))) for code in codes]


def test_a_result_is_a_picture(detector, photos):
    result = detector.detect(photos[0], T=4, conf=CONF)
    text = result._repr_html_()
    (picture,) = pictures(text)
    assert picture.shape == result.plot().shape
    assert np.abs(picture.astype(int) - result.plot()).mean() < 16
    assert f'alt="a.png: {result.counts()}"' in text and "<script" not in text


def test_names_cannot_become_html(run):
    seen = replace(run.seen, input=replace(run.seen.input, path="/a/<i>.png"))
    text = replace(run, seen=seen, names=("<script>", '"><b>', "&"))._repr_html_()
    assert not {"<script>", "<b>", "<i>"} & set(re.findall(r"<\w+>", text))
    assert "&lt;i&gt;.png" in text


def test_a_list_is_a_grid(detector, photos, monkeypatch):
    results = detector.detect(photos, T=1, conf=CONF)
    assert isinstance(results, list) and results == list(results)
    text = results._repr_html_()
    assert len(pictures(text)) == len(photos) and " more" not in text
    assert all(f"{Path(photo).name}: " in text for photo in photos)
    assert isinstance(results[:1], Results) and len(results[:1]) == 1 and results[0] is results[-2]
    monkeypatch.setattr("spiking_yolo.draw.page.MOST_TILES", 3)
    many = Results([results[0]] * 5)._repr_html_()
    assert many.count("<img") == 3 and "and 2 more" in many


@pytest.mark.parametrize("kernel", [True, False])
def test_show_is_inline_in_a_notebook_only(run, monkeypatch, kernel):
    displayed, opened = [], []
    shell = SimpleNamespace(kernel=object()) if kernel else SimpleNamespace()
    display = SimpleNamespace(display=displayed.append)
    ipython = SimpleNamespace(get_ipython=lambda: shell, display=display)
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setitem(sys.modules, "IPython.display", display)
    monkeypatch.setattr(Image.Image, "show", lambda picture: opened.append(picture))
    run.show()
    assert (len(displayed), len(opened)) == ((1, 0) if kernel else (0, 1))
    assert displayed in ([], [run])
