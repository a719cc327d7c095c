"""What a tool has written: whether it is whole, and what it says apart from times and dates."""

import csv
import json
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from spiking_yolo.data.video import open_video
from spiking_yolo.errors import UserError
from spiking_yolo.io.tensors import read_safetensors

# Keys of what is of the run and not of its result; torch.save has the time in no file.
PASSING = ("seconds", "command", "date", "job", "ms", "fps", "checksum", "versions", "resume")
# Times are all that is in one, and every attempt in the other.
TIMED = ("benchmark.json", "trials.log")


def content(path: Path) -> Any:
    """What a result file says, without what passes. Raises whatever its reader does where it is not
    whole.
    """
    match path.suffix:
        case ".json":
            return _lasting(json.loads(path.read_text()))
        case ".jsonl":  # of an interrupted run: the last line may be torn, and is written again
            return [
                _lasting(json.loads(line))
                for line in path.read_text().splitlines(keepends=True)
                if line[-1:] == "\n"
            ]
        case ".csv":
            with open(path, newline="") as file:
                return [_lasting(row) for row in csv.DictReader(file)]
        case ".safetensors":
            metadata, tensors = read_safetensors(path)
            said = {key: _lasting(_parsed(value)) for key, value in metadata.items()}
            return _lasting(said), {key: value.numpy().tobytes() for key, value in tensors.items()}
        case ".pt":
            return _plain(torch.load(path, weights_only=True))
        case ".mp4":
            with open_video(str(path)) as video:
                assert next(video.frames(), None) is not None, "no frames"
        case ".png" | ".jpg" | ".gif":
            with Image.open(path) as image:
                image.load()
        case ".html":
            assert path.read_text().rstrip().endswith("</html>"), "it breaks off"
    return path.read_bytes()


def _lasting(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            k: _lasting(v)
            for k, v in value.items()
            if not any(word in k.split("_") for word in PASSING)
        }
    return [_lasting(one) for one in value] if isinstance(value, list) else value


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _plain(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return value.numpy().tobytes()
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    return [_plain(v) for v in value] if isinstance(value, list | tuple) else value


def results(case: Path) -> dict[str, Any]:
    """By name, what the latest run has left, and what lies beside the weights."""
    runs = sorted((case / "out").glob("exp*"), key=lambda path: int(path.name[3:] or 1))
    latest = runs[-1] if runs else case / "out"
    files = [*latest.rglob("*"), *case.glob("*.safetensors")]
    found = [path for path in files if path.is_file() and path.name not in TIMED]
    return {
        path.name if path.parent == case else str(path.relative_to(latest)): content(path)
        for path in found
    }


def torn(case: Path) -> list[str]:
    """The files with a final name that are not whole, and why."""
    said = []
    for path in case.rglob("*"):
        if (
            path.is_file()
            and not path.name.startswith(".")
            and path.name not in ("log", "trials.log")
        ):
            try:
                content(path)
            except (Exception, UserError) as error:
                said.append(f"{path.relative_to(case)}: {error!r}")
    return said
