"""Files that hold no trained network to convert: exports, and what is downloaded in its place."""

import re
from pathlib import Path

from spiking_yolo.errors import UserError

# Bytes at the start of a file that tell what it is.
HEAD = 256
# Ends of the names of exports that cannot be converted, files and folders.
EXPORTS = (
    *(".tflite", ".pb", "_saved_model", "_web_model", ".h5", ".hdf5", ".keras", ".mlmodel"),
    *(".mlpackage", ".engine", ".plan", ".trt", ".xml", "_openvino_model", ".param", "_ncnn_model"),
    *(".pdmodel", ".pdiparams", "_paddle_model", ".mnn", ".rknn", ".pte", ".torchscript", ".pt2"),
)


def refuse_export(path: Path, head: bytes) -> None:
    """Raise UserError for a file that is something else than the weights that it was meant to be.

    Args:
        path: A file, or a folder as some exports are.
        head: The first HEAD bytes of the file.
    """
    if head.startswith(b"version https://git-lfs.github.com/"):
        raise UserError(
            f"cannot open {path}: it is a pointer of Git LFS to the file: run `git lfs pull` in its"
            " repository, or download the file itself"
        )
    if re.match(rb"\s*<(!doctype )?html", head, re.IGNORECASE):
        raise UserError(f"cannot open {path}: it is a web page: download the file itself")
    # TFLite is also found under the name of the checkpoint that it was made from.
    if path.name.lower().endswith(EXPORTS) or head[4:8] == b"TFL3":
        raise UserError(
            f"cannot open {path}: exports of this format cannot be converted, only .onnx: give that"
            " or the .pt that it was made from"
        )


def is_onnx(path: Path, head: bytes) -> bool:
    """Whether a file is an ONNX model: by its content, or else by its name.

    Args:
        path: The file.
        head: Its first HEAD bytes.
    """
    # Protocol buffers: the version, then the producer's name or the graph.
    if re.match(rb"\x08[\x03-\x20](\x12[\x01-\x7f][ -~]|:)", head):
        return True
    return path.suffix.lower() == ".onnx" and not head.startswith((b"PK", b"\x80"))
