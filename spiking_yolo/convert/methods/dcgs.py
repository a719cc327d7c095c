"""DCGS: one spike per neuron and step, of eight sizes, differential in the rate.

Huang et al.: Differential coding for training-free ANN-to-SNN conversion, ICML 2025. Thresholds are theta / 2^k, k =
0..7; a spike of step t corrects the running mean by its t-th part, so that the error falls with 1 / t. The rule is that
of the authors' code (snn/neurons/dcgs.py). theta is the 99.9th percentile of the channel. They report T = 4 and 8, and
count every spike as one operation, whatever its size. Their networks have ReLU; what leaky ReLU does is ours. Neurons
stand behind their max pooling, as in all methods that follow sums, which makes this rival cheaper.
Needs: activation statistics.
"""

from spiking_yolo.convert.registry import register
from spiking_yolo.recipe import Encoding, Neuron, Threshold

register(
    "dcgs",
    threshold=Threshold(rule="percentile", scope="channel", percentile=99.9),
    neuron=Neuron(kind="dcgs"),
    encoding=Encoding(coding="differential"),
    timesteps=1,
    year=2025,
    reference="Huang et al., ICML 2025",
    limits="spikes have a sign, and a value (a power of two)",
)
