"""Few-spikes neurons: a value as its binary digits (Stoeckl and Maass, Nature Machine Intelligence 2021)."""

import torch
from torch import Tensor

from spiking_yolo.snn import step as F
from spiking_yolo.snn.neurons.layer import register
from spiking_yolo.snn.neurons.signed_memory import MemoryState, SignedMemory
from spiking_yolo.snn.state import Buffers, Clock, Parameters


def binary_digits(n: Tensor) -> Tensor:
    """How many ones whole numbers 0 <= n < 2^18 have in base two, in their dtype."""
    whole = n.to(torch.int32)
    ones = torch.zeros_like(whole)
    for k in range(18):
        ones += (whole >> k) & 1
    return ones.to(n)


@register("few-spikes", follows=("slope", "cap"))
class FewSpikes(SignedMemory):
    """n = clip(floor(phi(S) / theta), 0, gamma), gamma = 2^K - 1, sent complete in one step as its binary digits.

    The FS neuron with T(k) = h(k) = d(k) = alpha 2^-k, k = 1..K (section "Design of FS-neurons", ReLU), and theta =
    alpha / 2^K: K sub-steps, in each of which it fires if alpha 2^-k is still to be sent. Layers follow one another, so
    what arrives is complete too, and nothing is left for a second step. On leaky ReLU an ON/OFF pair would share the
    work, of which one is silent, the input being complete: so it is one neuron here, whose spikes have a sign.
    """

    @staticmethod
    def tally(s: MemoryState, n: Tensor) -> None:
        """Count what is sent, n >= 0 thetas: the digits are those of base two, without signs of their own."""
        s.count.add_(n)
        if s.digits is not None and s.messages is not None:
            s.digits.add_(binary_digits(n))
            s.messages.add_(n != 0)

    def step(self, s: MemoryState, p: Parameters, z: Tensor | None, clock: Clock, buffers: Buffers) -> Tensor:
        phi = F.unsent(self.total(s, z), 0.0, p.theta, self.slope, buffers.a, p.cap)
        value = torch.abs(phi).add_(p.initial).floor_().clamp_(max=self.settings.gamma).mul_(phi.sign())
        out = torch.sub(value, s.sent, out=buffers.out)
        self.tally(s, out.abs())
        s.sent.copy_(value)
        return out
