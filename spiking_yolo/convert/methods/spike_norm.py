"""Spike-Norm: thresholds balanced layer by layer, with the layers before already spiking.

Sengupta, Ye, Wang, Liu, Roy: Going deeper in spiking neural networks, Frontiers in Neuroscience 2019. Algorithm 1:
theta of a layer = the largest input current that it receives while the earlier layers spike; Poisson input; the
membrane is reset to zero, so what exceeds the threshold is lost.
Needs: the network run on calibration images. The paper restricts training to networks without bias, without batch
norm and with average pooling; biases are then part of the current that is balanced, and a rate can be off by them.
"""

from spiking_yolo.convert.registry import register
from spiking_yolo.recipe import Encoding, Neuron, Threshold

register(
    "spike-norm",
    threshold=Threshold(rule="balance", scope="layer"),
    neuron=Neuron(kind="if", reset="zero", gamma=1, initial=0.0),
    encoding=Encoding(input="poisson"),
    timesteps=None,
    year=2019,
    reference="Sengupta et al., Frontiers in Neuroscience 2019",
    limits="made for networks without bias; reset to zero loses charge",
)
