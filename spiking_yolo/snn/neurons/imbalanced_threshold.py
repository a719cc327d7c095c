"""The neuron of Spiking-YOLO, for leaky ReLU."""

import torch
from torch import Tensor

from spiking_yolo.snn import step as F
from spiking_yolo.snn.neurons.layer import NeuronLayer
from spiking_yolo.snn.state import Buffers, Clock, Parameters, PotentialState


class ImbalancedThreshold(NeuronLayer):
    """IBT neuron of Spiking-YOLO for leaky ReLU (Kim 2020, section 4.2)."""

    def step(self, s: PotentialState, p: Parameters, z: Tensor | None, clock: Clock, buffers: Buffers) -> Tensor:
        assert z is not None  # rate coding: there is a current in every step
        out = F.imbalanced_threshold(s.potential, z, p.theta, self.slope, self.settings.gamma, buffers.out)
        s.tally(torch.abs(out, out=buffers.a))
        return out
