"""Opt.: the layer's maximum as threshold, and half a threshold added over the run.

Deng and Gu: Optimal conversion of conventional artificial neural networks to spiking neural networks, ICLR 2021.
Theorem 2: shifting the current by theta / (2 T) each step turns the flooring of the rate into rounding at t = T; T is
--set neuron.shift and does not follow --T. The paper trains with a clipped ReLU whose cap becomes the threshold; here
it is applied to trained networks as they are, where the maximum of the activations takes the cap's place.
Needs: activation statistics.
"""

from ...recipe import Neuron, Recipe, Threshold
from ..registry import register

RECIPE = register(
    Recipe(
        "opt",
        threshold=Threshold(rule="max", scope="layer"),
        neuron=Neuron(kind="if", reset="subtract", gamma=1, initial=0.0, shift=32),
    ),
    year=2021,
    reference="Deng and Gu, ICLR 2021",
    limits="better with clipped-ReLU training and average pooling",
)
