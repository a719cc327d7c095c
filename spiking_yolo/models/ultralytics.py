"""Ultralytics' detectors (v3u, v5u, v8) as traceable modules. The only place that imports the package.

The import changes the whole process and opening a checkpoint unpickles, so models/isolated.py calls this elsewhere.
"""

import copy
from pathlib import Path
from typing import Any

from torch import nn

from spiking_yolo.errors import UserError, require
from spiking_yolo.io.sizes import STRIDE
from spiking_yolo.models.spec import HeadSpec, Spec
from spiking_yolo.models.yolo_blocks import refuse_attention
from spiking_yolo.models.yolo_checkpoint import RawHeads


def raw_heads(model: Any) -> RawHeads:
    """A DetectionModel up to its head's last convolutions, [N, 4 bins + C, H, W] per stride: a copy in which every
    activation call has its own module, and so its own name, and splits give their sizes.
    """
    layers = copy.deepcopy(model.model)
    for module in layers.modules():
        if isinstance(act := getattr(module, "act", None), nn.Module):
            module.act = copy.deepcopy(act)
        if hasattr(module, "forward_split"):  # C2f: iterating over chunks cannot be traced
            module.forward = module.forward_split
    return RawHeads(layers, [layer.f for layer in layers])


def load_ultralytics(path: str | Path) -> tuple[RawHeads, Spec]:
    """The network in eval mode and its Spec, with the checkpoint's class names and input size. Unpickles the file.

    Raises UserError for what Ultralytics cannot open, and for what is not a plain detector.
    """
    tasks = require("ultralytics.nn.tasks", "ultralytics")
    try:
        model: Any = tasks.load_checkpoint(str(path))[0]
    except Exception as error:  # Ultralytics raises whatever the file leads to
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"Ultralytics cannot open {path} ({reason}): give a checkpoint of its trainer") from error
    return adapt(model, model.args.get("imgsz", 640))


def adapt(model: Any, imgsz: int | list[int]) -> tuple[RawHeads, Spec]:
    """Network and Spec of a DetectionModel. imgsz: side or (height, width) in pixels, rounded up to whole strides.

    Raises UserError naming the part that cannot be converted.
    """
    head = model.model[-1] if isinstance(getattr(model, "model", None), nn.Sequential) else model
    if type(head).__name__ != "Detect" or getattr(head, "one2one_cv2", None) is not None:
        raise UserError(
            f"node 'model.{getattr(head, 'i', '')}' ({type(head).__name__}) is not the plain detection head of v3u, "
            "v5u and v8: give a checkpoint of one of them, trained for the task detect"
        )
    if getattr(model, "yaml", {}).get("channels", 3) != 3 or head.stride.max() > STRIDE:
        raise UserError(f"only RGB networks with strides up to {STRIDE} can be converted: give one without P6")
    for name, module in model.named_modules():
        refuse_attention(type(module).__name__, name)
    height, width = (-(-int(side) // STRIDE) * STRIDE for side in _pair(imgsz))
    names = tuple(str(model.names[i]) for i in range(head.nc))
    heads = (HeadSpec("yolov8", classes=head.nc, num=1, bins=head.reg_max),) * head.nl
    return raw_heads(model).eval(), Spec("detect", names, height, width, "letterbox-114", heads)


def _pair(value: int | list[int]) -> list[int]:
    return list(value) if isinstance(value, (list, tuple)) else [value, value]
