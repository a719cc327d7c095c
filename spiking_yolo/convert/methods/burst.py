"""Burst spikes: up to gamma spikes per timestep carry the residual potential away at once.

Li and Zeng: Efficient and accurate conversion of spiking neural network with burst spikes, IJCAI 2022. Eq. 8: n =
clip(floor(U / theta), 0, gamma), gamma = 5 here; threshold at the 99.9th percentile of the layer. Its max pooling by
lateral inhibition is the exact cumulative pooling of snn/pooling.py. Needs: activation statistics.
"""

from spiking_yolo.convert.registry import register
from spiking_yolo.recipe import Neuron, Threshold

register(
    "burst",
    threshold=Threshold(rule="percentile", scope="layer", percentile=99.9),
    neuron=Neuron(kind="if", reset="subtract", gamma=5, initial=0.0),
    year=2022,
    reference="Li and Zeng, burst spikes, IJCAI 2022",
    limits="a burst of n costs n spikes",
)
