"""Which values of the slots do not fit together."""

from spiking_yolo.recipe.slots import (
    SIGNED,
    Calibration,
    Encoding,
    Msat,
    Neuron,
    Readout,
    Threshold,
)


def conflict(
    threshold: Threshold,
    neuron: Neuron,
    msat: Msat,
    calibration: Calibration,
    encoding: Encoding,
    readout: Readout,
) -> str | None:
    """Why the slots do not fit together, and what to set; the first reason of several, None where
    they do.
    """
    kind, digits = neuron.kind, neuron.events == "digits"
    rate, differential = encoding.coding == "rate", encoding.coding == "differential"
    rules = (
        (
            differential and kind not in SIGNED,
            (
                "encoding.coding=differential needs signed neurons: --set neuron.kind=memory, or a"
                " rate-coded --method"
            ),
        ),
        (
            rate and kind in ("dcgs", "few-spikes"),
            (
                f"neuron.kind={kind} needs encoding.coding=differential: it sends a value, and then"
                " its changes"
            ),
        ),
        (
            differential and readout.skip,
            "readout.skip needs encoding.coding=rate: differential coding has no mean to take",
        ),
        (
            differential and encoding.input == "poisson",
            (
                "encoding.input=poisson needs encoding.coding=rate: differential coding sends the"
                " image once"
            ),
        ),
        (
            rate and (encoding.refine or encoding.coarse),
            "encoding.coarse and encoding.refine need encoding.coding=differential",
        ),
        (
            kind != "memory" and (encoding.refine or encoding.coarse),
            (
                f"encoding.coarse and encoding.refine need neuron.kind=memory: the spikes of {kind}"
                " have values"
            ),
        ),
        (
            kind == "dcgs" and (neuron.gamma > 1 or neuron.initial),
            "neuron.kind=dcgs has thresholds of its own: leave out neuron.gamma and neuron.initial",
        ),
        (
            neuron.shift and (neuron.initial or kind != "if"),
            (
                "neuron.shift needs neuron.kind=if and neuron.initial=0: it takes the place of the"
                " initial potential"
            ),
        ),
        (
            neuron.events == "switches" and (msat.enabled or differential),
            (
                "neuron.events=switches needs spikes of one value: --set msat.enabled=false,"
                " encoding.coding=rate"
            ),
        ),
        (
            digits and kind != "memory",
            (
                f"neuron.events=digits needs neuron.kind=memory, not {kind}: only its neurons send"
                " signed values"
            ),
        ),
        (
            digits and msat.enabled,
            "neuron.events=digits has stages of its own: --set msat.enabled=false",
        ),
        (
            neuron.hysteresis and not (kind == "memory" and differential),
            (
                "neuron.hysteresis needs neuron.kind=memory and encoding.coding=differential, which"
                " keep the state"
            ),
        ),
        (
            encoding.tau and rate,
            "encoding.tau needs encoding.coding=differential, in which an image is sent once",
        ),
        (
            not digits and (neuron.digits or neuron.slack),
            "neuron.digits and neuron.slack need neuron.events=digits",
        ),
        (
            by_gradient(threshold, calibration) and not (digits and differential),
            (
                "threshold.rule=sensitivity and calibration.kind=trained need complete values: "
                "--set neuron.events=digits, encoding.coding=differential"
            ),
        ),
        (
            neuron.reset == "zero" and kind != "if",
            f"neuron.reset=zero needs neuron.kind=if, not {kind}",
        ),
        (
            msat.enabled and kind not in ("if", "memory"),
            f"msat.enabled needs neuron.kind=if or memory: the threshold of {kind} cannot adapt",
        ),
        (
            msat.enabled and msat.variant == "algorithm1" and differential,
            "msat.variant=algorithm1 needs encoding.coding=rate: its threshold never comes to rest",
        ),
        (
            msat.enabled and not msat.floor and (kind != "if" or neuron.gamma > 1),
            (
                "msat.floor=0 needs neuron.kind=if and neuron.gamma=1: the others divide by the"
                " threshold"
            ),
        ),
        (
            msat.confidence != "off" and not (msat.enabled and kind == "if"),
            "msat.confidence needs msat.enabled=true and neuron.kind=if",
        ),
        (
            threshold.rule == "balance" and differential,
            "threshold.rule=balance needs encoding.coding=rate",
        ),
    )
    return next((reason for wrong, reason in rules if wrong), None)


def by_gradient(threshold: Threshold, calibration: Calibration) -> bool:
    """Whether something is learned by gradient descent."""
    return threshold.rule == "sensitivity" or calibration.kind == "trained"
