"""Opt.: the layer's maximum as threshold, and half a threshold added over the run.

Deng and Gu: Optimal conversion of conventional artificial neural networks to spiking neural networks, ICLR 2021.
Theorem 2: shifting the current by theta / (2 T) each step turns the flooring of the rate into rounding at t = T; T is
--set neuron.shift and does not follow --T. The paper trains with a clipped ReLU whose cap becomes the threshold
(tools/train.py --activation clip); in networks without one the maximum of the activations takes the cap's place.
On a network trained with --activation qcfs, --set neuron.shift=0 --set neuron.initial=0.5 is the conversion of Bu et
al., Optimal ANN-SNN conversion for high-accuracy and ultra-low-latency spiking neural networks, ICLR 2022.
In the released code the last layer fires too; here, as in every method, the head only integrates.
Needs: activation statistics.
"""

from spiking_yolo.convert.registry import register
from spiking_yolo.recipe import Neuron, Threshold

register(
    "opt",
    threshold=Threshold(rule="max", scope="layer"),
    neuron=Neuron(kind="if", reset="subtract", gamma=1, initial=0.0, shift=32),
    timesteps=256,
    year=2021,
    reference="Deng and Gu, ICLR 2021",
    limits="better with clipped-ReLU training and average pooling",
)
