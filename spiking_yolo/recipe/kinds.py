"""The kinds of neurons: what `neuron.kind` can be, and what the rest of the package may rely on.

The layers themselves are in snn/neurons, whose `register` adds a new kind to this table; here is
what can be known without torch.
"""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Kind:
    """The properties of a kind of neuron.

    Attributes:
        doc: What it does, in a few words.
        signed: One neuron sends spikes of both signs. For leaky ReLU other kinds form a pair, whose
            OFF neuron has a threshold of its own.
        differential: Image and biases enter once, and a neuron remembers the net value that it has
            sent, which follows phi of the sum of its input in whatever order that arrives: it sends
            changes (sigma-delta neurons). It can stand behind its max pooling, and its threshold
            covers the activations of both signs. Other kinds work in rate coding: image and biases
            enter in every step.
        msat: Its threshold adapts by the rules of MSAT, so that its spikes are graded.
        events: "digits" if it sends the binary digits of its value whatever neuron.events says.
        carries: What an event carries besides its sign, for estimates of energy.
        follows: The activations other than ReLU that it can follow: "slope" (leaky ReLU), "cap"
            (ReLU6), "silu", "mish" and "softmax" (attention). Networks with others are refused.
        supports: The settings that it reads; others are refused: "gamma", "initial", "reset",
            "shift", "digits" and "schedule". "digits" is
            neuron.events=digits, "schedule" encoding.coarse (spikes that are worth
            clock.spike_weight thetas).
        plain: For ReLU it is integrate and fire as NIR defines it.
    """

    doc: str = ""
    signed: bool = False
    differential: bool = False
    msat: bool = False
    events: Literal["spikes", "digits"] = "spikes"
    carries: Literal["none", "power of two", "any"] = "none"
    follows: tuple[str, ...] = ()
    supports: tuple[str, ...] = ("gamma", "initial")
    plain: bool = False


KINDS: dict[str, Kind] = {
    "if": Kind(
        "integrate and fire, an ON/OFF pair on leaky ReLU",
        follows=("slope", "cap"),
        supports=("gamma", "initial", "reset", "shift"),
        plain=True,
    ),
    "ibt": Kind("signed, imbalanced threshold", signed=True, follows=("slope", "cap"), plain=True),
    "msat": Kind(
        "as if, with the threshold of MSAT",
        msat=True,
        follows=("slope", "cap"),
        supports=("gamma", "initial", "reset", "shift"),
    ),
    "sigma-delta": Kind(
        "sends changes of its activation",
        signed=True,
        differential=True,
        follows=("slope", "cap", "silu", "mish", "softmax"),
        supports=("gamma", "initial", "digits", "schedule"),
    ),
    "dcgs": Kind(
        "signed, one of 8 powers of two per step",
        signed=True,
        differential=True,
        carries="power of two",
        follows=("slope", "cap"),
        supports=(),
    ),
    "few-spikes": Kind(
        "binary digits of a value",
        signed=True,
        differential=True,
        events="digits",
        carries="power of two",
        follows=("slope", "cap"),
    ),
    "multi-level": Kind(
        "a value as one message",
        signed=True,
        differential=True,
        carries="any",
        follows=("slope", "cap"),
    ),
}
