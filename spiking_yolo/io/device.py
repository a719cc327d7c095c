"""Where tensors live: the name that a person gives, checked by using it."""

from __future__ import annotations

import torch

from spiking_yolo.errors import UserError


def usable_device(name: str) -> torch.device:
    """The device of that name (cpu, cuda, cuda:1, ...). Raises UserError when nothing can be computed there."""
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).cpu()
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise UserError(f"cannot use the device {name} ({reason}): leave it out, or give cpu") from error
    return device
