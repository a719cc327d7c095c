"""One thread per test process: the networks are tiny, and two processes share the machine."""

import torch

torch.set_num_threads(1)
