"""The energy proxy: operations times what an operation costs, in pJ. Plain numbers in, plain numbers out.

Costs are those of 32-bit floating point at 45 nm (Horowitz, ISSCC 2014): 3.7 pJ a multiplication, 0.9 pJ an addition.
Memory traffic, which dominates real chips, is not in it, for either network.
"""

from dataclasses import dataclass
from typing import Literal

from spiking_yolo.recipe import Recipe

PJ_PER_MJ = 1e9
Value = Literal["none", "power of two", "any"]


@dataclass(frozen=True)
class EnergyCosts:
    """pJ of a multiply-accumulate, an accumulate, an exponential or logarithm, and a multiplication by a power of two.

    The last is an 8-bit integer addition to the exponent.
    """

    mac: float = 4.6
    ac: float = 0.9
    exp: float = 46.0
    shift: float = 0.03

    def quantised_mac(self, bits: int) -> float:
        """pJ of a multiply-accumulate with an activation of so many bits.

        An array multiplier grows with its operands' widths; without the multiplication an accumulate remains.
        """
        return self.ac + (self.mac - self.ac) * min(bits, 32) / 32

    def ann(self, macs: float) -> float:
        """mJ of one pass of the ANN."""
        return macs * self.mac / PJ_PER_MJ

    def quantised(self, macs: float, bits: int) -> float:
        """mJ of one pass of the ANN with quantised activations."""
        return macs * self.quantised_mac(bits) / PJ_PER_MJ


@dataclass(frozen=True)
class Work:
    """What a spiking network did for one image.

    operations: synaptic operations in t steps. analogue_macs: multiply-accumulates of layers that receive analogue
    values, once if cached, else t times as many. neurons: a twin counts as two. exponentials: per neuron and step.
    value: what a spike carries besides its sign: nothing, a power of two that each synaptic operation shifts by, or any
    value that it multiplies with.
    """

    t: float
    operations: float
    analogue_macs: float
    neurons: float
    value: Value = "none"
    exponentials: int = 0

    def optimistic(self, costs: EnergyCosts) -> float:
        """mJ when every spike is an accumulate and keeping membrane potentials is free."""
        return (self.analogue_macs * costs.mac + self.operations * costs.ac) / PJ_PER_MJ

    def conservative(self, costs: EnergyCosts) -> float:
        """mJ when graded spikes multiply and every neuron pays for its update in every step."""
        return (self.operations * self.per_operation(costs) + self.fixed(costs)) / PJ_PER_MJ

    def per_operation(self, costs: EnergyCosts) -> float:
        """pJ of a synaptic operation in the conservative account."""
        return {"none": costs.ac, "power of two": costs.ac + costs.shift, "any": costs.mac}[self.value]

    def fixed(self, costs: EnergyCosts) -> float:
        """pJ that the conservative account has whatever the spikes do."""
        update = costs.ac + self.exponentials * costs.exp
        return self.analogue_macs * costs.mac + self.neurons * self.t * update

    def break_even_operations(self, costs: EnergyCosts, budget: float, conservative: bool) -> float:
        """Synaptic operations below which the energy lies under `budget` mJ; negative when it never does."""
        if conservative:
            return (budget * PJ_PER_MJ - self.fixed(costs)) / self.per_operation(costs)
        return (budget * PJ_PER_MJ - self.analogue_macs * costs.mac) / costs.ac


def spike_value(recipe: Recipe) -> Value:
    """What the recipe's spikes carry: MSAT's threshold differs per neuron and step, in stages it is Theta / 2^k."""
    if not recipe.msat.enabled:
        return "none"
    return "power of two" if recipe.msat.stages else "any"


def exponentials(recipe: Recipe, silu: bool = False) -> int:
    """Exponentials and logarithms per neuron and step: ln(1 + exp) of Eq. 15, exp of Eq. 16, and the sigmoid.

    In stages DTT alone needs none: theta rises with U - mean(U), so comparing that with one constant per stage will do.
    silu: neurons compute SiLU of their potential, one more.
    """
    m = recipe.msat
    if not m.enabled or m.variant != "eq17" or not (m.dtt or m.det) or (m.stages and not m.det):
        return int(silu)
    return 2 * m.dtt + m.det * (1 + m.mu) + 1 + silu


def assumptions(costs: EnergyCosts) -> list[str]:
    """What the energy columns rest on, one line each."""
    return [
        f"energy: MAC {costs.mac:g} pJ, AC {costs.ac:g} pJ (32-bit float at 45 nm), without memory traffic",
        "b-bit activations: a MAC is AC + (MAC - AC) b/32; weights stay at 32 bits",
        "optimistic: a synaptic operation is an AC, layers with analogue input are MACs, membranes free",
        f"conservative: a neuron's step is an AC, a graded spike a MAC (a value of 2^k: an AC + {costs.shift:g} pJ),",
        f"an exponential or logarithm {costs.exp:g} pJ",
        "operations (SOP): events times the outputs they reach, cut at borders; a burst of n counts n",
    ]
