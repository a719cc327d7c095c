"""The device that a network runs on."""

import torch

from spiking_yolo.errors import UserError


def usable_device(name: str | torch.device) -> torch.device:
    """The device of this name, once a tensor has been there and back. Raises UserError when that fails."""
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).cpu()
    except (RuntimeError, AssertionError, TypeError, ImportError) as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise UserError(f"cannot use the device {name} ({reason}): leave it out, or give cpu") from error
    return device
