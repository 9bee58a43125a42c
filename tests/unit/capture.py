"""Detects on a CPU what cannot be captured in a CUDA graph."""

from __future__ import annotations

from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

HOST = {
    "_local_scalar_dense", "is_nonzero", "equal", "nonzero", "masked_select", "bincount", "unique_consecutive",
    "_unique2", "unique_dim", "lift_fresh", "histc", "_linalg_det", "linalg_inv_ex", "_linalg_svd", "_linalg_solve_ex",
    "_linalg_slogdet", "linalg_lu_factor_ex",
}  # fmt: skip
"""Operations that wait for the device, give shapes that depend on values, or copy from the memory of the host."""


class NoNumbersToChooseFrom(TorchFunctionMode):
    """`torch.where` makes a tensor of a number on the host, and copies it."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        numbers = [value for value in args if isinstance(value, int | float)]
        assert func not in (torch.where, torch.Tensor.where) or not numbers, (
            f"a CUDA graph cannot hold {func} of a number"
        )
        return func(*args, **(kwargs or {}))


class Capturable(TorchDispatchMode):
    """Context in which operations that cannot be captured in a CUDA graph raise, also on a CPU."""

    def __enter__(self) -> Any:
        self._where = NoNumbersToChooseFrom()
        self._where.__enter__()
        return super().__enter__()

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        self._where.__exit__(*error)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        indices = args[1] if name in ("index", "index_put", "index_put_") else ()
        masks = [index for index in indices if index is not None and index.dtype in (torch.bool, torch.uint8)]
        counted = name == "repeat_interleave" and not (kwargs or {}).get("output_size")
        assert name not in HOST and not masks and not counted, f"a CUDA graph cannot hold {func}"
        return func(*args, **(kwargs or {}))
