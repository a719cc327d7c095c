"""The conversion methods: one table, with the paper, the equation and what each method needs.

The order of the functions is the order of every list of methods. A recipe is built and checked when
it is asked for.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from spiking_yolo.errors import UserError
from spiking_yolo.io.text import did_you_mean
from spiking_yolo.recipe import (
    MAX_GAMMA,
    UNTRAINED_OPERATIONS,
    Calibration,
    Encoding,
    Msat,
    Neuron,
    Readout,
    Recipe,
    Threshold,
)

DEFAULT = "signed-digits"
# Calibrations of the default method, and the settings in which each differs from it. Tuning trains
# for longer, on random crops, to imitate the ANN's outputs (distillation, Hinton et al., arXiv
# 1503.02531, 2015) by gradients through the rounding (straight-through, Bengio et al., arXiv
# 1308.3432, 2013); docs/results/tuning.md has figures.
# The neurons of `video` are trained on later frames of clips (docs/video.md); its operations and
# factor on theta were chosen on TUD-Campus and parts of three other clips. The dead zone is the
# default's: the 0.9 of the calibration that comes with Tiny-YOLOv3 ruins larger networks.
CALIBRATIONS: dict[str, dict[str, Any]] = {
    "default": {},
    "fine": {"calibration.operations": 0.9},
    "untrained": {"calibration.kind": "none", "calibration.operations": UNTRAINED_OPERATIONS},
    "tuned": {
        "calibration.kind": "tuned",
        "calibration.operations": 0.41,
        "calibration.steps": 1600,
    },
    "video": {
        "threshold.scale": 1.3,
        "calibration.kind": "tuned",
        "calibration.operations": 0.09,
        "calibration.steps": 600,
        "calibration.frames": 5,
    },
}
# Default timesteps of methods for which the table has no number: those that need more than were
# tried, and recipes of one's own.
UNKNOWN_TIMESTEPS = 64


@dataclass(frozen=True)
class Method:
    """A conversion method and where it comes from.

    Attributes:
        name: The name that --method takes.
        build: Makes its recipe.
        timesteps: With which Tiny-YOLOv3 has 85 % of the ANN's mAP50 on 206 COCO photographs or,
            if that takes more than 64, on 49 or 8 (docs/results); None: more than were tried.
        tried: The most timesteps that were tried; None: it was not measured.
        year: Year of its publication.
        limits: What it cannot convert, or what to know before using it.
    """

    name: str
    build: Callable[[], Recipe]
    timesteps: int | None
    tried: int | None
    year: int
    limits: str

    @property
    def needs(self) -> str:
        """The timesteps that it needs: "16", or "> 256" where so many were not enough, or "-"."""
        if self.timesteps is not None:
            return str(self.timesteps)
        return "-" if self.tried is None else f"> {self.tried}"

    @cached_property
    def recipe(self) -> Recipe:
        """Its settings, checked."""
        return self.build()


METHODS: dict[str, Method] = {}


def register(
    year: int, limits: str, timesteps: int | None = None, tried: int | None = None
) -> Callable[[Callable[[], Recipe]], Callable[[], Recipe]]:
    """Decorator: add a method with the recipe that the function returns; for the rest see Method.

    It is named as the function, with "-" for "_".
    """

    def add(build: Callable[[], Recipe]) -> Callable[[], Recipe]:
        name = build.__name__.replace("_", "-")
        METHODS[name] = Method(name, build, timesteps, tried, year, limits)
        return build

    return add


def list_methods() -> dict[str, Method]:
    """All methods by name, in the order of this file."""
    return dict(METHODS)


def get_recipe(method: str | Recipe, calibration: str | None = None) -> Recipe:
    """The recipe of a method by its name; a Recipe is itself.

    Args:
        method: Its name, "p-norm", or with a calibration's, "signed-digits:tuned".
        calibration: Name of the calibration, with the settings that CALIBRATIONS has for it.

    Raises:
        UserError: There is no such method.
    """
    if isinstance(method, Recipe):
        recipe = method
    else:
        name, _, of_method = method.partition(":")
        calibration = of_method or calibration
        if name not in METHODS:
            choices = f": choose from {', '.join(METHODS)}"
            raise UserError(f"unknown method {name!r}{did_you_mean(name, METHODS) or choices}")
        recipe = METHODS[name].recipe
    if calibration is None:
        return recipe
    settings: dict[str, Any] = {"calibration.name": calibration}
    if recipe.name == DEFAULT:
        settings |= CALIBRATIONS.get(calibration, {})
    return recipe.with_settings(settings)


def needed_timesteps(name: str) -> int:
    """Timesteps of a photograph by default: those that the method needs."""
    method = METHODS.get(name)
    return (method and method.timesteps) or UNKNOWN_TIMESTEPS


@register(2017, "slow where a layer's activations differ much in size", timesteps=64)
def p_norm() -> Recipe:
    """p-Norm: one threshold per layer, a high percentile of its activations.

    Rueckauer, Lungu, Hu, Pfeiffer, Liu: Conversion of continuous-valued deep networks to efficient
    event-driven networks for image classification, Frontiers in Neuroscience 2017. Section 2.2.2:
    lambda = the p-th percentile of the non-zero activations, p = 99.9, weights scaled by lambda_in
    / lambda_out; Eq. 4: reset by subtraction; U(0) = 0. (SpikingJelly's converter counts zeros too,
    so that its 99.9 % lies lower in a layer with few active neurons.) Needs: activation statistics.
    """
    return Recipe("p-norm", Threshold(rule="percentile", scope="layer", percentile=99.9))


@register(
    2020, "slow on leaky ReLU: the published detector needs thousands of timesteps", timesteps=128
)
def channel_norm() -> Recipe:
    """Channel-Norm with the imbalanced-threshold neuron: Spiking-YOLO.

    Kim, Park, Na, Yoon: Spiking-YOLO, AAAI 2020. Equation 6: weights are normalised per channel by
    the largest activation, here the 99.9th percentile of the positive values. Section 4.2: for
    leaky ReLU with slope alpha a neuron fires +1 at U >= theta and -1 at U <= -theta / alpha, and
    loses the threshold that it crossed. Needs: activation statistics. The negative side needs a
    drive of theta / alpha before its first spike, which is why the published detector runs for
    thousands of timesteps.
    """
    return Recipe("channel-norm", Threshold(rule="percentile", percentile=99.9), Neuron(kind="ibt"))


@register(2019, "made for networks without bias; reset to zero loses charge", tried=256)
def spike_norm() -> Recipe:
    """Spike-Norm: thresholds balanced layer by layer, with the layers before already spiking.

    Sengupta, Ye, Wang, Liu, Roy: Going deeper in spiking neural networks, Frontiers in Neuroscience
    2019. Algorithm 1: theta of a layer = the largest input current that it receives while the
    earlier layers spike; Poisson input; the membrane is reset to zero, so what exceeds the
    threshold is lost. Needs: the network run on calibration images. The paper restricts training to
    networks without bias, without batch norm and with average pooling; biases are then part of the
    current that is balanced, and a rate can be off by them.
    """
    threshold, encoding = Threshold(rule="balance", scope="layer"), Encoding(input="poisson")
    return Recipe("spike-norm", threshold, Neuron(reset="zero"), encoding=encoding)


@register(2020, "slow: the largest current is far above the usual one", tried=256)
def rmp() -> Recipe:
    """RMP: threshold balancing with the residual membrane potential kept.

    Han, Srinivasan, Roy: RMP-SNN, CVPR 2020. Thresholds as Spike-Norm's, times beta <= 1 (here 0.8,
    a setting: --set threshold.scale); Eq. 5: the threshold is subtracted at a spike, so the
    residual potential stays. Needs: the network run on calibration images.
    """
    return Recipe("rmp", Threshold(rule="balance", scope="layer", scale=0.8))


@register(2020, "at low rates more events than spikes", tried=256)
def tsc() -> Recipe:
    """TSC: temporal switch coding, our reading.

    Han and Roy: Deep spiking neural network, energy efficiency through time based coding, ECCV
    2020. A run of consecutive spikes is sent as two events, switch on (+) and switch off (-); the
    synapse integrates its weight while it is on. The dynamics, and so the accuracy, are RMP's; the
    events are switches. No released code was found, and the paper claims about two events per
    synapse and inference: this reading reaches that at high rates only. At low rates it costs
    *more* than spikes do (an isolated spike is two switches); both counts are reported. Needs: the
    network run on calibration images.
    """
    threshold = Threshold(rule="balance", scope="layer", scale=0.8)
    return Recipe("tsc", threshold, Neuron(events="switches"))


@register(2021, "better with clipped-ReLU training and average pooling", timesteps=256)
def opt() -> Recipe:
    """Opt.: the layer's maximum as threshold, and half a threshold added over the run.

    Deng and Gu: Optimal conversion of conventional artificial neural networks to spiking neural
    networks, ICLR 2021. Theorem 2: shifting the current by theta / (2 T) each step turns the
    flooring of the rate into rounding at t = T; T is --set neuron.shift and does not follow --T.
    The paper trains with a clipped ReLU whose cap becomes the threshold (tools/train.py
    --activation clip); in networks without one the maximum of the activations takes the cap's
    place. On a network trained with --activation qcfs, --set neuron.shift=0 --set
    neuron.initial=0.5 is the conversion of Bu et al., Optimal ANN-SNN conversion for high-accuracy
    and ultra-low-latency spiking neural networks, ICLR 2022. In the released code the last layer
    fires too; here, as in every method, the head only integrates. Needs: activation statistics.
    """
    return Recipe("opt", Threshold(rule="max", scope="layer"), Neuron(shift=32))


@register(2021, "corrected for one T (--set calibration.T)", timesteps=64)
def calibration_light() -> Recipe:
    """Calibration, light: MMSE thresholds and a bias correction per channel.

    Li, Deng, Dong, Gong, Gu: A free lunch from ANN, ICML 2021. Section 3: theta by grid search for
    the smallest mean squared error of the rate with T levels (here from the histogram of all
    calibration images, where the paper averages five batches); Eq. 15: bias -= mean(SNN rate - ANN
    activation) per channel, layer after layer. Half a threshold at the start, where the release
    adds theta / 2T in every step: in error .27 for .30 at T = 32, for a sixth fewer operations. The
    head's bias is corrected too. Needs: the network run on calibration images.
    """
    threshold = Threshold(rule="mmse", scope="layer")
    calibration = Calibration(kind="light", T=32)
    return Recipe("calibration-light", threshold, Neuron(initial=0.5), calibration=calibration)


@register(2021, "corrected for one T (--set calibration.T)", timesteps=64)
def calibration_advanced() -> Recipe:
    """Calibration, advanced: MMSE thresholds and a correction of the initial potential.

    Li, Deng, Dong, Gong, Gu: A free lunch from ANN, ICML 2021, Eq. 17: initial potential += T *
    mean(ANN - SNN), layer after layer; in the release per neuron, here per channel, since a value
    per neuron belongs to images of one layout. Half a threshold at the start instead of the
    release's theta / 2T in every step: the same error (.16 and .15 at T = 32), for a sixth fewer
    operations. Otherwise as calibration-light. Needs: the network run on calibration images.
    """
    threshold = Threshold(rule="mmse", scope="layer")
    calibration = Calibration(kind="advanced", T=32)
    return Recipe("calibration-advanced", threshold, Neuron(initial=0.5), calibration=calibration)


@register(2022, "a burst of n costs n spikes", timesteps=16)
def burst() -> Recipe:
    """Burst spikes: up to gamma spikes per timestep carry the residual potential away at once.

    Li and Zeng: Efficient and accurate conversion of spiking neural network with burst spikes,
    IJCAI 2022. Eq. 8: n = clip(floor(U / theta), 0, gamma), gamma = 5 here. Its max pooling by
    lateral inhibition is the exact cumulative pooling of rate/synapses.py. Needs: activation
    statistics.

    theta is the layer's 99.9th percentile shared among the gamma spikes of a step, so that a burst
    at its longest is worth the percentile. The two releases come near to that: Conversion_Burst
    divides values above 1 by gamma before it takes the 99.9th percentile, and BrainCog clamps
    activations at gamma and takes the 99th.

    `--set threshold.rule=percentile` does not divide: bursts then clear debts only.
    """
    threshold = Threshold(rule="shared", scope="layer", percentile=99.9)
    return Recipe("burst", threshold, Neuron(gamma=5))


@register(2025, "the first 2 steps are not read out, so T must be at least 3", tried=64)
def ltb() -> Recipe:
    """LTB: local threshold balancing, and a read-out that leaves out the first steps.

    Bu, Li, Yu: Inference-scale complexity in ANN-SNN conversion for high-performance and low-power
    applications, CVPR 2025, arXiv 2409.03368. Per channel, theta <- theta + 2 mean(relu(a - theta))
    over the activations a of calibration images, from 0; IF neurons that start at half a threshold;
    the output is the mean of the steps after a delay (readout.skip, here 2). The released code
    makes one update per batch and feeds each layer what the layers before it have clipped; here
    every update sees all images, by the histogram of the ANN's activations, until theta grows by no
    more than 0.1 % (it would creep up to the maximum). Leaky ReLU has ON/OFF pairs with a threshold
    per side, where the paper has ReLU, and max pooling is the exact one of sums, where their neuron
    stands behind it. Rate coding, one spike per step: operations grow with T. Needs: activation
    statistics.
    """
    return Recipe("ltb", Threshold(rule="excess"), Neuron(initial=0.5), readout=Readout(skip=2))


@register(2022, "graded spikes; an exponential and a logarithm per neuron and step", timesteps=64)
def msat() -> Recipe:
    """MSAT: the multi-stage adaptive threshold, the draft paper's method.

    Section 4.2, Eq. 14 to 17, as the released code computes them (rate/neurons/msat.py has the rule
    and where it departs from the draft): the threshold of every neuron tracks its membrane
    potential (DTT) and is lowered by a rising input (DET); Theta is the layer's maximum; a spike is
    worth theta(t), so it is graded.

    The rule depends on the scale of the potentials, so they are multiplied by a gain k / Theta. k
    is the free parameter of this method: of 1, 1.5, ..., 4 the smallest whose output error after
    --set calibration.T steps on the calibration images is within 3 % of the smallest error. With
    --set msat.gain=1 a neuron starts at 0.67 of Theta, too late for most; with 3 at 0.21. The
    authors take potentials as they are, which is a gain of Theta in each layer and fails where the
    maximum is far from 1 to 4.

    The spike confidence of the released code, which the draft does not mention, is left out: on
    photographs it raises the error by 70 % at T = 16, and by 40 to 50 % at T = 32 and 64 (measured
    with 0.3.0). Ablation: --set msat.tau_mp=0, msat.tau_rd=0. Needs: the network run on
    calibration images.
    """
    return Recipe("msat", Threshold(rule="max", scope="layer"), Neuron(kind="msat"), Msat(gain=0))


@register(
    2026,
    "graded spikes in bursts; an exponential and a logarithm per neuron and step",
    timesteps=16,
)
def msat_tuned() -> Recipe:
    """MSAT-tuned: MSAT whose neurons start half way to their first threshold, and send bursts.

    It is msat, with its gain from the calibration images, and two changes that help detectors and
    classifiers alike. A potential of a tenth of Theta at the start is half of the 0.2 Theta at
    which thresholds start with a gain of 3, and turns the flooring of a rate into rounding; half of
    Theta, as in the methods with a fixed threshold, would let every neuron fire in the second step.
    Up to five spikes of theta(t) in a step send what the first steps have left. Tuned on training
    images, where it errs by a tenth (VGG16) to a half (Tiny-YOLOv3) of what msat does at equal T,
    for one and a half to more than twice the operations (docs/results/msat.md). Needs: the network
    run on calibration images.
    """
    neuron = Neuron(kind="msat", gamma=5, initial=0.1)
    return Recipe("msat-tuned", Threshold(rule="max", scope="layer"), neuron, Msat(gain=0))


@register(2026, "spikes have a sign, and a value (a power of two)", timesteps=1)
def signed_digits() -> Recipe:
    """Signed digits: a neuron sends its complete value in one step, as a few events +-2^k theta.

    It is MSAT in its extreme form: a threshold in stages theta 2^k, whose stage follows the
    potential; what is sent is subtracted (spikes/counting.py). Its nearest
    relative, canonic signed spikes (CSS, later TMN; Gu et al., arXiv 2408.17245), sends such digits
    one per timestep (docs/related-work.md). Differential coding carries it: what a layer has sent
    needs no correction, so the network is settled after the first step. A neuron of b bits sends b
    / 3 events on average and (b + 1) / 2 at most, one after the other on a chip that sends an event
    at a time. theta starts from the sensitivity of the output
    (convert/learn/differentiable.py); theta, initial potential, a bias and a value at rest per
    channel are then trained on photographs without labels, for a budget of operations that is
    smaller than the ANN's number of multiply-accumulates. Weights get 8 bits and events too, so
    that all sums are whole numbers (integer/). A channel at its resting value sends nothing, and
    the next layer has that value in its bias. Tuned on COCO train2017 photographs. Needs:
    activation statistics, and a calibration (`calibrate --method signed-digits`).
    """
    neuron = Neuron(
        "sigma-delta", gamma=MAX_GAMMA, initial=0.5, events="digits", slack=0.15, dead_zone=0.35
    )
    threshold, encoding = Threshold(rule="sensitivity"), Encoding(denoise=True)
    calibration = Calibration(kind="trained", operations=0.7, steps=640)
    return Recipe("signed-digits", threshold, neuron, calibration=calibration, encoding=encoding)


@register(2021, "at most 8 spikes per value, each worth another power of two", timesteps=1)
def few_spikes() -> Recipe:
    """Few-spikes coding: a value is complete in one step, as at most K spikes of its binary digits.

    Stoeckl and Maass: Optimized spiking neurons can classify images with high accuracy through
    temporal coding with two spikes, Nature Machine Intelligence 3, 2021. Spike k of K is worth
    alpha / 2^k; here K = 8 and alpha is the layer's 99.99th percentile, beyond which values are
    clipped. A step of ours is K sub-steps, layer after layer: L layers need L * K on a chip. The
    output is that of the network with activations of 8 bits, and no step adds to it. Published
    neurons round down; a potential of half a spike at the start rounds to the nearest, which makes
    this baseline better. Output error on 8 COCO train2017 photographs, and operations per MAC: .077
    (1.68) rounded down, .032 (1.80) to the nearest; with K = 7 (neuron.gamma=127,
    threshold.scale=0.0078125) .041 (1.41), with K = 6 .132 (1.04). Needs: activation statistics.
    """
    threshold = Threshold(rule="percentile", scope="layer", percentile=99.99, scale=1 / 256)
    return Recipe("few-spikes", threshold, Neuron(kind="few-spikes", gamma=255, initial=0.5))


@register(2025, "a spike carries a number of up to 32; no step adds to the first", timesteps=1)
def sfn() -> Recipe:
    """SFN: scale-and-fire neurons, a value as one message of many levels, in one timestep.

    Chen, Yang, Meng et al.: One-timestep is enough, achieving high-performance ANN-to-SNN
    conversion via scale-and-fire neurons, arXiv 2510.23383, 2025: T steps of an IF neuron that
    starts at v are one step of a neuron with the thresholds theta / T, 2 theta / T, ..., theta that
    starts at v / T: n = clip(floor((a + v / T) T / theta), 0, T), and n theta / T is sent. Here T =
    32 and v = theta / 2. Of the adaptive scaling we know what the abstract says: theta is the MMSE
    threshold of the channel for this rounding. Their networks are transformers; ours is the sign of
    messages for leaky ReLU, and neurons stand behind their max pooling. It is few-spikes with other
    levels, and the message counted in place of its digits: n spikes, or one graded event per value,
    which costs a multiplication. It is settled after one step. Needs: activation statistics, of
    both signs.
    """
    threshold = Threshold(rule="mmse", scale=1 / 32)
    return Recipe("sfn", threshold, Neuron(kind="multi-level", gamma=32, initial=0.5))


@register(
    2024,
    "signed spikes whose value depends on the step; no output before its last layer's turn",
    timesteps=16,
)
def css() -> Recipe:
    """CSS: canonic signed spikes over time, one digit of a value per step.

    Gu, Gu, Shen, Huang: Canonic signed spike coding for efficient spiking neural networks, arXiv
    2408.17245, 2024; its third version calls the neuron TMN. U <- 2 U + z(t); a spike
    s = +1 at U >= theta / 2, -1 at U <= -theta / 2; U <- U - s theta. Step t of K weighs 2^(K - t):
    a value is sent as signed digits, the most significant one first. To fire at half a threshold
    is early, and negative spikes take back what was too much: half of the digits are spikes on
    average, where the canonic form has a third. Layers start one step after another
    (the silent step of v2), with an input that is known to half a spike's value more.

    The nearest relative of signed-digits, which sends all digits of a value in one step. Here K = 8
    and U, not doubled, is compared with spikes whose value halves: the same numbers. With
    R = U 2^(K - t) it is R <- R + 2^(K - t) z(t) - s 2^(K - t) theta. Image and biases are part of
    the first z. What is ours, for we have not read the paper in full and found no released code:
    the neuron remembers what it has sent, m, and R = phi(sum of z) - m, so that leaky ReLU and SiLU
    are followed, and a negative spike of ReLU takes back what was sent and no more. Neurons stand
    behind their max pooling. theta is that of few-spikes. L layers settle after K + L - 1 steps,
    within theta / 2 of the value that they receive unless it was out of reach; one event per neuron
    and step, whose value, a power of two, all neurons share. Needs: activation statistics, of both
    signs.
    """
    threshold = Threshold(rule="percentile", scope="layer", percentile=99.99, scale=1 / 256)
    neuron = Neuron(kind="sigma-delta", initial=0.5)
    return Recipe("css", threshold, neuron, encoding=Encoding(coarse=7))


@register(2025, "spikes have a sign, and a value (a power of two)", timesteps=2)
def dcgs() -> Recipe:
    """DCGS: one spike per neuron and step, of eight sizes, differential in the rate.

    Huang et al.: Differential coding for training-free ANN-to-SNN conversion, ICML 2025. Thresholds
    are theta / 2^k, k = 0..7; a spike of step t corrects the running mean by its t-th part, so that
    the error falls with 1 / t. The rule is that of the authors' code (rate/neurons/sigma_delta.py).
    theta is the 99.9th percentile of the channel. They report T = 4 and 8, and count every spike as
    one operation, whatever its size. Their networks have ReLU; what leaky ReLU does is ours.
    Neurons stand behind their max pooling, as in all methods that follow sums, which makes this
    baseline cheaper. Needs: activation statistics.
    """
    return Recipe("dcgs", Threshold(rule="percentile", percentile=99.9), Neuron(kind="dcgs"))
