"""Results that no result can be: numbers that are none, boxes outside of the picture."""

import json
import math
from pathlib import Path
from typing import Any


def nonsense(case: Path) -> str:
    """What is wrong with a file that a tool wrote into out/ below the folder of a case; nothing if
    none is.
    """
    for path in filter(Path.is_file, (case / "out").rglob("*")):  # a folder may be called so too
        try:
            if path.suffix == ".json":
                json.loads(path.read_text(), parse_constant=_refuse, parse_float=_finite)
            elif path.suffix == ".txt" and path.parent.name == "labels":
                for line in path.read_text().splitlines():
                    _check_box(*map(float, line.split()[1:5]))
        except UnicodeDecodeError:
            # A network under the suffix that --output has.
            continue
        except ValueError as error:
            return f"{path.relative_to(case)}: {error}"
    return ""


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is not JSON")


def _finite(text: str) -> float:
    if not math.isfinite(float(text)):
        raise ValueError(f"{text} is too large")
    return float(text)


def _check_box(x: float, y: float, width: float, height: float) -> None:
    """Raises ValueError unless the box lies in the picture, all in its widths and heights."""
    sides = (x - width / 2, y - height / 2, 1 - x - width / 2, 1 - y - height / 2)
    if not all(length >= -1e-4 for length in (width, height, *sides)):  # nan is not
        raise ValueError(f"a box {x} {y} {width} {height} outside of the picture")
