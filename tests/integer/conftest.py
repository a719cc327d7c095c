"""The library in C for each set of instructions that this processor has."""

from collections.abc import Iterator

import pytest

from spiking_yolo.integer import library


@pytest.fixture(params=library.LEVELS)
def level(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    if request.param not in library.usable_levels() or library.library() is None:
        pytest.skip("not of this processor, or not built")
    monkeypatch.setenv("SPIKING_YOLO_KERNELS", request.param)
    caches = library.library.cache_clear, library.block_sizes.cache_clear
    for clear in caches:
        clear()
    yield request.param
    for clear in caches:
        clear()
