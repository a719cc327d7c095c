"""Pages in a real browser: nothing fails, nothing is asked for, and the slider changes what is
seen.
"""

from pathlib import Path

import pytest
from helpers.chromium import NEEDS_BROWSER, Browser, browser
from helpers.tiny import run_tool

pytestmark = NEEDS_BROWSER


@pytest.fixture(scope="module")
def chromium():
    with browser() as one:
        yield one


def write_page(page: Path, weights: Path, *args: object) -> None:
    call = ("--page", page, "--weights", weights, "--project", page.parent, "--conf", 0.3)
    assert run_tool("detect", *args, *call) == 0


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
    write_page(page, weights, weights.parent / "photos", "--T", 4, "--method", "dcgs")
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
    assert shown != first["heat"]
    assert chromium.value("document.querySelector('.stage').classList.contains('heat')")
    chromium.press("Home")
    assert seen(chromium)["heat"] != shown
    chromium.press(" ")
    assert chromium.value("document.querySelector('.play').getAttribute('aria-label')") == "Pause"
    chromium.value("document.querySelectorAll('.film button')[1].click()")
    assert "b.png" in chromium.value("document.querySelector('.stage img').alt")
    quiet(chromium, page)
