"""A graphics card that is not there: what lies on it has a shape and no values, so that nobody
reads it unnoticed.

Tensors of the host stay as they are; those of the card are PyTorch's fake tensors, which know their
device. What mixes the two is refused, numbers without a dimension included, and what makes the host
wait is noticed.
"""

import sys
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode, unset_fake_temporarily
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import spiking_yolo
from spiking_yolo.spikes.counting import _more

DEVICE = "cuda:0"
_PACKAGE = Path(spiking_yolo.__file__).parent
_SHAPED_BY_VALUES = {
    "nonzero",
    "masked_select",
    "_unique2",
    "unique_dim",
    "unique_consecutive",
    "bincount",
    "nms",
}
_GUARDED = {
    "__getitem__",
    "__setitem__",
    "contiguous",
    "copy_",
    "nonzero",
    "__bool__",
    "__float__",
    "__int__",
}


class FakeDevice(TorchDispatchMode):
    """While it is entered there is a device "cuda:0".

    What is read off it is noise.
    """

    def __init__(self) -> None:
        super().__init__()
        self._fake, self._unguarded = FakeTensorMode(), _Unguarded()
        self._noise = torch.Generator().manual_seed(0)

    def __enter__(self) -> Self:
        # Every operation comes here first and then there.
        self._fake.__enter__()
        self._unguarded.__enter__()
        return super().__enter__()

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        self._unguarded.__exit__(*error)
        self._fake.__exit__(*error)
        # It holds a tensor of each device.
        _more.cache_clear()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs, name = kwargs or {}, func.overloadpacket.__name__
        if name == "device" and self._unguarded.active:
            return torch.device("meta")
        tensors = [value for value in tree_leaves((args, kwargs)) if isinstance(value, Tensor)]
        there = [isinstance(value, FakeTensor) for value in tensors]
        target = (
            torch.device(kwargs.get("device") or ("cuda" if any(there) else "cpu")).type == "cuda"
        )
        if not target and not any(there):
            with unset_fake_temporarily():
                return func(*args, **kwargs)
        if name == "_to_copy" and there != [target]:
            return self._copy(func, args, kwargs)
        if name == "copy_" and there[0] != there[1]:
            return self._copy(func, args, kwargs)
        if not all(there):
            shapes = " and ".join(f"{tuple(value.shape)} on {value.device}" for value in tensors)
            raise AssertionError(f"{func} in {_place()}: {shapes}")
        if name == "_local_scalar_dense":
            with unset_fake_temporarily():
                return self._host(*args).item()
        masked = name == "index" and any(
            value.dtype in (torch.bool, torch.uint8) for value in tensors[1:]
        )
        if masked or name in _SHAPED_BY_VALUES:
            raise AssertionError(f"{func} in {_place()}: its shape depends on values of the device")
        if name == "equal":
            return False
        return func(*args, **kwargs)

    def _copy(self, func: Any, args: Any, kwargs: Any) -> Any:
        """Between host and device."""
        *into, value = [x for x in args if isinstance(x, Tensor)]
        if not isinstance(value, FakeTensor):
            return func(*into, self._fake.from_tensor(value), **kwargs)
        with unset_fake_temporarily():
            return func(*into, self._host(value), **kwargs)

    def _host(self, value: Tensor) -> Any:
        """Noise, for what is read off the device; the answer to a question is no."""
        with unset_fake_temporarily():
            noise = torch.rand(value.shape, generator=self._noise, dtype=torch.float64)
            return noise.to(value.dtype) if value.dtype != torch.bool else noise > 1


class _Unguarded(TorchFunctionMode):
    """A PyTorch without CUDA has no guard of its devices, for which some functions ask: they are
    told of another.
    """

    active = False

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = getattr(func, "__name__", "")
        if name == "new_tensor":
            return torch.tensor(args[1], dtype=args[0].dtype, device=args[0].device)
        self.active = name in _GUARDED
        try:
            return func(*args, **(kwargs or {}))
        finally:
            self.active = False


def _place() -> str:
    """The innermost function of the package that is being called."""
    frame = sys._getframe()
    while frame is not None:
        path = Path(frame.f_code.co_filename)
        if path.is_relative_to(_PACKAGE):
            function = frame.f_code.co_qualname.partition(".<locals>")[0]
            return f"{path.relative_to(_PACKAGE).as_posix()}:{function}"
        frame = frame.f_back
    return "outside of the package"
