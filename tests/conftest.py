"""One thread per test process, as the networks are tiny and two processes share the machine; SPIKING_YOLO_TEST_THREADS
asks for another number, to show that no result depends on it."""

import os

import torch

torch.set_num_threads(int(os.environ.get("SPIKING_YOLO_TEST_THREADS", "1")))
