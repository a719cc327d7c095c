"""Spiking neurons: a family of kinds per file, and the layer that they share."""

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
