"""Spiking neurons: a family of kinds per file, and the layer that they share.

Every file here is imported, so that a new kind can be a new file.
"""

from importlib import import_module
from pkgutil import iter_modules

from spiking_yolo.snn.neurons.build import build_neurons, register
from spiking_yolo.snn.neurons.integrate_and_fire import ImbalancedThreshold, IntegrateAndFire
from spiking_yolo.snn.neurons.layer import Clock, NeuronLayer
from spiking_yolo.snn.neurons.msat import MsatIntegrateAndFire
from spiking_yolo.snn.neurons.on_off import ConstantOnOff, OnOff
from spiking_yolo.snn.neurons.sigma_delta import SigmaDelta

__all__ = [
    "Clock",
    "ConstantOnOff",
    "ImbalancedThreshold",
    "IntegrateAndFire",
    "MsatIntegrateAndFire",
    "NeuronLayer",
    "OnOff",
    "SigmaDelta",
    "build_neurons",
    "register",
]

for _module in iter_modules(__path__, f"{__name__}."):
    import_module(_module.name)
