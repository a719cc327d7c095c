"""What Ultralytics finds with public checkpoints of two heads or attention, in a process of its own.

    python tests/helpers/ultralytics_zoo.py FOLDER PHOTOGRAPH CHECKPOINT...

Writes, per checkpoint, NAME.safetensors: "x", the photograph as the network takes it; for each head
its raw values in float64, "one2one", "one2many", or "one2many" alone; and "best" and "best
agnostic", the 300 boxes in pixels, scores and classes that the one-to-one head itself chooses. Where
there are two heads, NAME.pt is a copy in which the one-to-one head was changed, since both are equal
in some files.
"""

import sys
from dataclasses import replace
from pathlib import Path

import torch
from ultralytics.nn.tasks import load_checkpoint

from spiking_yolo.data.images import preprocess, read_image
from spiking_yolo.io.tensors import write_safetensors
from spiking_yolo.models.yolo_checkpoint import read_checkpoint

HEIGHT, WIDTH = 192, 256


@torch.no_grad()
def reference(path: Path, photograph: Path, folder: Path) -> None:
    model = load_checkpoint(str(path))[0].eval()
    head = model.model[-1]
    two = hasattr(head, "one2one_cv2")
    if head.reg_max > 1:
        # 0, 1, ... by definition, but rounded to 8 bits in some files.
        head.dfl.conv.weight[:] = torch.arange(head.reg_max).view(1, -1, 1, 1)
    if two:
        chance = torch.Generator().manual_seed(0)
        for name, parameter in head.named_parameters():
            if name.startswith("one2one"):
                parameter *= 1 + 0.02 * torch.randn(parameter.shape, generator=chance)
        torch.save({"model": model}, folder / path.name)
    spec = replace(read_checkpoint(path)[1], height=HEIGHT, width=WIDTH)
    x = preprocess(read_image(photograph), spec)[0][None]
    model = model.double()
    head.end2end = two
    found, raw = model(x.double())
    heads = raw if two else {"one2many": raw}
    tensors = {name: torch.cat([y["boxes"], y["scores"]], 1) for name, y in heads.items()}
    if two:
        tensors["best"] = found[0]
        head.agnostic_nms = True
        tensors["best agnostic"] = model(x.double())[0][0]
    write_safetensors(folder / f"{path.stem}.safetensors", {"x": x, **tensors}, {})


if __name__ == "__main__":
    for checkpoint in sys.argv[3:]:
        reference(Path(checkpoint), Path(sys.argv[2]), Path(sys.argv[1]))
