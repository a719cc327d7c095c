"""One file per method: a recipe, with the paper, the equation and what it needs.

The order of the imports is the order of every list of methods.
"""

# ruff: noqa: F401, I001
from spiking_yolo.convert.methods import p_norm, channel_norm, spike_norm, rmp, tsc, opt
from spiking_yolo.convert.methods import calibration_light, calibration_advanced, burst
from spiking_yolo.convert.methods import msat, msat_tuned, msat_plus, fixed_fraction
from spiking_yolo.convert.methods import signed_memory, differential, coarse_to_fine, signed_digits, few_spikes, dcgs
