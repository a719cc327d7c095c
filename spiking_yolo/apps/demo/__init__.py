"""Write a page that detects in the browser: the spiking network on a webcam, a video or a
photograph, by onnxruntime-web.
"""

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from spiking_yolo.options import DetectionOptions, MethodOptions


@dataclass(frozen=True, kw_only=True)
class DemoOptions(MethodOptions, DetectionOptions):
    """The network, and where its page goes."""

    output: Annotated[Path, Parameter(alias="-o")]
    """Folder to write: a new one, or that of an earlier demo."""
    runtime: Path | None = None
    """Onnxruntime-web from disk, the file of `npm pack` (default: by npm)."""
    weights: Path | None = Path("yolo-fastest")
    """Darknet .weights, .safetensors, a .pt of YOLOv5 or Ultralytics, or a name of spiking-yolo
    list; small networks are faster.
    """


def main(options: DemoOptions) -> None:
    """Write a page that detects in the browser: the spiking network on a webcam, a video or a
    photograph, by onnxruntime-web.

    ```
    spiking-yolo demo -o folder
    spiking-yolo demo -o folder --weights yolo-fastest-xl
    spiking-yolo demo -o folder --runtime onnxruntime-web-1.30.0.tgz
    ```

    The page shows boxes, how many operations the network needs per multiply-accumulate of the ANN
    in every frame, and where events happen. All its files lie in the folder, which any web server
    can serve: nothing is fetched from elsewhere, and no picture leaves the browser. The network
    keeps its state from frame to frame. The command needs the extra "onnx", and onnxruntime-web,
    from npm or --runtime. Browsers open cameras and modules only at https:// and
    http://localhost, not from a file: `python -m http.server` serves the folder there.
    """
    from spiking_yolo.apps.demo.folder import write

    size = write(options)
    print(f"page saved to {options.output}, {size / 1e6:.1f} MB")
    folder = shlex.quote(str(options.output))
    print(f"to see it: python -m http.server --bind localhost --directory {folder}")
    print("then open http://localhost:8000 in a browser")
