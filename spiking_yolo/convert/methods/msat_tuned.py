"""MSAT-tuned: MSAT whose neurons start half way to their first threshold, and send bursts.

As msat, with its gain from the calibration images, and two changes that help on detectors and classifiers alike. A
potential of a tenth of Theta at the start is half of the .2 Theta at which thresholds start with a gain of 3, and turns
the flooring of a rate into rounding; half of Theta, as the methods with a fixed threshold have it, would let every
neuron fire in the second step. Up to five spikes of theta(t) in a step clear the debts of the first steps.
Chosen on training images, where it errs by a tenth (VGG16) to a half (Tiny-YOLOv3) of what msat does at equal T, for
one and a half to more than twice the operations; docs/msat.md has what helped, what did not, and its controls.
Needs: the network run on calibration images.
"""

from spiking_yolo.convert.registry import register
from spiking_yolo.recipe import Msat, Neuron, Threshold

register(
    "msat-tuned",
    threshold=Threshold(rule="max", scope="layer"),
    neuron=Neuron(kind="if", reset="subtract", gamma=5, initial=0.1),
    msat=Msat(enabled=True, gain=0),
    timesteps=16,
    year=2026,
    reference="this project, after the MSAT draft paper",
    limits="graded spikes in bursts; an exponential and a logarithm per neuron and step",
)
