"""Results in cells of a notebook: a picture, a slider over the timesteps, a grid of pictures."""

import html
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from spiking_yolo.decode.boxes import Detections
from spiking_yolo.draw.boxes import draw_detections
from spiking_yolo.draw.page import (
    HTML,
    Page,
    box_rows,
    class_ids,
    data_uri,
    jpeg,
    legend,
    photograph,
)

# Longer sides in pixels, and quality of the JPEGs.
CELL_SIDE, TILE_SIDE, QUALITY = 1280, 480, 85
# Characters of the photograph below the slider.
BUDGET = 400_000
# Pictures of a grid.
MOST_TILES = 60
# Where a notebook is not trusted, frames are left out of its cells and only the picture stays.
_FRAME = """<iframe srcdoc="{page}" title="{title}" style="width: 100%; height: 40rem; border: 0"
onload="this.previousElementSibling.remove();
this.style.height = this.contentDocument.documentElement.scrollHeight + 'px'"></iframe>"""
_GRID = "display: grid; gap: .75rem; grid-template-columns: repeat(auto-fill, minmax(15rem, 1fr))"


def figure_html(pixels: np.ndarray, caption: str, side: int = CELL_SIDE) -> str:
    """A picture, uint8 RGB [H, W, 3], with a line below it."""
    uri = data_uri(jpeg(pixels, side, QUALITY), "jpeg")
    text = html.escape(caption)
    return (
        f'<figure style="margin: 0"><img src="{uri}" alt="{text}" style="max-width: 100%">'
        f"<figcaption>{text}</figcaption></figure>"
    )


def slider_html(
    image: np.ndarray,
    steps: Mapping[int, Detections],
    names: Sequence[str],
    title: str,
    summary: str,
) -> str:
    """The slider of a report over the recorded timesteps of one image.

    Args:
        image: uint8 RGB [H, W, 3].
        steps: t -> boxes after t timesteps, in pixels of the image.
        names: Of the classes, by id.
        title: A heading.
        summary: A line below it.
    """
    times = sorted(steps)
    last = steps[times[-1]]
    height, width = image.shape[:2]
    data = {
        "width": width,
        "height": height,
        "image": photograph(image, BUDGET),
        "steps": times,
        "boxes": [box_rows(steps[t]) for t in times],
        "classes": legend(class_ids(steps.values()), names),
        "summary": summary,
    }
    page = Page(title, data, [HTML / "result.js"]).text()
    frame = _FRAME.format(page=html.escape(page), title=html.escape(title))
    return figure_html(draw_detections(image, last, names), summary, TILE_SIDE) + frame


def grid_html(tiles: Sequence[tuple[np.ndarray, str]], more: int) -> str:
    """Pictures, each uint8 RGB with a caption, in columns. more: how many are left out."""
    figures = [figure_html(pixels, caption, TILE_SIDE) for pixels, caption in tiles]
    rest = f"<p>and {more} more</p>" if more else ""
    return f'<div style="{_GRID}">{"".join(figures)}</div>{rest}'


def display_inline(value: Any) -> bool:
    """Display an object below the cell that is running; returns whether there is a notebook."""
    ipython = sys.modules.get("IPython")
    shell = ipython and ipython.get_ipython()
    # A shell in a terminal has no kernel.
    if not hasattr(shell, "kernel"):
        return False
    from IPython.display import display

    display(value)
    return True
