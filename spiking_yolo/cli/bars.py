"""The progress of a study as a bar on a terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def bar(unit: str, shown: bool = True, patience: float = 0.0) -> Iterator[Callable[[str, int, int | None], None]]:
    """A study's progress(text, done, total). A second part, such as the next method, starts from its own beginning.

    patience: seconds that a part must take to be shown; then nothing of it is left on the screen.
    """
    from tqdm import tqdm

    with tqdm(unit=unit, delay=patience, leave=not patience, disable=None if shown else True) as bar:

        def progress(text: str, done: int, total: int | None) -> None:
            if bar.total != total or done < bar.n:
                bar.reset(total)
                bar.initial = bar.n = done
            bar.set_description_str(text, refresh=False)
            bar.update(done - bar.n)

        yield progress
