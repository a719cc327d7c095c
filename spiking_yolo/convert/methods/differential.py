"""Differential (sigma-delta) coding: layers send the changes of their activation, and fall silent when it has settled.

Known from sigma-delta networks (O'Connor and Welling 2017) and from differential coding in conversion; here for
detectors. Image and bias enter once. Every layer keeps x, the sum of the currents received, and y, what it has sent:
n = clip(round((phi(x) - y) / delta), -gamma, gamma); y += n * delta. The head's potential is the output, not divided by
t. It settles on the network quantised with step delta, and the operations stop growing with T.
delta = MMSE threshold / levels, per channel. On a network trained with QCFS of L levels (tools/train.py --activation
qcfs) delta = cap / L settles on the ANN itself: --set threshold.rule=max, threshold.scale=0.125 for L = 8.
Needs: activation statistics, of both signs.
"""

from spiking_yolo.convert.registry import register
from spiking_yolo.recipe import Encoding, Neuron, Threshold

register(
    "differential",
    threshold=Threshold(rule="mmse", scope="channel", levels=16, scale=1 / 16),
    neuron=Neuron(kind="memory", gamma=4, initial=0.5),
    encoding=Encoding(coding="differential"),
    timesteps=4,
    year=2017,
    reference="after O'Connor and Welling, Sigma-Delta Quantized Networks, ICLR 2017",
    limits="spikes have a sign; its output is that of the network rounded to theta",
)
