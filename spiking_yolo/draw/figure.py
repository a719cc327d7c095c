"""One style for all figures, apart from matplotlib's global settings."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import matplotlib
from matplotlib.figure import Figure

from spiking_yolo.draw import FigureFormat
from spiking_yolo.errors import UserError
from spiking_yolo.io.files import atomic_write

DPI = 200
STYLE: dict[Any, Any] = {
    # Names of classes may have a dollar sign.
    "text.parse_math": False,
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.labelsize": 9,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.8,
    "axes.axisbelow": True,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.6,
    "lines.markersize": 5,
    # Publishers reject Type 3 fonts.
    "pdf.fonttype": 42,
    # The same figure is the same file, without random names of its parts.
    "svg.hashsalt": "spiking_yolo",
}

# Nor with a date in it.
_UNDATED: dict[str, Any] = {".png": None, ".pdf": {"CreationDate": None}, ".svg": {"Date": None}}


@contextmanager
def paper_figure(
    path: str | Path,
    width: float,
    height: float,
    layout: Literal["constrained", "compressed"] = "constrained",
    also: FigureFormat = "png",
) -> Iterator[Figure]:
    """Yield an empty figure, and save it on success.

    Args:
        path: Ends in .png (200 dpi), .pdf or .svg.
        width: In inches.
        height: In inches.
        layout: "compressed" suits axes of fixed aspect, such as pictures, and cuts empty margins.
        also: A second format in which the figure is saved.

    Raises:
        UserError: The path has another end, or the file cannot be written.
    """
    path = Path(path)
    if path.suffix.lower() not in _UNDATED:
        raise UserError(
            f"cannot save a figure as {path.name!r}; end the path in .png, .pdf or .svg"
        )
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(width, height), layout=layout)
        yield figure
        margins = "tight" if layout == "compressed" else None
        for target in dict.fromkeys((path, path.with_suffix(f".{also}"))):
            undated = _UNDATED[target.suffix.lower()]
            with atomic_write(target) as temporary:
                figure.savefig(
                    temporary, dpi=DPI, metadata=undated, bbox_inches=margins, pad_inches=0.04
                )
