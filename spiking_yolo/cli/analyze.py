"""Explain a conversion: where the error of every layer comes from, and what to try.

    spiking-yolo analyze --method p-norm --T 64
    spiking-yolo analyze --data coco --limit 32 --method msat,p-norm,coarse-to-fine --T 64

The error of each layer is split, element by element, into clipping, quantisation, the
spike-inherent part and what it inherits from the layers below. --data takes photographs, folders,
globs, a COCO folder, a VOCdevkit or a data.yaml; labels are not used. Of several methods the first
is analysed, and all are compared by spikes and error of the output. PROJECT/NAME gets layers.csv,
analysis.json and the figures: error.png (error by layer), wrong-spikes.png (spikes of inactivated
neurons over time), spikes.png (by layer, or by method) and, of a method whose thresholds change,
threshold-time.png and threshold-activation.png (of sampled neurons of one layer).
"""

from spiking_yolo.apps.analyze import AnalyzeOptions
from spiking_yolo.io.assets import samples_folder

OPTIONS = AnalyzeOptions


def main(options: AnalyzeOptions) -> None:
    from spiking_yolo.apps.analyze.diagnosis import explain
    from spiking_yolo.cli.main import Bars
    from spiking_yolo.data.formats import open_photographs
    from spiking_yolo.io.distributed import usable_device
    from spiking_yolo.io.run_folder import run_directory
    from spiking_yolo.options import drawn, load_all

    usable_device(options.device)
    listed = open_photographs(
        [str(path) for path in options.data or [samples_folder()]], options.split
    )
    photographs, networks = drawn(listed, options), load_all(options)
    folder = run_directory(options.project, options.name)
    explanation = explain(networks, photographs, options, Bars())
    print(f"{next(iter(networks))}, T = {options.T}, {len(photographs)} of {len(listed)} images\n")
    print(explanation.text())
    explanation.save(folder, options.figures)
    print(f"results saved to {folder}")
