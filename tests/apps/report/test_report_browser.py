"""Reports in a real browser: nothing fails, nothing is asked for, and the slider changes what is
seen.

Screenshots go to the folder that SCREENSHOTS names, where that is set.
"""

import os
from pathlib import Path

import numpy as np
import pytest
from helpers.chromium import PROGRAMS, Browser, browser, program
from helpers.evaluating import make_scene
from helpers.tiny import ANYTHING, run_tool, write_tiny
from helpers.video import walk, write_frames
from PIL import Image

pytestmark = pytest.mark.skipif(
    program() is None, reason=f"no browser: install one of {', '.join(PROGRAMS)}"
)
DARK = "rgb(19, 16, 23)"
SMALLEST = "Math.min(...[...document.querySelectorAll('.plot text')].map(t => t.getBoundingClientRect().height))"
NAMELESS = """[...document.querySelectorAll('button, input, select')].filter(e => !(e.textContent.trim()
    || e.getAttribute('aria-label') || e.title || e.labels?.length || e.querySelector('img')?.alt)).length"""


@pytest.fixture(scope="module")
def chromium():
    with browser() as one:
        yield one


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return write_tiny(tmp_path_factory.mktemp("tiny"))


def kept(chromium: Browser, name: str) -> None:
    if folder := os.environ.get("SCREENSHOTS"):
        Path(folder).mkdir(parents=True, exist_ok=True)
        chromium.screenshot(Path(folder) / f"{name}.png")


def seen(chromium: Browser) -> dict[str, str]:
    """What a person sees that depends on the slider."""
    return chromium.value(
        """({slider: document.querySelector('.player output').textContent,
            said: document.querySelector('input[type=range]').getAttribute('aria-valuetext'),
            numbers: document.querySelector('.numbers').textContent,
            boxes: document.querySelector('.stage svg')?.innerHTML ?? '',
            heat: document.querySelector('.stage canvas')?.toDataURL() ?? ''})"""
    )


def quiet(chromium: Browser, page: Path) -> None:
    """Nothing was said on the console, and nothing but the page and what lies in it was
    asked for.
    """
    assert chromium.errors == []
    assert {url for url in chromium.requests if not url.startswith("data:")} <= {
        page.as_uri(),
        "about:blank",
    }


def test_photographs(chromium, weights, tmp_path):
    page = tmp_path / "page.html"
    call = ("--method", "dcgs", "--weights", weights, "-o", page)
    assert run_tool("report", weights.parent / "photos", *ANYTHING, *call) == 0
    chromium.requests.clear()
    chromium.open(page)
    last = seen(chromium)
    assert last["slider"] == "T = 4" and last["said"].startswith("T = 4: ")
    chromium.press("Home")
    first = seen(chromium)
    assert first["slider"] == "T = 1"
    chromium.press("End")
    assert seen(chromium) == last
    for part in ("numbers", "boxes", "said"):
        assert first[part] != last[part]
    chromium.press("ArrowLeft")
    assert seen(chromium)["slider"] == "T = 3"
    chromium.value("document.querySelector('table button').click()")  # the first layer's heat map
    chromium.settle()
    shown = seen(chromium)["heat"]
    assert shown != first["heat"] and chromium.value(
        "document.querySelector('.stage').classList.contains('heat')"
    )
    chromium.press("Home")
    assert seen(chromium)["heat"] != shown
    kept(chromium, "photographs")
    chromium.press(" ")
    assert chromium.value("document.querySelector('.play').getAttribute('aria-label')") == "Pause"
    chromium.value("document.querySelectorAll('.film button')[1].click()")
    assert "b.png" in chromium.value("document.querySelector('.stage img').alt")
    quiet(chromium, page)


def test_dark_and_narrow(chromium, weights, tmp_path):
    page = tmp_path / "page.html"
    assert (
        run_tool("report", weights.parent / "photos", *ANYTHING, "--weights", weights, "-o", page)
        == 0
    )
    chromium.open(page, 380, 800, dark=True)
    assert chromium.value("getComputedStyle(document.body).backgroundColor") == DARK
    # Only tables scroll, in their own frames.
    assert chromium.value("document.documentElement.scrollWidth") <= 380
    assert chromium.value(SMALLEST) > 8 and chromium.value(NAMELESS) == 0
    kept(chromium, "narrow-dark")
    chromium.open(page)
    assert chromium.value("getComputedStyle(document.body).backgroundColor") != DARK


@pytest.mark.parametrize("width", [1200, 390])
def test_the_slider_gets_the_focus_and_the_picture_stays(chromium, weights, tmp_path, width):
    page = tmp_path / "page.html"
    photos = weights.parent / "photos"
    assert run_tool("report", photos, *ANYTHING, "--weights", weights, "-o", page) == 0
    chromium.open(page, width, 844)
    place = "[scrollY, document.querySelector('.stage').getBoundingClientRect().top]"
    before = chromium.value(place)
    chromium.value("document.querySelector('.player input').focus()")
    chromium.settle()
    assert chromium.value(place) == before
    # The end of the page can be read above the slider.
    chromium.value("scrollTo(0, document.documentElement.scrollHeight)")
    assert chromium.value(
        "document.querySelector('footer').getBoundingClientRect().bottom"
        " <= document.querySelector('.player').getBoundingClientRect().top"
    )
    kept(chromium, f"focus-{width}")


def test_a_table_that_scrolls_shows_it(chromium, weights, tmp_path):
    page = tmp_path / "page.html"
    photos = weights.parent / "photos"
    assert run_tool("report", photos, *ANYTHING, "--weights", weights, "-o", page) == 0
    chromium.open(page, 390, 844)
    frame = "[...document.querySelectorAll('.scroll')].at(-1)"
    assert chromium.value(f"{frame}.scrollWidth > {frame}.clientWidth + 100")

    def shadows() -> tuple[bool, bool]:
        """Whether the left and the right end of the table are darker than the card."""
        chromium.value(f"{frame}.scrollIntoView({{block: 'center'}})")
        chromium.settle()
        chromium.screenshot(tmp_path / "table.png", whole=False)
        picture = np.asarray(Image.open(tmp_path / "table.png").convert("L")).astype(int)
        at = chromium.value(
            f"(({{left, right, top}}) => [left, right, top])({frame}.getBoundingClientRect())"
        )
        left, right, top = map(round, at)
        # Above the head is the caption; a column of pixels is mostly background.
        strip = picture[top + 2 : top + 60]
        ends = (strip[:, left + 1], strip[:, right - 2])
        card = np.median(picture[top - 8, left + 20 : right - 20])
        return tuple(bool(np.median(end) < card - 8) for end in ends)

    assert shadows() == (False, True)
    chromium.value(f"{frame}.scrollLeft = 60")
    assert shadows() == (True, True)
    chromium.value(f"{frame}.scrollLeft = 10000")
    assert shadows() == (True, False)


def test_a_video(chromium, weights, tmp_path):
    page = tmp_path / "clip.html"
    clip = write_frames(tmp_path / "clip.mp4", walk(5))
    assert run_tool("report", clip, "--conf", "0.3", "--weights", weights, "-o", page) == 0
    chromium.requests.clear()
    chromium.open(page)
    first = seen(chromium)
    # Where events happen.
    chromium.value("[...document.querySelectorAll('.tools input')].at(-1).click()")
    chromium.press("ArrowRight")
    second = seen(chromium)
    assert (first["slider"], second["slider"]) == ("0.00 s", "0.10 s")
    assert first["numbers"] != second["numbers"] and first["heat"] != second["heat"]
    kept(chromium, "video")
    quiet(chromium, page)


def test_an_evaluation(chromium, tmp_path):
    weights, data = make_scene(tmp_path)
    call = (
        "--data",
        data,
        "--images",
        data.parent / "images",
        "--weights",
        weights,
        "--T",
        2,
        "--method",
        "dcgs",
    )
    assert run_tool("eval", *call, "--report", "--project", tmp_path, "--name", "out") == 0
    page = tmp_path / "out" / "report.html"
    chromium.requests.clear()
    chromium.open(page)
    assert seen(chromium)["slider"] == "T = 2"
    last = seen(chromium)["numbers"]
    chromium.press("ArrowLeft")
    assert seen(chromium)["slider"] == "T = 1" and seen(chromium)["numbers"] != last
    kept(chromium, "evaluation")
    quiet(chromium, page)
