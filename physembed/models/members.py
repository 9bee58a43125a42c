"""What a model file holds: a MACE model, one with its correction, or a committee of several models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from ase.calculators.calculator import Calculator
from ase.calculators.mixing import SumCalculator
from ase.data import chemical_symbols
from mace.calculators import MACECalculator
from numpy.typing import NDArray

from physembed.cso import CSOCalculator, CSOParameters, Cutoffs
from physembed.engine.compiled.admission import compiled
from physembed.engine.compiled.calculator import CompiledCalculator
from physembed.engine.compiled.models import CompiledLiquid
from physembed.engine.liquid_model import LiquidModel, corrected, mace_of_liquids
from physembed.engine.mace import LiquidMace
from physembed.errors import PhysEmbedError
from physembed.model_files.file import as_module, default_head, load_pickle
from physembed.model_files.given import check_file

CORRECTED = "physembed corrected model 1"
"""What the entry `format` of a corrected model says; another layout gets another number."""
COMMITTEE = "physembed committee 1"
"""The same of a committee."""
Files = str | Path | Sequence[str | Path]
"""A file of a model or of a committee, or several, which are a committee together."""


@dataclass(frozen=True)
class Correction:
    """The CSO correction of a model."""

    convention: str
    alpha: float
    a1: float
    cutoffs: Cutoffs

    @property
    def parameters(self) -> CSOParameters:
        """As `CSOModel` takes them."""
        return CSOParameters(alpha=self.alpha, a1=self.a1)


@dataclass(frozen=True)
class Member:
    """One model."""

    name: str
    """Its file, with its place where the file holds several; it begins messages."""
    module: torch.nn.Module
    """MACE."""
    correction: Correction | None
    """What is added to it."""

    @property
    def elements(self) -> list[int]:
        """Atomic numbers that it knows, in its order."""
        numbers: list[int] = torch.as_tensor(self.module.atomic_numbers).tolist()
        return numbers

    @property
    def r_max(self) -> float:
        """Cutoff of MACE in Å."""
        return float(torch.as_tensor(self.module.r_max))

    def torchsim(self, device: str, dtype: str) -> LiquidModel | LiquidMace | CompiledLiquid:
        """For torch-sim, of boxes and of molecules."""
        if self.correction is None:
            return mace_of_liquids(self.module, device, dtype)
        own = self.correction
        return corrected(
            self.module,
            device,
            dtype,
            convention=own.convention,
            alpha=own.alpha,
            a1=own.a1,
            cutoffs=own.cutoffs,
        )

    def ase(self, device: str, dtype: str) -> Calculator:
        """For ASE: compiled MACE on a CPU, if it takes the model, else MACE's own calculator."""
        evaluator = compiled(self.module, dtype) if device == "cpu" else None
        if evaluator is not None:
            return self._with_correction(CompiledCalculator(evaluator))
        return self._with_correction(self._mace(device, dtype))

    def reference(self) -> Calculator:
        """MACE's own calculator and `CSOCalculator`, in float64 on the CPU."""
        return self._with_correction(self._mace("cpu", "float64"))

    def _mace(self, device: str, dtype: str) -> Calculator:
        return MACECalculator(
            models=[self.module],
            device=device,
            default_dtype=dtype,
            head=default_head(self.module, self.name),
            enable_cueq=device == "cuda",
        )

    def _with_correction(self, mace: Calculator) -> Calculator:
        if self.correction is None:
            return mace
        own = self.correction
        return SumCalculator([mace, CSOCalculator(own.parameters, own.convention, own.cutoffs)])


def named_files(files: Files, what: str = "model") -> list[str]:
    """The files one by one.

    Raises:
        PhysEmbedError: there is none.
    """
    named = [str(file) for file in ([files] if isinstance(files, str | Path) else files)]
    if not named:
        raise PhysEmbedError(f"{what}: no file is named; give one, or those of a committee")
    return named


def load_members(files: Files, what: str = "model") -> list[Member]:
    """The models in a file, or in several, on the CPU.

    Model files are pickles, which can run any code when they are loaded: load only files that you trust.

    Raises:
        PhysEmbedError: no file is named, or one holds no model; or the models cannot form a committee (`check_alike`).
    """
    named = named_files(files, what)
    for file in named:
        check_file(what, file, None)
    members = [member for file in named for member in _members(load_pickle(file, "cpu", what), file, what)]
    check_alike(members)
    return members


def check_alike(members: Sequence[Member]) -> None:
    """Refuse models whose mean would mean nothing: of other elements or cutoffs, or at another level of correction.

    The strength a1 of the correction may differ, since each model is tuned by itself.

    Raises:
        PhysEmbedError: two models differ; the message names both.
    """
    first = members[0]
    for other in members[1:]:
        for noun, one, another in (
            ("elements", _symbols(first), _symbols(other)),
            ("r_max", f"{first.r_max:g} Å", f"{other.r_max:g} Å"),
            ("correction", _level(first), _level(other)),
        ):
            if one != another:
                raise PhysEmbedError(
                    f"committee: {first.name} and {other.name}: {noun} {one} and {another}; the models of a committee "
                    "have the same elements, cutoff and level of correction"
                )


def check_elements(members: Sequence[Member], numbers: NDArray[Any] | Sequence[int]) -> None:
    """Refuse atoms that the models do not know.

    Raises:
        PhysEmbedError: there are such atoms.
    """
    known = members[0].elements
    if missing := sorted({int(number) for number in numbers} - set(known)):
        raise PhysEmbedError(
            f"model: {members[0].name}: does not know {', '.join(chemical_symbols[z] for z in missing)} (it has "
            f"{', '.join(chemical_symbols[z] for z in sorted(known))})"
        )


def _members(saved: Any, name: str, what: str) -> list[Member]:
    """The models of what a file holds; members of a committee are numbered."""
    layout = saved.get("format") if isinstance(saved, Mapping) else None
    if layout == COMMITTEE:
        inside = enumerate(saved["members"], 1)
        return [member for place, one in inside for member in _members(one, f"{name} (member {place})", what)]
    if layout == CORRECTED:
        chosen = {key: saved[key] for key in ("convention", "alpha", "a1")}
        return [Member(name, saved["mace"], Correction(**chosen, cutoffs=Cutoffs(**saved["cutoffs"])))]
    return [Member(name, as_module(saved, name, what), None)]


def _symbols(member: Member) -> str:
    return " ".join(chemical_symbols[number] for number in member.elements)


def _level(member: Member) -> str:
    own = member.correction
    if own is None:
        return "none"
    return f"{own.convention}, alpha {own.alpha:g}, {own.cutoffs}"
