"""Progress bars on stderr, for the callbacks of the studies: progress(text, done, total)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

Progress = Callable[[str, int, int], None]
IMAGES = "{desc}{percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} images [{rate_noinv_fmt}, {remaining} left]"


@contextmanager
def one_bar(title: str, unit: str) -> Iterator[Progress]:
    """One bar of a run, on a terminal; the text stands behind it."""
    from tqdm import tqdm

    with tqdm(desc=title, unit=unit, delay=1.0, disable=None) as bar:

        def progress(text: str, done: int, total: int) -> None:
            bar.total = total
            bar.set_postfix_str(text, refresh=False)
            bar.update(done - bar.n)

        yield progress


@contextmanager
def bar_per_text(titles: bool, shown: bool) -> Iterator[Progress]:
    """A bar of images for each text, such as the name of a method. titles: put the text in front."""
    from tqdm import tqdm

    bars: dict[str, tqdm] = {}

    def progress(text: str, done: int, total: int) -> None:
        if text not in bars:
            title = text if titles else None
            bars[text] = tqdm(desc=title, total=total, initial=done, bar_format=IMAGES, disable=not shown)
        bars[text].update(done - bars[text].n)
        if done == total:
            bars[text].close()

    try:
        yield progress
    finally:
        for bar in bars.values():
            bar.close()
