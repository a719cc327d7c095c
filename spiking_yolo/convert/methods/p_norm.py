"""p-Norm: one threshold per layer, a high percentile of its activations.

Rueckauer, Lungu, Hu, Pfeiffer, Liu: Conversion of continuous-valued deep networks to efficient event-driven networks
for image classification, Frontiers in Neuroscience 2017. Section 2.2.2: lambda = the p-th percentile of the non-zero
activations, p = 99.9, weights scaled by lambda_in / lambda_out; Eq. 4: reset by subtraction; U(0) = 0. (SpikingJelly's
converter counts zeros too, so that its 99.9 % lies lower in a layer with few active neurons.)
Needs: activation statistics.
"""

from spiking_yolo.convert.registry import register
from spiking_yolo.recipe import Neuron, Threshold

register(
    "p-norm",
    threshold=Threshold(rule="percentile", scope="layer", percentile=99.9),
    neuron=Neuron(kind="if", reset="subtract", gamma=1, initial=0.0),
    timesteps=128,
    year=2017,
    reference="Rueckauer et al., Frontiers in Neuroscience 2017",
    limits="slow where a layer's activations differ much in size",
)
