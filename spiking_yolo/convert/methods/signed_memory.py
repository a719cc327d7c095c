"""Signed neuron with memory, rate coding.

After Wang et al. 2022 (signed neuron with memory, for ReLU): a negative spike may take back what was wrongly sent.
Generalised to (leaky) ReLU and to gamma spikes per step: with S the sum of the input and m the net spikes sent,
n = clip(round(phi(S) / theta) - m, -gamma, gamma). What was sent follows phi of the summed input, whatever the order of
arrival; quantisation, clipping and slew remain.
Needs: activation statistics, of both signs.
"""

from spiking_yolo.convert.registry import register
from spiking_yolo.recipe import Neuron, Threshold

register(
    "signed-memory",
    threshold=Threshold(rule="percentile", scope="channel", percentile=99.9, scale=0.25),
    neuron=Neuron(kind="memory", gamma=4, initial=0.5),
    timesteps=8,
    year=2022,
    reference="after Wang et al., signed neuron with memory, IJCAI 2022",
    limits="spikes have a sign; operations grow with T",
)
