"""One thread per test process, as the networks are tiny and two processes share the machine;
SPIKING_YOLO_TEST_THREADS asks for another number, to show that no result depends on it. No deadline
for an example of Hypothesis: a busy machine is no failure. The calibrations of whoever runs the
tests are not looked at.
"""

import os
import tempfile

import hypothesis
import torch

_CACHE = tempfile.TemporaryDirectory(prefix="spiking-yolo-tests-")
os.environ["SPIKING_YOLO_CACHE"] = _CACHE.name
torch.set_num_threads(int(os.environ.get("SPIKING_YOLO_TEST_THREADS", "1")))
hypothesis.settings.register_profile("patient", deadline=None)
hypothesis.settings.load_profile("patient")
