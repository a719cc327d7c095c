"""Channel-Norm with the imbalanced-threshold neuron: Spiking-YOLO.

Kim, Park, Na, Yoon: Spiking-YOLO, AAAI 2020. Equation 6: weights are normalised per channel by the largest activation,
here the 99.9th percentile of the positive values. Section 4.2: for leaky ReLU with slope alpha a neuron fires +1 at
U >= theta and -1 at U <= -theta / alpha, and loses the threshold that it crossed.
Needs: activation statistics. The negative side needs a drive of theta / alpha before its first spike, which is why the
published detector runs for thousands of timesteps.
"""

from spiking_yolo.convert.registry import register
from spiking_yolo.recipe import Neuron, Threshold

register(
    "channel-norm",
    threshold=Threshold(rule="percentile", scope="channel", percentile=99.9),
    neuron=Neuron(kind="ibt", gamma=1, initial=0.0),
    timesteps=128,
    year=2020,
    reference="Kim et al., Spiking-YOLO, AAAI 2020",
    limits="slow on leaky ReLU: the published detector needs thousands of timesteps",
)
