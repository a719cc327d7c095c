"""Coarse to fine: differential coding whose spikes are coarse while the input moves and fine once it has settled.

A spike of the first step is worth 2^coarse thetas, of the next half of that, and so on down to one theta: a large
activation arrives in a few spikes, and the settled value is as fine as theta (the weighted spikes of Kim et al., Deep
neural networks with weighted spikes, Neurocomputing 2018, carried by differential coding). After step 8, and again
whenever t has doubled, theta itself is halved, so that the error keeps falling with T while the operations grow with
log T. All neurons follow one schedule: nothing is graded per neuron, and the weights are scaled by a constant.
theta = 90th percentile of the layer's positive activations times 0.1: a smaller error, at equal operations, than the
MMSE threshold's, which heavy tails make too coarse for the usual value, and than a theta per channel, which spends
many spikes on channels whose small values matter little to the next layer.
Chosen on COCO train2017 photographs; docs/results.md has the comparison. Needs: activation statistics, of both signs.
"""

from spiking_yolo.convert.registry import register
from spiking_yolo.recipe import Encoding, Neuron, Threshold

register(
    "coarse-to-fine",
    threshold=Threshold(rule="percentile", scope="layer", percentile=90.0, scale=0.1),
    neuron=Neuron(kind="memory", gamma=8, initial=0.5),
    encoding=Encoding(coding="differential", coarse=4, refine=8, refine_by=0.5),
    timesteps=4,
    year=2026,
    reference="this project",
    limits="spikes have a sign, and a value that depends on the timestep",
)
