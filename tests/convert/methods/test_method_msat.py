"""MSAT: thresholds and spikes against a scalar second implementation of conversion_methods.md, section 2.

Also its ablations, its units, Algorithm 1, and what it conserves. The spike confidence has its own file.
"""

import random
from collections.abc import Iterator
from math import exp, floor, log, log1p, sqrt
from typing import Any

import pytest
import torch
from helpers.methods import method, neuron
from helpers.networks import TinyLeaky, images
from hypothesis import given, settings
from hypothesis import strategies as st

from spiking_yolo.convert.registry import get_recipe
from spiking_yolo.errors import UserError
from spiking_yolo.recipe import Msat
from spiking_yolo.snn.msat import fraction_at_rest, gain_for, threshold_ratio
from spiking_yolo.snn.neurons import MsatIntegrateAndFire, NeuronLayer, OnOff

MSAT = get_recipe("msat").with_settings({"msat.gain": 1})
GENERATOR = random.Random(1)
INPUTS = {
    "constant": [0.3] * 40,
    "large": [0.95] * 40,
    "stepped": [0.1] * 12 + [0.9] * 12 + [-0.5] * 8 + [0.4] * 8,
    "random": [GENERATOR.uniform(-0.4, 1.2) for _ in range(40)],
}
RESNET20 = {"msat.alpha": 0.3, "msat.tau_mp": 0.5, "msat.tau_rd": 0.5}
SETTINGS: dict[str, dict[str, Any]] = {
    "vgg16": {},
    "resnet20": RESNET20,
    "dtt only": {"msat.det": False},
    "det only": {"msat.dtt": False},
    "neither": {"msat.dtt": False, "msat.det": False},
    "mu": {"msat.mu": True},
    "constants": {"msat.alpha": 1.5, "msat.k_a": 0.4, "msat.k_i": 0.2, "msat.c": 0.5, "msat.tau_rd": 2.0},
    "algorithm1": {"msat.variant": "algorithm1", "msat.g": 0.4},
    "bursts": {"neuron.gamma": 3},
    "gain": {"msat.gain": 3.0},
}


def sigmoid(u: float) -> float:
    return 1 / (1 + exp(-u))


def scalar_msat(
    zs: list[float], top: float, s: Msat, gamma: int = 1, initial: float = 0.0
) -> Iterator[tuple[float, float, float]]:
    """theta(t), n(t) and the post-reset U(t); top: Theta."""
    unit = (top if s.units == "normalised" else 1.0) / s.gain
    u, after, sent, theta = initial * top, [], [], top
    for t, z in enumerate(zs):
        if s.variant == "algorithm1":
            theta = top / 2 if t == 0 else max(theta + s.g * (sum(sent) / t - after[-1]), s.floor * top)
        elif t > 0 and (s.dtt or s.det):
            mean = sum(after) / t / unit
            moved = after[-1] / unit - mean
            drive = s.tau_mp * (s.alpha * moved - top / unit + s.k_a * log(1 + exp(moved / s.k_i))) if s.dtt else 0.0
            if s.det:
                drive += s.tau_rd * (exp(-z / unit / s.c) + (exp(-abs(mean)) if s.mu else 0.0))
            theta = top * max(sigmoid(drive), s.floor)
        u += z
        n = max(0, min(floor(u / theta), gamma))
        u -= n * theta
        after.append(u)
        sent.append(n * theta)
        yield theta, n, u


def drive(layer: NeuronLayer, zs: list[float]) -> list[tuple[float, float, float]]:
    """theta(t), n(t), U(t) of one neuron; what it sends is n * theta(t)."""
    assert isinstance(layer, MsatIntegrateAndFire)
    steps = []
    for z in zs:
        before = layer.count.item() if steps else 0
        out = layer(torch.tensor([[z]], dtype=torch.float64)).item() * layer.theta.item()
        theta, n = layer.threshold.item(), layer.count.item() - before
        assert out == pytest.approx(n * theta, rel=1e-12)
        steps.append((theta, n, layer.potential.item()))
    return steps


@pytest.mark.parametrize("units", ["normalised", "raw"])
@pytest.mark.parametrize("top", [0.37, 1.0, 4.0])
@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("source", INPUTS)
def test_thresholds_and_spikes(source: str, setting: str, top: float, units: str):
    recipe = MSAT.with_settings({**SETTINGS[setting], "msat.units": units})
    zs = [z * top for z in INPUTS[source]]
    expected = list(scalar_msat(zs, top, recipe.msat, recipe.neuron.gamma))
    got = drive(neuron(recipe, top), zs)
    assert [n for _, n, _ in got] == [n for _, n, _ in expected]
    for i in (0, 2):
        assert [step[i] for step in got] == pytest.approx([step[i] for step in expected], rel=1e-9, abs=1e-12)
    assert sum(n for _, n, _ in got) > 3, "too few spikes to show anything"
    assert (len({theta for theta, _, _ in got}) > 1) == (setting != "neither")


wide = st.floats(-1e4, 1e4, width=32)


@given(
    wide, wide, st.floats(0.125, 1000, width=32), st.sampled_from(sorted(SETTINGS)), st.sampled_from([0.5, 1.0, 3.0])
)
def test_the_ratio_in_float32_far_from_the_middle(d: float, z: float, top: float, setting: str, tau: float):
    """Raw units with Theta in the hundreds: the exponentials of Eq. 17 overflow one by one, the ratio must not."""
    s = MSAT.with_settings({**SETTINGS[setting], "msat.tau_mp": tau}).msat
    x = d / s.k_i
    u = tau * (s.alpha * d - top + s.k_a * (max(x, 0) + log1p(exp(-abs(x))))) if s.dtt else 0.0
    u += s.tau_rd * exp(min(-z / s.c, 700)) if s.det else 0.0
    expected = 1.0 if not (s.dtt or s.det) else max(1 / (1 + exp(min(-u, 700))), s.floor)
    got = threshold_ratio(torch.tensor([d]), None, torch.tensor([z]), torch.tensor([top]), s)
    assert got.item() == pytest.approx(expected, rel=2e-3, abs=1e-6)


def test_first_steps_by_hand():
    """Theta = 1, z = 1/2. t = 0: theta = 1, U = 1/2. t = 1: the mean is U, so u = -1 + ln 2 + exp(-1/10), and it fires.

    t = 2: the mean of 1/2 and U(1), and so on.
    """
    (first, n0, u0), (second, n1, u1), (third, _, _) = drive(neuron(MSAT), [0.5] * 3)
    assert (first, n0, u0) == (1.0, 0.0, 0.5)
    assert second == pytest.approx(sigmoid(-1 + log(2) + exp(-0.1))) == pytest.approx(0.6452, abs=5e-5)
    assert n1 == 1 and u1 == pytest.approx(1 - second)
    moved = (u1 - 0.5) / 2
    assert third == pytest.approx(sigmoid(0.03 * moved - 1 + log(1 + exp(moved)) + exp(-0.1)))


def test_msat_tuned_starts_half_way_to_its_first_threshold_and_bursts():
    """Of small inputs msat has sent half a spike too little in the mean, and this a fifth of one."""
    zs = [k / 100 for k in range(1, 101, 3)]
    missing = {}
    for name, initial, gamma in (("msat", 0.0, 1), ("msat-tuned", 0.1, 5)):
        recipe = get_recipe(name).with_settings({"msat.gain": 3})
        runs = [drive(neuron(recipe, 2.0), [2 * z] * 8) for z in zs]
        expected = [list(scalar_msat([2 * z] * 8, 2.0, recipe.msat, gamma, initial)) for z in zs]
        assert [[n for _, n, _ in run] for run in runs] == [[n for _, n, _ in run] for run in expected]
        most = max(n for run in runs for _, n, _ in run)
        assert most == 1 if gamma == 1 else 1 < most <= gamma
        small = [(run, z) for run, z in zip(runs, zs, strict=True) if z < 0.2]
        missing[name] = sum(8 * 2 * z - sum(theta * n for theta, n, _ in run) for run, z in small) / len(small)
    assert missing["msat"] > 0.2 > 2 * missing["msat-tuned"] > 0


def test_a_rising_input_lowers_the_threshold_and_a_charged_neuron_raises_it():
    """DET and DTT alone, each against the same history."""
    det, dtt = MSAT.with_settings({"msat.dtt": False}), MSAT.with_settings({"msat.det": False})
    low, high = (drive(neuron(det), [0.1, z])[1][0] for z in (0.1, 0.9))
    assert high < low
    calm, charged = (drive(neuron(dtt), [0.1, z, 0.0])[2][0] for z in (0.0, 0.8))
    assert charged > calm


def test_normalised_units_settle_near_two_thirds_of_theta():
    """On constant inputs spread over the range; at T = 64 that costs accuracy against a fixed Theta."""
    zs = [k / 20 for k in range(1, 20)]
    runs = [drive(neuron(MSAT, 3), [3 * z] * 64) for z in zs]
    late = [theta / 3 for run in runs for theta, _, _ in run[32:]]
    assert 0.6 < sum(late) / len(late) < 0.75

    def error(run: list, z: float) -> float:
        return (sum(theta * n for theta, n, _ in run) / 64 / 3 - z) ** 2

    fixed = [drive(neuron(MSAT.with_settings(SETTINGS["neither"]), 3), [3 * z] * 64) for z in zs]
    adaptive, constant = (sqrt(sum(map(error, runs, zs)) / sum(z * z for z in zs)) for runs in (runs, fixed))
    assert 0.005 < constant < 0.02 < adaptive < 0.1


def test_raw_units_collapse_where_theta_is_large():
    """Theta = 20, an input of a tenth of it: raw thresholds fall to the input and nearly every step fires."""
    zs = [2.0] * 64
    raw, normalised = (drive(neuron(MSAT.with_settings({"msat.units": u}), 20), zs) for u in ("raw", "normalised"))
    assert sum(n for _, n, _ in raw[1:]) > 50 > 12 > sum(n for _, n, _ in normalised)


values = st.lists(st.integers(-64, 96).map(lambda n: n / 64), min_size=1, max_size=20)


@settings(deadline=None, max_examples=40)
@given(values, st.sampled_from(sorted(SETTINGS)))
def test_raw_is_normalised_at_theta_one(zs: list[float], setting: str):
    raw, normalised = (
        drive(neuron(MSAT.with_settings({**SETTINGS[setting], "msat.units": u})), zs) for u in ("raw", "normalised")
    )
    assert raw == normalised


@settings(deadline=None, max_examples=40)
@given(values, st.sampled_from(sorted(SETTINGS)), st.integers(-4, 4))
def test_normalised_units_do_not_depend_on_the_scale(zs: list[float], setting: str, j: int):
    recipe = MSAT.with_settings(SETTINGS[setting])
    scale = 2.0**j
    plain, scaled = drive(neuron(recipe), zs), drive(neuron(recipe, scale), [z * scale for z in zs])
    assert scaled == [(theta * scale, n, u * scale) for theta, n, u in plain]


@settings(deadline=None, max_examples=40)
@given(values, st.sampled_from(sorted(SETTINGS)), st.sampled_from([0.4, 1.0, 5.0]))
def test_conservation(zs: list[float], setting: str, top: float):
    """Graded spikes: the sum of the input is what was sent plus U, whatever the threshold did."""
    steps = drive(neuron(MSAT.with_settings(SETTINGS[setting]), top), zs)
    assert sum(zs) == pytest.approx(sum(theta * n for theta, n, _ in steps) + steps[-1][2], abs=1e-9)


def test_the_threshold_never_falls_below_its_floor():
    steep = {"msat.units": "raw", "msat.floor": 0.01, "msat.tau_rd": 0.0}
    assert min(theta for theta, _, _ in drive(neuron(MSAT.with_settings(steep), 50), [1.0] * 20)) == 0.01 * 50
    falling = {"msat.variant": "algorithm1", "msat.g": 5.0, "msat.floor": 0.02}
    assert min(theta for theta, _, _ in drive(neuron(MSAT.with_settings(falling), 2), [0.9, 0.0] * 9)) == 0.02 * 2


def test_without_a_floor_a_threshold_may_vanish():
    """As in the authors' code: sigmoid(1.7 - 800) is 0 in float64, and the neuron fires without sending anything."""
    steps = drive(neuron(MSAT.with_settings({"msat.units": "raw", "msat.floor": 0}), 800), [1.0] * 4)
    assert [(theta, n) for theta, n, _ in steps] == [(800, 0), (0, 1), (0, 1), (0, 1)] and steps[-1][2] == 4
    for more in ({"neuron.gamma": 2}, {"neuron.kind": "memory"}):
        with pytest.raises(UserError, match="floor=0 needs"):
            MSAT.with_settings({"msat.floor": 0, **more})


def test_without_both_terms_it_is_the_plain_neuron():
    zs = INPUTS["random"]
    plain = neuron(get_recipe("p-norm"))
    expected = [plain(torch.tensor([[z]], dtype=torch.float64)).item() for z in zs]
    assert [n for _, n, _ in drive(neuron(MSAT.with_settings(SETTINGS["neither"])), zs)] == expected


terms = st.sampled_from([(True, True), (True, False), (False, True)])


@settings(deadline=None)
@given(terms, st.floats(0.1, 20), st.floats(0.1, 8), st.floats(0, 4), st.floats(0, 2), st.booleans(), st.booleans())
def test_the_starting_fraction(
    terms: tuple[bool, bool], gain: float, tau_mp: float, tau_rd: float, k_a: float, mu: bool, paired: bool
):
    """Of a neuron that receives next to nothing, in the second step: U is its own mean. In float64, but not below."""
    dtt, det = terms
    values = {"dtt": dtt, "det": det, "tau_mp": tau_mp, "tau_rd": tau_rd, "k_a": k_a, "mu": mu, "gain": gain}
    s = (recipe := MSAT.with_settings({f"msat.{k}": v for k, v in values.items()} | {"msat.floor": 0})).msat
    u = (tau_mp * (k_a * log(2) - gain) if dtt else 0) + (tau_rd * (1 + mu) if det else 0)
    expected = pytest.approx(1 / (1 + exp(-u)), rel=1e-9)
    assert fraction_at_rest(torch.tensor([gain], dtype=torch.float64), s).item() == expected
    layer = neuron(recipe, 5.0, slope=0.1 if paired else 0)
    for _ in range(2):
        layer(torch.full((1, 1), 1e-12, dtype=torch.float64))
    assert all(side.threshold.item() / side.theta.item() == expected for side in layer.sides[:1])
    if dtt and not mu:
        assert gain_for(1 / (1 + exp(-u)), s) == pytest.approx(gain, rel=1e-6, abs=1e-6)


def test_the_papers_starting_fractions():
    """sigmoid(ln 2 - Theta) with DTT, sigmoid(ln 2 + 1 - Theta) with both: .42 and .67 at 1, .09 and .21 at 3."""
    dtt = MSAT.with_settings({"msat.det": False}).msat
    got = [fraction_at_rest(torch.tensor([k]), s).item() for k in (1.0, 3.0) for s in (dtt, MSAT.msat)]
    assert got == pytest.approx([0.424, 0.667, 0.091, 0.213], abs=1e-3)


@settings(deadline=None, max_examples=40)
@given(values, st.floats(0.3, 4), st.sampled_from([0.5, 1.0, 3.0]), st.sampled_from(["vgg16", "resnet20", "mu"]))
def test_a_gain_is_raw_units_at_theta_k(zs: list[float], gain: float, top: float, setting: str):
    """Whatever Theta is; and with raw units a gain is a network whose activations are that much larger."""
    raw = MSAT.with_settings({**SETTINGS[setting], "msat.units": "raw"})
    expected = [theta / gain for theta, _, _ in drive(neuron(raw, gain), [z * gain for z in zs])]
    for recipe in (MSAT.with_settings(SETTINGS[setting]), raw):
        known = recipe.with_settings({"msat.gain": gain if recipe.msat.units == "normalised" else gain / top})
        found = recipe.with_settings({"msat.gain": 0})  # then it is a parameter of the layer
        runs = [drive(neuron(r, top, gain=known.msat.gain), [z * top for z in zs]) for r in (known, found)]
        assert runs[0] == runs[1]
        assert [theta / top for theta, _, _ in runs[0]] == pytest.approx(expected, rel=1e-6)


@torch.no_grad()
def test_a_probe_records_the_threshold_of_every_neuron():
    """In a leaky network of both neurons of a pair; all start at the maximum of the layer's pre-activations."""
    model, converted = method(TinyLeaky, "msat")
    z = model.bn1(model.conv1(images(2)))  # type: ignore[operator]
    history: list[torch.Tensor] = []

    def probe(name: str, t: int, layer: NeuronLayer, current: torch.Tensor | None) -> None:
        if name == "act1" and isinstance(layer, OnOff):
            assert isinstance(layer.on, MsatIntegrateAndFire) and isinstance(layer.off, MsatIntegrateAndFire)
            history.append(torch.stack([layer.on.threshold, layer.off.threshold]).clone())

    converted.network(observed=True).run(images(2), 12, probes=[probe])
    recorded = torch.stack(history)
    assert recorded.shape == (12, 2, 2, 4, 8, 8)
    assert torch.equal(recorded[0, 0], z.amax().float().double().expand_as(z))
    assert torch.equal(recorded[0, 1], (-z.amin()).float().double().expand_as(z))
    assert recorded[-1, 0].unique().numel() > 400 and (recorded[-1] > 0).all()
