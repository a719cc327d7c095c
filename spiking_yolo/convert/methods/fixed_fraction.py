"""Fixed fraction: theta = c * maximum of the layer, the control that MSAT must be compared with.

One c for all layers, of 0.1, 0.2, ..., 1.0 the one with the smallest error of the network's output after T steps on the
calibration images. MSAT lowers thresholds that are far above the usual activation; so does a constant.
Needs: the network run on calibration images.
"""

from spiking_yolo.convert.registry import register
from spiking_yolo.recipe import Calibration, Neuron, Threshold

register(
    "fixed-fraction",
    threshold=Threshold(rule="max", scope="layer"),
    neuron=Neuron(kind="if", reset="subtract", gamma=1, initial=0.0),
    calibration=Calibration(kind="fraction", T=32),
    timesteps=256,
    year=2026,
    reference="this project, the control of MSAT",
    limits="c is chosen for one T (--set calibration.T)",
)
