"""What programs around this one set for all of PyTorch, and what must not change results."""

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch

_LOCK = threading.Lock()
# The default dtype outside, once for each call that is inside.
_OUTSIDE: list[torch.dtype] = []


@contextmanager
def own_dtypes() -> Iterator[None]:
    """Leave autocast, and make float32 the default dtype, as a context or a decorator.

    The default dtype is that of all threads: it is set back once the last call has ended.
    """
    with ExitStack() as stack:
        for device in ("cpu", "cuda"):
            if torch.is_autocast_enabled(device):
                stack.enter_context(torch.autocast(device, enabled=False))
        with _LOCK:
            _OUTSIDE.append(_OUTSIDE[0] if _OUTSIDE else torch.get_default_dtype())
            if _OUTSIDE[0] != torch.float32:
                torch.set_default_dtype(torch.float32)
        try:
            yield
        finally:
            with _LOCK:
                before = _OUTSIDE.pop()
                if not _OUTSIDE and before != torch.float32:
                    torch.set_default_dtype(before)
