"""Few-spikes neurons: a value as its binary digits (Stoeckl and Maass, Nature Machine Intelligence 2021)."""

import torch
from torch import Tensor

from spiking_yolo.snn import step as F
from spiking_yolo.snn.digits import count_binary_digits
from spiking_yolo.snn.neurons.kinds import register
from spiking_yolo.snn.neurons.signed_memory import MemoryState, SignedMemory
from spiking_yolo.snn.state import Buffers, Clock, Parameters


@register("few-spikes", follows=("slope", "cap"))
class FewSpikes(SignedMemory):
    """n = clip(floor(phi(S) / theta), 0, gamma), gamma = 2^K - 1, sent complete in one step as its binary digits.

    The FS neuron with T(k) = h(k) = d(k) = alpha 2^-k, k = 1..K (section "Design of FS-neurons", ReLU), and theta =
    alpha / 2^K: K sub-steps, in each of which it fires if alpha 2^-k is still to be sent. Layers follow one another, so
    what arrives is complete too, and nothing is left for a second step. On leaky ReLU an ON/OFF pair would share the
    work, of which one is silent, the input being complete: so it is one neuron here, whose spikes have a sign.
    """

    @staticmethod
    def digits(n: Tensor) -> Tensor:
        """Ones in base two, which has no signs of its own."""
        return count_binary_digits(n)

    def step(self, s: MemoryState, p: Parameters, z: Tensor | None, clock: Clock, buffers: Buffers) -> Tensor:
        phi = F.unsent(self.total(s, z), 0.0, p.theta, self.slope, buffers.a, p.cap)
        value = torch.abs(phi).add_(p.initial).floor_().clamp_(max=self.settings.gamma).mul_(phi.sign())
        out = torch.sub(value, s.sent, out=buffers.out)
        s.tally(out.abs(), self.digits)
        s.sent.copy_(value)
        return out
