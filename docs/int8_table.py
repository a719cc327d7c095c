"""The table of 8 bits in docs/results/photographs.md: what static quantisation keeps of a detector.

python docs/int8_table.py COCO WEIGHTS.pt ..., from the root of the repository, with the extras
`ultralytics` and `onnx`. COCO is a folder with train2017, of which 64 photographs give the ranges,
and val2017, which is scored. For each network it prints AP50-95 and the median milliseconds of one
thread of onnxruntime: in float32; in 8 bits as people do it (Ultralytics' export with its decoding,
static, per channel, QDQ); and in 8 bits with the decoding of boxes left in float32.
"""

import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from shutil import copy
from statistics import median
from typing import Any

import numpy as np
import onnxruntime as ort
import torch
from torchvision.ops import box_convert

from spiking_yolo.data.formats import open_detection
from spiking_yolo.data.images import preprocess
from spiking_yolo.decode.boxes import Detections
from spiking_yolo.decode.selection import Selection
from spiking_yolo.evaluate.baselines import quantize, write_ann
from spiking_yolo.evaluate.scoring import CocoScorer
from spiking_yolo.models.load import load_ann
from spiking_yolo.models.spec import Spec

IMAGES = 64
Decode = Callable[[Sequence[np.ndarray], Any], Detections]


def export(weights: Path, folder: Path, side: int) -> Path:
    """The network as Ultralytics exports it, whose output is boxes and scores in one tensor."""
    os.environ.update(YOLO_AUTOINSTALL="false", YOLO_OFFLINE="true")
    from ultralytics import YOLO

    own = folder / weights.name
    copy(weights, own)
    return Path(YOLO(own).export(format="onnx", imgsz=side, simplify=False, verbose=False))


def session(path: Path) -> ort.InferenceSession:
    """A model in onnxruntime with one thread."""
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def whole(selection: Selection, spec: Spec) -> Decode:
    """Boxes off the output of Ultralytics' export: [1, 300, 6], or [1, 4 + classes, boxes]."""

    def decode(outputs: Sequence[np.ndarray], placement: Any) -> Detections:
        rows = torch.from_numpy(outputs[0][0])
        if rows.shape[1] == 6:
            rows = rows[rows[:, 4] > selection.conf]
            found = Detections(rows[:, :4], rows[:, 4], rows[:, 5].long())
        else:
            boxes = box_convert(rows[:4].T, "cxcywh", "xyxy")
            found = selection.select(boxes, rows[4:].T, spec.nms)
        size = torch.tensor([spec.width, spec.height] * 2)
        found = found.take(slice(selection.max_det))
        return Detections(placement.to_image(found.xyxy / size), found.confidence, found.class_id)

    return decode


def heads(selection: Selection, spec: Spec) -> Decode:
    """Boxes off the heads, which are decoded in float32."""

    def decode(outputs: Sequence[np.ndarray], placement: Any) -> Detections:
        tensors = [torch.from_numpy(output) for output in outputs]
        return selection.boxes(tensors, spec, [placement])[0]

    return decode


def score(model: Path, scorer: CocoScorer, decode: Decode) -> tuple[float, float]:
    """AP50-95 in percent, and the median milliseconds of a photograph."""
    run, spent, found = session(model), list[float](), list[list[Detections]]()
    for sample in scorer.dataset.samples:
        x, placement = preprocess(sample.image(), scorer.spec)
        x = scorer.spec.normalised(x[None]).numpy()
        start = time.perf_counter()
        outputs = run.run(None, {"images": x})
        spent.append(time.perf_counter() - start)
        found.append([decode(outputs, placement)])
    return 100 * scorer.score([], found).figures["mAP50-95"], 1e3 * median(spent)


def main(data: str, *networks: str) -> None:
    torch.set_num_threads(1)
    print("| AP50-95; ms | float32 | 8 bits, whole export | 8 bits, decoding in float32 |")
    print("|---|---|---|---|")
    for weights in map(Path, networks):
        ann = load_ann(weights)
        spec = ann.spec
        selection = Selection(conf=0.001, iou=0.7, max_det=300, multi_label=True)
        scorer = CocoScorer(open_detection(Path(data), "val2017"), spec, selection)
        assert scorer.selection is not None
        train = open_detection(Path(data), "train2017").subset(IMAGES, 0).samples
        inputs = [spec.normalised(preprocess(s.image(), spec)[0][None]).numpy() for s in train]
        cells = [weights.stem]
        with tempfile.TemporaryDirectory() as name:
            own = write_ann(ann, Path(name))
            theirs = export(weights, Path(name), spec.height)
            for path, int8, decode in (
                (own, False, heads(scorer.selection, spec)),
                (theirs, True, whole(scorer.selection, spec)),
                (own, True, heads(scorer.selection, spec)),
            ):
                model = quantize(path, inputs) if int8 else path
                ap, ms = score(model, scorer, decode)
                cells.append(f"{ap:.1f}; {ms:.0f}")
        print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
