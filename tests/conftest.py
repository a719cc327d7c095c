"""One thread per test process, as the networks are tiny and two processes share the machine;
SPIKING_YOLO_TEST_THREADS asks for another number, to show that no result depends on it. No deadline
for an example of Hypothesis: a busy machine is no failure. There are few examples, as each run draws
others; `--hypothesis-profile=many` draws 400 of each and, with `-s`, prints them. The calibrations
of whoever runs the tests are not looked at.
"""

import os
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest
import torch

_CACHE = tempfile.TemporaryDirectory(prefix="spiking-yolo-tests-")
os.environ["SPIKING_YOLO_CACHE"] = _CACHE.name
torch.set_num_threads(int(os.environ.get("SPIKING_YOLO_TEST_THREADS", "1")))
few = hypothesis.settings(deadline=None, max_examples=25)
hypothesis.settings.register_profile("few", few)
loud = hypothesis.Verbosity.verbose
hypothesis.settings.register_profile("many", few, max_examples=400, verbosity=loud)
hypothesis.settings.load_profile("few")


@pytest.fixture(autouse=True)
def every_thread_ends() -> Iterator[None]:
    """A thread for which Python waits at its end would hold up the process of the tests."""
    before = {*threading.enumerate()}
    yield
    started = [t for t in threading.enumerate() if t not in before and not t.daemon]
    for thread in started:
        thread.join(timeout=10)
    assert not [thread.name for thread in started if thread.is_alive()]


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny detector with its calibration, in a folder of its own with two photographs."""
    # The package comes after the environment above.
    from helpers.tiny import write_tiny

    return write_tiny(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def photo(weights: Path) -> Path:
    return weights.parent / "photos" / "a.png"
