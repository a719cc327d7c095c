"""MSAT-tuned: MSAT whose neurons start half way to their first threshold.

As msat, with its gain from the calibration images, and a potential of a tenth of Theta at the start. That is half of
the .2 Theta at which thresholds start with a gain of 3, and turns the flooring of a rate into rounding; half of Theta,
as the methods with a fixed threshold have it, would let every neuron fire in the second step.
Chosen on training images; docs/msat.md has what helped and what did not.
Needs: the network run on calibration images.
"""

from spiking_yolo.convert.registry import register
from spiking_yolo.recipe import Msat, Neuron, Threshold

register(
    "msat-tuned",
    threshold=Threshold(rule="max", scope="layer"),
    neuron=Neuron(kind="if", reset="subtract", gamma=1, initial=0.1),
    msat=Msat(enabled=True, gain=0),
    year=2026,
    reference="this project, after the MSAT draft paper",
    limits="graded spikes; an exponential and a logarithm per neuron and step",
)
