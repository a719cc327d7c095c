"""Burst spikes: up to gamma spikes per timestep carry the residual potential away at once.

Li and Zeng: Efficient and accurate conversion of spiking neural network with burst spikes, IJCAI 2022. Eq. 8: n =
clip(floor(U / theta), 0, gamma), gamma = 5 here. Its max pooling by lateral inhibition is the exact cumulative pooling
of snn/pooling.py. Needs: activation statistics.

theta is the layer's 99.9th percentile shared among the gamma spikes of a step, so that a burst at its longest is worth
the percentile. The two releases come near to that, in units of the network's activations:

* Conversion_Burst, `--set threshold.rule=divided`: the 99.9th percentile of all values, those above 1 divided by gamma
  (there in place, at every module, so that divisions add up along the network; here once, at the layer).
* BrainCog, `--set threshold.rule=clamped --set threshold.percentile=99`: activations clamped at gamma.

`--set threshold.rule=percentile` does not divide: bursts then clear debts only.
"""

from spiking_yolo.convert.registry import register
from spiking_yolo.recipe import Neuron, Threshold

register(
    "burst",
    threshold=Threshold(rule="shared", scope="layer", percentile=99.9),
    neuron=Neuron(kind="if", reset="subtract", gamma=5, initial=0.0),
    timesteps=16,
    year=2022,
    reference="Li and Zeng, burst spikes, IJCAI 2022",
    limits="a burst of n costs n spikes",
)
