"""Where MSAT's thresholds start, and what to change where that is too high or too low to be of use."""

import torch

from spiking_yolo.convert.converted import Converted
from spiking_yolo.snn.msat import fraction_at_rest, gain_for, scale_of
from spiking_yolo.studies.analyze.totals import short

LOWEST, AIM, HIGHEST = 0.1, 0.2, 0.35  # of Theta; docs/msat.md has the curves


def starting_fractions(converted: Converted) -> dict[str, tuple[float, float]]:
    """Layer -> theta / Theta in the second step at a small input: of its neurons the least and the most.

    Empty where thresholds do not adapt, or are not those of rate coding by Eq. 17.
    """
    s, found = converted.recipe.msat, {}
    if not s.enabled or s.variant != "eq17" or not (s.dtt or s.det) or converted.recipe.encoding.coding != "rate":
        return found
    for node in converted.graph.activations:
        own = converted.neurons[node.name]
        theta = torch.cat([own[key] for key in ("theta", "theta_off") if key in own])
        fraction = fraction_at_rest(scale_of(theta, s, s.gain or own["gain"].item()), s)
        found[node.name] = fraction.min().item(), fraction.max().item()
    return found


def starts(converted: Converted) -> list[str]:
    """The fractions by layer, and how to bring those outside LOWEST..HIGHEST between them.

    Of gains that the calibration chose nothing is to be mended: it has measured what the range is a rule of thumb for.
    """
    fractions = starting_fractions(converted)
    if not fractions:
        return []
    ranges = {short(name): " to ".join(sorted({f"{value:.2g}" for value in both})) for name, both in fractions.items()}
    if len(set(ranges.values())) == 1:
        which = f"{next(iter(ranges.values()))} of Theta in every layer"
    else:
        which = "these fractions of Theta: " + ", ".join(f"{text} in layer {name}" for name, text in ranges.items())
    lines = [f"MSAT's thresholds start at {which}."]
    outside = [short(n) for n, (low, high) in fractions.items() if low < LOWEST or high > HIGHEST]
    if outside:
        where = "That" if len(outside) == len(fractions) else f"In layer {', '.join(outside)} that"
        lines.append(f"{where} is outside {LOWEST:g} to {HIGHEST:g}, where MSAT is mostly of use: {_mend(converted)}.")
    return lines


def _mend(converted: Converted) -> str:
    s = converted.recipe.msat
    if not (s.dtt and s.tau_mp):
        return "try the tracking threshold, which alone knows Theta (--set msat.dtt=true --set msat.tau_mp=1)"
    if not s.gain:
        return "the calibration found it best there"
    units = "" if s.units == "normalised" else "--set msat.units=normalised "
    gain = f"{units}--set msat.gain={max(gain_for(AIM, s), 0.1):.2g}"
    return f"try {gain}, or let the calibration choose ({units}--set msat.gain=0)"
