"""Signed digits: every neuron sends its complete value in one step, as few events +-2^k theta as there can be.

MSAT taken at its word: a threshold in stages theta 2^k; the stage follows the potential, and what is sent is subtracted
(snn/digits.py, docs/msat.md). Differential coding carries it: what a layer has sent needs no correction, so the network
is settled after the first step. A neuron of b bits sends b / 3 events on average and (b + 1) / 2 at most, one after the
other on a chip that sends an event at a time.
theta starts from the sensitivity of the output (convert/sensitivity.py); theta, initial potential, a bias and a value
at rest per channel are then trained on photographs without labels (convert/descent.py) for the operations asked for, at
which the network takes fewer operations than the ANN has multiply-accumulates. Weights stay as they are. A channel at
rest sends nothing, and the next layer knows its value as it knows a bias.
Chosen on COCO train2017 photographs; docs/results.md has each idea with its figure. Needs: activation statistics, and a
calibration file (`calibrate --method signed-digits`).
"""

from spiking_yolo.convert.registry import register
from spiking_yolo.recipe import MOST, Calibration, Encoding, Neuron, Threshold

register(
    "signed-digits",
    threshold=Threshold(rule="sensitivity"),
    neuron=Neuron(kind="memory", events="digits", gamma=MOST, initial=0.5, slack=0.15, hysteresis=0.35),
    calibration=Calibration(kind="trained", operations=0.7, steps=320),
    encoding=Encoding(coding="differential"),
    timesteps=1,
    year=2026,
    reference="this project, after the MSAT draft paper",
    limits="spikes have a sign, and a value (a power of two)",
)
