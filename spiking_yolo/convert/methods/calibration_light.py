"""Calibration, light: MMSE thresholds and a bias correction per channel.

Li, Deng, Dong, Gong, Gu: A free lunch from ANN, ICML 2021. Section 3: theta by grid search for the smallest mean
squared error of the rate with T levels (here from the histogram of all calibration images, where the paper averages
five batches); Eq. 15: bias -= mean(SNN rate - ANN activation) per channel, layer after layer. Half a threshold at the
start, where the release adds theta / 2T in every step: in error .27 for .30 at T = 32, for a sixth fewer operations
(docs/msat.md). The head's bias is corrected too. Needs: the network run on calibration images.
"""

from spiking_yolo.convert.registry import register
from spiking_yolo.recipe import Calibration, Neuron, Threshold

register(
    "calibration-light",
    threshold=Threshold(rule="mmse", scope="layer", levels=32),
    neuron=Neuron(kind="if", reset="subtract", gamma=1, initial=0.5),
    calibration=Calibration(kind="light", T=32),
    timesteps=128,
    year=2021,
    reference="Li et al., A free lunch from ANN, ICML 2021",
    limits="corrected for one T (--set calibration.T)",
)
