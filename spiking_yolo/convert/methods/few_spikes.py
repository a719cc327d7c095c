"""Few-spikes coding: a value is complete in one step, as at most K spikes of its binary digits.

Stoeckl and Maass: Optimized spiking neurons can classify images with high accuracy through temporal coding with two
spikes, Nature Machine Intelligence 3, 2021. Spike k of K is worth alpha / 2^k; here K = 8 and alpha is the layer's
99.99th percentile, beyond which values are clipped. A step of ours is K sub-steps, layer after layer: L layers need
L * K on a chip. The output is that of the network with activations of 8 bits, and no step adds to it.
Published neurons round down; a potential of half a spike at the start rounds to the nearest, which makes this rival
better. Output error on 8 COCO train2017 photographs, and operations per MAC: .077 (1.68) rounded down, .032 (1.80) to
the nearest; with K = 7 (neuron.gamma=127, threshold.scale=0.0078125) .041 (1.41), with K = 6 .132 (1.04).
Needs: activation statistics.
"""

from spiking_yolo.convert.registry import register
from spiking_yolo.recipe import Encoding, Neuron, Threshold

register(
    "few-spikes",
    threshold=Threshold(rule="percentile", scope="layer", percentile=99.99, scale=1 / 256),
    neuron=Neuron(kind="few-spikes", gamma=255, initial=0.5),
    encoding=Encoding(coding="differential"),
    timesteps=1,
    year=2021,
    reference="Stoeckl and Maass, Nature Machine Intelligence 2021",
    limits="at most 8 spikes per value, each worth another power of two",
)
