"""One thread per test process, as the networks are tiny and two processes share the machine;
SPIKING_YOLO_TEST_THREADS asks for another number, to show that no result depends on it. No deadline
for an example of Hypothesis: a busy machine is no failure. There are few examples, as each run draws
others; `--hypothesis-profile=many` draws 400 of each and, with `-s`, prints them. The calibrations
of whoever runs the tests are not looked at.
"""

import os
import tempfile

import hypothesis
import torch

_CACHE = tempfile.TemporaryDirectory(prefix="spiking-yolo-tests-")
os.environ["SPIKING_YOLO_CACHE"] = _CACHE.name
torch.set_num_threads(int(os.environ.get("SPIKING_YOLO_TEST_THREADS", "1")))
few = hypothesis.settings(deadline=None, max_examples=25)
hypothesis.settings.register_profile("few", few)
loud = hypothesis.Verbosity.verbose
hypothesis.settings.register_profile("many", few, max_examples=400, verbosity=loud)
hypothesis.settings.load_profile("few")
