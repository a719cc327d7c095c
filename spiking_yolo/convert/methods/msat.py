"""MSAT: the multi-stage adaptive threshold, the draft paper's method.

Section 4.2, Eq. 14 to 17, as the released code computes them (snn/msat.py has the rule and where it departs from the
draft): the threshold of every neuron tracks its membrane potential (DTT) and is lowered by a rising input (DET);
Theta is the layer's maximum; a spike is worth theta(t), so it is graded.

The rule works at one scale only. Its gain k, which stands for Theta in it, is what this method is free in: of 1, 1.5,
..., 4 the smallest that comes within 3 % of the smallest error of the output after --set calibration.T steps on the
calibration images. With --set msat.gain=1 a neuron starts at .67 of Theta, too late for most; with 3 at .21. --set
msat.units=raw --set msat.gain=1 is the paper's, which fails on layers whose maximum is far from 1 to 4.

The released code's spike confidence, of which the draft says nothing, keeps spikes of the first 16 steps with a
probability that is measured on the calibration images: --set msat.confidence=after in every layer, and with --set
msat.unsure=last in the last ones only, as in the authors' files. It is off: on photographs it raises the error by 70 %
at T = 16, and by 40 to 50 % at T = 32 and 64. Until gains came, this method was --set msat.gain=1 --set
msat.confidence=after.
Ablation: --set msat.dtt=false, msat.det=false. Compare with fixed-fraction.
Needs: the network run on calibration images.
"""

from spiking_yolo.convert.registry import register
from spiking_yolo.recipe import Msat, Neuron, Threshold

register(
    "msat",
    threshold=Threshold(rule="max", scope="layer"),
    neuron=Neuron(kind="if", reset="subtract", gamma=1, initial=0.0),
    msat=Msat(enabled=True, gain=0),
    timesteps=64,
    year=2022,
    reference="MSAT draft paper, Eq. 14-17",
    limits="graded spikes; an exponential and a logarithm per neuron and step",
)
