"""What MSAT's gain does on one network: the table and the figure of docs/msat/scale.md.

python docs/msat_scale.py WEIGHTS DATA SPLIT N, from the root of the repository: N images of the
split, drawn with seed 0. Writes docs/images/msat-scale-NETWORK.png; what is measured is kept in
runs/msat-scale, where a second call goes on.
"""

import sys
from pathlib import Path

import torch

from spiking_yolo.apps.evaluate import EvaluationOptions
from spiking_yolo.apps.evaluate.run import evaluate
from spiking_yolo.convert.load import load
from spiking_yolo.data.formats import open_classification, open_detection
from spiking_yolo.draw.colours import COLOURS
from spiking_yolo.draw.curves import MARKERS
from spiking_yolo.draw.figure import paper_figure
from spiking_yolo.io.tables import columns
from spiking_yolo.recipe import Msat
from spiking_yolo.snn.msat import fraction_at_rest

GAINS, STEPS = (1.0, 2.0, 2.5, 3.0, 3.5, 4.0), (16, 32, 64)


def main(weights: Path, data: Path, split: str, images: int) -> None:
    """Adaptation on at every gain, and off with Theta multiplied by the fraction at which that gain
    starts.
    """
    dataset = (
        open_classification(data, split) if data.suffix == ".xz" else open_detection(data, split)
    )
    figure = "top1" if data.suffix == ".xz" else "output_error"

    def measured(**settings: float | bool) -> list[dict[str, float]]:
        network = load(
            weights, "msat", {key.replace("_", "."): value for key, value in settings.items()}
        )
        kept = Path(
            "runs/msat-scale",
            weights.stem,
            str(images),
            "-".join(f"{v:.4g}" for v in settings.values()),
        )
        kept.mkdir(parents=True, exist_ok=True)
        options = EvaluationOptions(steps=STEPS, limit=images)
        return evaluate(network, dataset, options, folder=kept).table.steps

    fractions = {k: float(fraction_at_rest(torch.tensor([k]), Msat())) for k in GAINS}
    adapts = {k: measured(msat_gain=k) for k in GAINS}
    constant = {k: measured(msat_enabled=False, threshold_scale=fractions[k]) for k in GAINS}
    lines = [
        [
            "gain",
            "starts at",
            *(f"T={t}, adapts" for t in STEPS),
            *(f"T={t}, constant" for t in STEPS),
        ]
    ]
    for k in GAINS:
        cells = [
            f"{row[figure]:.3f} ({row['sops_per_mac_spikes']:.2f})"
            for row in adapts[k] + constant[k]
        ]
        lines.append([f"{k:g}", f"{fractions[k]:.2f}", *cells])
    print(columns(lines))
    with paper_figure(
        Path(__file__).parent / "images" / f"msat-scale-{weights.stem}.png", 4.6, 3.2
    ) as drawn:
        axes = drawn.add_subplot(
            xlabel="fraction of Θ at which thresholds start", ylabel=figure.replace("_", " ")
        )
        for i, t in enumerate(STEPS):
            for found, style, how in ((adapts, "-", "adapts"), (constant, "--", "constant")):
                y = [found[k][i][figure] for k in GAINS]
                look = {"color": COLOURS[i], "linestyle": style, "marker": MARKERS[i]}
                axes.plot(list(fractions.values()), y, label=f"T = {t}, {how}", **look)
        axes.grid(True)
        gains = axes.secondary_xaxis("top")
        gains.set_xticks(list(fractions.values()), [f"k={k:g}" for k in GAINS])
        drawn.legend(loc="outside upper center", ncols=3)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], int(sys.argv[4]))
