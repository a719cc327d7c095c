"""MSAT: the multi-stage adaptive threshold, the draft paper's method.

Section 4.2, Eq. 14 to 17, as the released code computes them (snn/msat.py has the rule and where it departs from the
draft): the threshold of every neuron tracks its membrane potential (DTT) and is lowered by a rising input (DET);
Theta is the layer's maximum; a spike is worth theta(t), so it is graded. Spikes of the first 16 steps are kept with the
layer's spike confidence, which is measured on the calibration images. Units are normalised by Theta: in raw units the
rule fails on layers whose maximum is far from 1 (--set msat.units=raw reproduces the paper).
Ablation: --set msat.dtt=false, msat.det=false, msat.confidence=off. Compare with fixed-fraction.
Needs: the network run on calibration images (for the confidence only).
"""

from spiking_yolo.convert.registry import register
from spiking_yolo.recipe import Msat, Neuron, Threshold

register(
    "msat",
    threshold=Threshold(rule="max", scope="layer"),
    neuron=Neuron(kind="if", reset="subtract", gamma=1, initial=0.0),
    msat=Msat(enabled=True, confidence="after"),
    year=2022,
    reference="MSAT draft paper, Eq. 14-17",
    limits="graded spikes; an exponential and a logarithm per neuron and step",
)
