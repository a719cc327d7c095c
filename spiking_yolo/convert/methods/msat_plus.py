"""MSAT-plus: MSAT's tracking threshold under differential coding, in stages that are powers of two.

The draft's DTT (Eq. 15 with its constants, tau_mp = 4) raises the threshold of a neuron whose potential is above its
mean. With differential coding that is what is wanted: while a neuron's input moves, its spikes are worth Theta or half
of it; once it has settled, Theta / 4. The stages make the events stop (a threshold that may take any value crosses the
potential again and again), and a spike's value a shift of bits. The settled network is that of a fixed threshold
Theta / 4, for a sixth fewer operations.
Theta is of the layer (.26 of the percentile), and the schedule of all neurons that of coarse-to-fine from its second
step on: spikes are worth 8, 4, 2, 1 theta. DET is off: it costs operations and gains nothing here.
Chosen on COCO train2017 photographs; docs/msat.md has what helped and what did not, docs/results.md the control.
Needs: activation statistics, of both signs.
"""

from spiking_yolo.convert.registry import register
from spiking_yolo.recipe import Encoding, Msat, Neuron, Threshold

register(
    "msat-plus",
    threshold=Threshold(rule="percentile", scope="layer", percentile=90.0, scale=0.26),
    neuron=Neuron(kind="memory", gamma=8, initial=0.5),
    msat=Msat(enabled=True, det=False, tau_mp=4.0, stages=2),
    encoding=Encoding(coding="differential", coarse=3, refine=8, refine_by=0.5),
    timesteps=4,
    year=2026,
    reference="this project, after the MSAT draft paper",
    limits="spikes have a sign, and a value (a power of two)",
)
