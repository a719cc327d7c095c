"""Files that hold no trained network to convert: exports, and what is downloaded in its place."""

import re
import zipfile
from pathlib import Path

from spiking_yolo.errors import UserError

# Bytes at the start of a file that tell what it is.
HEAD = 256
# Format -> its first bytes, and the ends of names of what its first bytes do not tell.
EXPORTS: dict[str, tuple[bytes | None, tuple[str, ...]]] = {
    # Protocol buffers: a version, then the producer's name or the graph; in Core ML a description.
    "ONNX": (rb"\x08[\x03-\x20](\x12[\x01-\x7f][ -~]|:)", (".onnx",)),
    "Core ML": (rb"\x08[\x01-\x20]\x12.{1,4}\n", (".mlmodel", ".mlpackage")),
    "TensorFlow": (
        rb"\x08\x01\x12|\n.{1,3}\n[\x01-\x7f][ -~]",
        (".pb", "_saved_model", "_web_model"),
    ),
    "TFLite": (rb".{4}TFL3", (".tflite",)),
    "Keras": (rb"\x89HDF\r\n", (".h5", ".hdf5", ".keras")),
    # Ultralytics puts JSON and its length before the engine.
    "TensorRT": (rb"ftrt|.{3}\x00\{", (".engine", ".plan", ".trt")),
    "OpenVINO": (rb"<\?xml.*<net ", (".xml", "_openvino_model")),
    "ncnn": (rb"7767517\n", (".param", "_ncnn_model")),
    "PaddlePaddle": (None, (".pdmodel", ".pdiparams", "_paddle_model")),
    "MNN": (None, (".mnn",)),
    "RKNN": (rb"RKNN", (".rknn",)),
    "ExecuTorch": (rb".{4}ET1\d", (".pte",)),
    "TorchScript": (None, (".torchscript",)),
}
# Part of an entry's name in a zip -> format.
ENTRIES = {"/code/": "TorchScript", "model.weights.h5": "Keras", "/models/model.json": "PT2"}


def refuse_export(path: Path, head: bytes) -> None:
    """Raise UserError for a file that is something else than the weights that it was meant to be.

    It is known by its content, or else by its name.

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
    if name := export_format(path, head):
        raise UserError(
            f"cannot open {path}: it is an export to {name}: give the .pt that it was made from"
        )


def export_format(path: Path, head: bytes) -> str:
    """The format that a network was exported to; empty for anything else. See `refuse_export`."""
    for name, (pattern, _) in EXPORTS.items():
        if pattern and re.match(pattern, head, re.DOTALL):
            return name
    if head.startswith(b"PK"):
        return _format_of_zip(path)
    if head.startswith(b"\x80"):
        return ""
    for name, (_, ends) in EXPORTS.items():
        if path.name.lower().endswith(ends):
            return name
    return ""


def _format_of_zip(path: Path) -> str:
    try:
        with zipfile.ZipFile(path) as file:
            names = file.namelist()
    except (zipfile.BadZipFile, OSError, EOFError, ValueError, LookupError, RuntimeError):
        return ""
    for part, name in ENTRIES.items():
        if any(part in entry for entry in names):
            return name
    return ""
