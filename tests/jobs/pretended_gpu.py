"""A GPU that is only pretended, for machines without one: what is said to lie there is watched.

In: code that asks torch for the device "cuda". Out: its results, computed on the CPU; an error as
torch's own where tensors of both places meet; and `waits`, each time that the host would have
waited for the GPU: a number or a shape that depends on values, a copy to the host, or one to the
GPU out of memory that is not pinned.

What a real one computes, how fast, and which of its kernels are deterministic is not seen here:
`python -m tests.bench.gpu` is for that.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

GPU, HOST = torch.device("cuda", 0), torch.device("cpu")
ASK_FOR_VALUES = {
    torch.ops.aten._local_scalar_dense,
    torch.ops.aten.equal,
    torch.ops.aten.is_nonzero,
    torch.ops.aten.masked_select,
    torch.ops.aten.nonzero,
    torch.ops.aten._unique2,
}
INDEXING = {torch.ops.aten.index, torch.ops.aten.index_put, torch.ops.aten.index_put_}
TO_NUMPY = {Tensor.numpy, Tensor.__array__}


class PretendedGpu(TorchFunctionMode):
    """The calls that name a device; `_Kernels` sees what torch makes of them."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: list[str] = []
        # Storages, which views and detached tensors share; kept, so that no address is used twice.
        self._there: dict[int, torch.UntypedStorage] = {}
        self._pinned: dict[int, torch.UntypedStorage] = {}

    def is_there(self, tensor: Tensor) -> bool:
        """Whether it lies on the GPU."""
        return tensor.untyped_storage()._cdata in self._there

    def put(self, tensors: Iterable[Tensor]) -> None:
        """Say that they lie on the GPU."""
        for tensor in tensors:
            storage = tensor.untyped_storage()
            self._there[storage._cdata] = storage

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if func == Tensor.device.__get__:
            return GPU if self.is_there(args[0]) else HOST
        if func is Tensor.pin_memory:
            return self._pin(args[0])
        if func is Tensor.cpu:
            return self._copy(args[0], HOST, func.__name__)
        if func is Tensor.to:
            device, dtype, eager, layout = torch._C._nn._parse_to(*args[1:], **kwargs)
            if device is not None and device.type != "meta":
                given = {} if layout is None else {"memory_format": layout}
                converted = args[0] if dtype is None else args[0].to(dtype, **given)
                return self._copy(converted, device, func.__name__, eager, **given)
        if func is functional.one_hot and self.is_there(args[0]):
            # On a CPU it looks at all values, and makes a tensor on what it takes to be the device.
            with _paused():
                made = func(*args, **kwargs)
            self.put([made])
            return made
        if func in TO_NUMPY and self.is_there(args[0]):
            raise TypeError("can't convert cuda:0 device type tensor to numpy")
        made_there = kwargs.get("device") is not None and _is_gpu(kwargs["device"])
        if func is Tensor.new_tensor or (func is torch.tensor and made_there):
            made_there = made_there or self.is_there(args[0])
            if made_there:
                self.waits.append(func.__name__)
        if made_there:
            kwargs = {**kwargs, "device": HOST}
        made = func(*args, **kwargs)
        if made_there:
            self.put([made])
        return made

    def _pin(self, tensor: Tensor) -> Tensor:
        pinned = tensor.clone()
        storage = pinned.untyped_storage()
        self._pinned[storage._cdata] = storage
        return pinned

    def _copy(
        self, tensor: Tensor, device: torch.device, name: str, eager: bool = False, **given: Any
    ) -> Tensor:
        goes, is_there = _is_gpu(device), self.is_there(tensor)
        if goes == is_there:
            return tensor.to(**given) if given else tensor
        pinned = tensor.untyped_storage()._cdata in self._pinned
        if is_there or not (eager and pinned):
            self.waits.append(name)
        with _paused():
            copied = tensor.detach().clone(**given)
        if goes:
            self.put([copied])
        return copied


class _Kernels(TorchDispatchMode):
    """The kernels that torch starts, of backward passes and optimizers too."""

    paused = False

    def __init__(self, gpu: PretendedGpu) -> None:
        super().__init__()
        self._gpu = gpu

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        there = [tensor for tensor in given if self._gpu.is_there(tensor)]
        if _Kernels.paused or not there:
            return func(*args, **(kwargs or {}))
        packet = func.overloadpacket
        host = [t for t in given if t.ndim > 0 and not self._gpu.is_there(t)]
        if host and packet is not torch.ops.aten.copy_:
            raise RuntimeError(
                f"{func}: expected all tensors to be on the same device, but found at least two "
                "devices, cuda:0 and cpu"
            )
        by_mask = packet in INDEXING and any(t.dtype == torch.bool for t in tree_leaves(args[1]))
        if packet in ASK_FOR_VALUES or by_mask or host:
            self._gpu.waits.append(str(func))
        out = func(*args, **(kwargs or {}))
        self._gpu.put(leaf for leaf in tree_leaves(out) if isinstance(leaf, Tensor))
        return out


@contextmanager
def _paused() -> Iterator[None]:
    before, _Kernels.paused = _Kernels.paused, True
    try:
        yield
    finally:
        _Kernels.paused = before


def _is_gpu(device: Any) -> bool:
    return torch.device(device).type == "cuda"


@contextmanager
def pretended_gpu() -> Iterator[PretendedGpu]:
    """A context in which torch has a GPU."""
    with pytest.MonkeyPatch.context() as patch, PretendedGpu() as gpu, _Kernels(gpu):
        # Its random numbers are those of the CPU.
        patch.setattr(torch.cuda, "current_device", lambda: 0)
        patch.setattr(torch.cuda, "get_device_name", lambda: "pretended")
        patch.setattr(torch.cuda, "manual_seed", lambda _seed: None)
        patch.setattr(torch.cuda, "get_rng_state", lambda *_: torch.zeros(16, dtype=torch.uint8))
        patch.setattr(torch.cuda, "set_rng_state", lambda *_: None)
        yield gpu
