"""One file per method: a recipe of the four slots, with the paper, the equation and what it needs."""

from . import channel_norm, differential, signed_memory

__all__ = ["channel_norm", "differential", "signed_memory"]
