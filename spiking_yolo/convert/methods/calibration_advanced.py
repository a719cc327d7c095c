"""Calibration, advanced: MMSE thresholds and a correction of the initial potential.

Li, Deng, Dong, Gong, Gu: A free lunch from ANN, ICML 2021, Eq. 17: initial potential += T * mean(ANN - SNN), layer
after layer; in the release per neuron, here per channel, since a value per neuron belongs to images of one layout.
Half a threshold at the start instead of the release's theta / 2T in every step: the same error (.16 and .15 at T = 32),
for a sixth fewer operations (docs/msat.md). Otherwise as calibration-light.
Needs: the network run on calibration images.
"""

from spiking_yolo.convert.registry import register
from spiking_yolo.recipe import Calibration, Neuron, Threshold

register(
    "calibration-advanced",
    threshold=Threshold(rule="mmse", scope="layer", levels=32),
    neuron=Neuron(kind="if", reset="subtract", gamma=1, initial=0.5),
    calibration=Calibration(kind="advanced", T=32),
    timesteps=64,
    year=2021,
    reference="Li et al., A free lunch from ANN, ICML 2021",
    limits="corrected for one T (--set calibration.T)",
)
