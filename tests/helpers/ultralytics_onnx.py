"""Write exports of Ultralytics with random weights: ultralytics_onnx.py FOLDER, in its environment.

Torch comes first: Ultralytics, imported before it, would set the number of threads.
"""

import os
import sys
from pathlib import Path

import torch
from torch import nn
from ultralytics import YOLO

# File -> configuration, and options of the export besides the size.
EXPORTS = {
    "yolov8n": ("yolov8n.yaml", {}),
    "yolov8n-dynamic": ("yolov8n.yaml", {"dynamic": True}),
    "yolo11n": ("yolo11n.yaml", {"opset": 12}),
    "yolov10n": ("yolov10n.yaml", {}),
    "yolov10n-sorted": ("yolov10n.yaml", {"nms": False}),
    "yolo26n": ("yolo26n.yaml", {}),
    "yolo26n-sorted": ("yolo26n.yaml", {"nms": False}),
    "yolo12n": ("yolo12n.yaml", {}),
    "yolov9t": ("yolov9t.yaml", {}),
    "yolo11n-seg": ("yolo11n-seg.yaml", {}),
    "yolov8n-pose": ("yolov8n-pose.yaml", {}),
}
SIZE = 96


def main(folder: Path) -> None:
    (folder / "as_named").mkdir()
    os.chdir(folder / "as_named")
    for name, (configuration, options) in EXPORTS.items():
        torch.manual_seed(0)
        network = YOLO(configuration)
        assert isinstance(network.model, nn.Module)
        for module in network.model.modules():
            if isinstance(module, nn.BatchNorm2d):
                nn.init.uniform_(module.weight, 0.7, 1.5)
                nn.init.uniform_(module.bias, -0.3, 0.3)
        file = network.export(format="onnx", imgsz=SIZE, **options)
        os.replace(file, folder / f"{name}.onnx")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
