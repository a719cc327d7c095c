"""TSC: temporal switch coding, our reading.

Han and Roy: Deep spiking neural network, energy efficiency through time based coding, ECCV 2020. A run of consecutive
spikes is sent as two events, switch on (+) and switch off (-); the synapse integrates its weight while it is on. The
dynamics, and so the accuracy, are RMP's; the events are switches. No released code was found, and the paper claims
about two events per synapse and inference: this reading reaches that at high rates only. At low rates it costs *more*
than spikes do (an isolated spike is two switches); both counts are reported.
Needs: the network run on calibration images.
"""

from spiking_yolo.convert.registry import register
from spiking_yolo.recipe import Neuron, Threshold

register(
    "tsc",
    threshold=Threshold(rule="balance", scope="layer", scale=0.8),
    neuron=Neuron(kind="if", reset="subtract", gamma=1, initial=0.0, events="switches"),
    timesteps=None,
    year=2020,
    reference="Han and Roy, ECCV 2020 (our reading)",
    limits="at low rates more events than spikes",
)
