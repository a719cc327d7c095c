"""RMP: threshold balancing with the residual membrane potential kept.

Han, Srinivasan, Roy: RMP-SNN, CVPR 2020. Thresholds as Spike-Norm's, times beta <= 1 (here 0.8, a setting:
--set threshold.scale); Eq. 5: the threshold is subtracted at a spike, so the residual potential stays.
Needs: the network run on calibration images.
"""

from spiking_yolo.convert.registry import register
from spiking_yolo.recipe import Neuron, Threshold

register(
    "rmp",
    threshold=Threshold(rule="balance", scope="layer", scale=0.8),
    neuron=Neuron(kind="if", reset="subtract", gamma=1, initial=0.0),
    timesteps=None,
    year=2020,
    reference="Han et al., RMP-SNN, CVPR 2020",
    limits="slow: the largest current is far above the usual one",
)
