"""The table of 8 bits in docs/results/photographs.md: what static quantisation keeps of a detector.

python docs/int8_table.py COCO WEIGHTS.pt ..., from the root of the repository, with the extras
`ultralytics` and `onnx`. COCO is a folder with train2017, of which 64 photographs give the ranges,
and val2017, which is scored. For each network it prints AP50-95 and the median milliseconds of one
thread of onnxruntime: in float32; in 8 bits as people do it (Ultralytics' export with its decoding,
static, per channel, QDQ); and in 8 bits with the decoding of boxes left in float32. Where OpenVINO
and NNCF are installed, the last column is that of their 8 bits, decoded in float32 too.
"""

import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from importlib.util import find_spec
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
Run = Callable[[np.ndarray], Sequence[np.ndarray]]
Decode = Callable[[Sequence[np.ndarray], Any], Detections]


def export(weights: Path, folder: Path, side: int) -> Path:
    """The network as Ultralytics exports it, whose output is boxes and scores in one tensor."""
    os.environ.update(YOLO_AUTOINSTALL="false", YOLO_OFFLINE="true")
    from ultralytics import YOLO

    own = folder / weights.name
    copy(weights, own)
    return Path(YOLO(own).export(format="onnx", imgsz=side, simplify=False, verbose=False))


def session(path: Path) -> Run:
    """A model in onnxruntime with one thread."""
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    run = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"]).run
    return lambda x: run(None, {"images": x})


def openvino(path: Path, inputs: list[np.ndarray]) -> Run:
    """A model in OpenVINO with one thread, in 8 bits by NNCF."""
    import nncf
    import openvino

    core = openvino.Core()
    model = nncf.quantize(core.read_model(path), nncf.Dataset(inputs), subset_size=len(inputs))
    request = core.compile_model(model, "CPU", {"INFERENCE_NUM_THREADS": 1}).create_infer_request()
    return lambda x: list(request.infer({0: x}).values())


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


def score(run: Run, scorer: CocoScorer, decode: Decode) -> tuple[float, float]:
    """AP50-95 in percent, and the median milliseconds of a photograph."""
    spent, found = list[float](), list[list[Detections]]()
    for sample in scorer.dataset.samples:
        x, placement = preprocess(sample.image(), scorer.spec)
        x = scorer.spec.normalised(x[None]).numpy()
        start = time.perf_counter()
        outputs = run(x)
        spent.append(time.perf_counter() - start)
        found.append([decode(outputs, placement)])
    return 100 * scorer.score([], found).figures["mAP50-95"], 1e3 * median(spent)


def main(data: str, *networks: str) -> None:
    torch.set_num_threads(1)
    print("| AP50-95; ms | float32 | 8 bits, whole export | 8 bits, heads | OpenVINO, heads |")
    print("|---|---|---|---|---|")
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
            by_heads = heads(scorer.selection, spec)
            runs = [(session(own), by_heads)]
            runs.append((session(quantize(theirs, inputs)), whole(scorer.selection, spec)))
            runs.append((session(quantize(own, inputs)), by_heads))
            if find_spec("openvino") and find_spec("nncf"):
                runs.append((openvino(own, inputs), by_heads))
            for run, decode in runs:
                ap, ms = score(run, scorer, decode)
                cells.append(f"{ap:.1f}; {ms:.0f}")
        print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
