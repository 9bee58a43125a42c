"""Compiled steps of Langevin dynamics on a CPU, where launching a tensor operation takes longer than the operation.

They do the same as `physembed.engine.langevin` with tensors, operation by operation and without contracting any two, so
both round identically.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from llvmlite import ir
from torch import Tensor

from physembed.engine.compiled import library
from physembed.engine.compiled.emit import I64, Kernel
from physembed.engine.compiled.kernels import bits
from physembed.engine.compiled.pack import address

SLOTS = (
    "positions",
    "momenta",
    "forces",
    "energy",
    "new_forces",
    "new_energy",
    "noise",
    "masses",
    "stopped_at",
    "n_atoms",
    "half",
    "damping",
    "noise_factor",
)
NAMES = ("to_new_positions", "with_new_forces")


class LangevinSteps:
    """The two parts of a step of a batch, before and after the evaluation of the model.

    Replicas whose entry of `stopped_at` is not negative do not change.

    Args:
        state: positions, momenta, forces (n_replicas * n_atoms, 3), energy (n_replicas,) and masses of a batch, which
            are changed in place.
        stopped_at: (n_replicas,) integers.
        n_atoms: atoms per replica.
        half: half the time step.
        damping: damping factor of the momenta.
        noise_factor: amplitude of the noise for a mass of 1.
    """

    def __init__(
        self, state: Any, stopped_at: Tensor, n_atoms: int, *, half: float, damping: float, noise_factor: float
    ) -> None:
        double = state.positions.dtype == torch.float64
        self._library = library.load(f"langevin-{'double' if double else 'single'}", lambda: _module(double), NAMES)
        self._table = np.zeros(len(SLOTS), dtype=np.int64)
        self._address = address(self._table)
        self._n_systems = len(stopped_at)
        self._kept: dict[str, Tensor] = {}
        for name in ("positions", "momenta", "forces", "energy", "masses"):
            self._set(name, getattr(state, name))
        self._set("stopped_at", stopped_at)
        for name, value in (("half", half), ("damping", damping), ("noise_factor", noise_factor)):
            self._table[SLOTS.index(name)] = bits(value)
        self._table[SLOTS.index("n_atoms")] = n_atoms

    def _set(self, name: str, tensor: Tensor) -> None:
        if self._kept.get(name) is tensor:
            return
        if not tensor.is_contiguous():
            raise ValueError(f"{name} is not contiguous")
        self._kept[name] = tensor
        self._table[SLOTS.index(name)] = tensor.data_ptr()

    def to_new_positions(self, noise: Tensor) -> None:
        """Half kick, half drift, friction and noise (n_replicas * n_atoms, 3), half drift."""
        self._set("noise", noise)
        self._call("to_new_positions")

    def with_new_forces(self, output: dict[str, Tensor]) -> None:
        """Store energies and forces, and take a half kick."""
        self._set("new_forces", output["forces"])
        self._set("new_energy", output["energy"])
        self._call("with_new_forces")

    def _call(self, name: str) -> None:
        self._library[name](self._address, 0, self._n_systems, None)


def _module(double: bool) -> ir.Module:
    module = ir.Module("langevin")
    _to_new_positions(Kernel(module, NAMES[0], double, 4, SLOTS))
    _with_new_forces(Kernel(module, NAMES[1], double, 4, SLOTS))
    return module


def _moves(k: Kernel, system: Any) -> Any:
    return k.b.icmp_signed("<", k.load(k.pointer("stopped_at", I64), system), I64(0))


def _to_new_positions(k: Kernel) -> None:
    half = k.number("half")
    with k.loop(k.begin, k.end) as system, k.when(_moves(k, system)):
        start = k.sum((system, k.slot("n_atoms")))
        with k.loop(start, k.sum(start, k.slot("n_atoms"))) as atom:
            mass = k.load(k.pointer("masses"), atom)
            width = k.b.fmul(k.number("noise_factor"), k.sqrt(mass))
            with k.loop(k.sum((atom, 3)), k.sum((atom, 3), 3)) as at:
                position, momentum, force, noise = (
                    k.load(k.pointer(name), at) for name in ("positions", "momenta", "forces", "noise")
                )
                momentum = k.b.fadd(momentum, k.b.fmul(force, half))
                position = k.b.fadd(position, k.b.fmul(k.b.fdiv(momentum, mass), half))
                momentum = k.b.fadd(k.b.fmul(k.number("damping"), momentum), k.b.fmul(width, noise))
                position = k.b.fadd(position, k.b.fmul(k.b.fdiv(momentum, mass), half))
                k.store(position, k.pointer("positions"), at)
                k.store(momentum, k.pointer("momenta"), at)
    k.done()


def _with_new_forces(k: Kernel) -> None:
    half = k.number("half")
    with k.loop(k.begin, k.end) as system, k.when(_moves(k, system)):
        k.store(k.load(k.pointer("new_energy"), system), k.pointer("energy"), system)
        width = k.b.mul(k.slot("n_atoms"), I64(3))
        start = k.sum((system, width))
        with k.loop(start, k.sum(start, width)) as at:
            force = k.load(k.pointer("new_forces"), at)
            momentum = k.b.fadd(k.load(k.pointer("momenta"), at), k.b.fmul(force, half))
            k.store(momentum, k.pointer("momenta"), at)
            k.store(force, k.pointer("forces"), at)
    k.done()
