"""What a MACE model does, found by evaluating it: does it give MACE's energies on our paths, and may pairs be padded?

Names and settings of a model say little: models of the same class can need inputs that nobody gives, and newer blocks
do not vanish at the cutoff. So a model is evaluated once, in float64 on a CPU, before anything is spent on it.
"""

from __future__ import annotations

import copy
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase import Atoms
from ase.data import atomic_numbers
from numpy.typing import NDArray

from physembed.engine.beyond_cutoff import vanishes_beyond_cutoff
from physembed.errors import PhysEmbedError
from physembed.model_files.file import load_module

log = logging.getLogger(__name__)
TOLERANCE = 1e-6
"""Largest difference to MACE's own calculator relative to the largest force (eV/Å), energy difference and stress."""
COMMON = [atomic_numbers[symbol] for symbol in ("H", "C", "O", "N", "F", "S", "P", "Cl")]
"""Elements that the structure is made of, where the model has them."""


@dataclass(frozen=True)
class Verdict:
    """What was found of a model that can be used."""

    vanishes_beyond_cutoff: bool
    """Pairs beyond r_max add nothing, so that lists may be padded with them (steps captured on a GPU need that)."""


def examine_file(path: str | Path, key: str) -> Verdict:
    """Evaluate the model in a file (see `examine`); the file is a pickle, which can run any code when it is loaded."""
    return examine(load_module(path, "cpu", key), f"{key}: {path}")


def examine(module: torch.nn.Module, what: str = "model") -> Verdict:
    """Compare a model on our path with MACE's own calculator, on a small periodic structure.

    Args:
        module: a MACE model; it is not changed.
        what: begins each message.

    Raises:
        PhysEmbedError: it needs inputs such as a charge or spin, gives no energy, cannot be evaluated, or our path does
            not give the energy, forces and stress of MACE's calculator.
    """
    model = copy.deepcopy(module).to(device="cpu", dtype=torch.float64).eval()
    atoms = _structure(model)
    try:
        found = _ours(model, atoms)
        expected = _maces(model, atoms)
    except PhysEmbedError:
        raise
    except KeyError as error:
        raise PhysEmbedError(
            f"{what}: needs {error.args[0]!r} as input, or should give it and does not; models with charge, spin or "
            "fields as input and models without energies are not supported"
        ) from error
    except Exception as error:  # a model of another version of MACE can raise anything
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        raise PhysEmbedError(
            f"{what}: cannot be evaluated: {reason}; give a model that MACE's own calculator runs with the installed "
            "version"
        ) from error
    scale = float(np.abs(expected["forces"]).max())
    for name, value in expected.items():
        difference = float(np.abs(found[name] - value).max())
        # A reference energy of thousands of eV has this much noise.
        allowed = TOLERANCE * max(scale, float(np.abs(value).max()) if name == "stress" else 0.0)
        allowed += 1e-13 * float(np.abs(value).max())
        if not difference <= allowed:
            raise PhysEmbedError(
                f"{what}: {name} differ from those of MACE's own calculator by {difference:.2g} (forces are up to "
                f"{scale:.2g} eV/Å); this model is not supported"
            )
    vanishes = vanishes_beyond_cutoff(module)
    if not vanishes:
        log.warning(
            "%s: pairs beyond its cutoff count in it: on a GPU it runs without captured steps, which is slower", what
        )
    return Verdict(vanishes)


def _structure(module: Any) -> Atoms:
    """A periodic structure of the model's elements, as dense as a liquid."""
    numbers = module.atomic_numbers.tolist()
    elements = [number for number in COMMON if number in numbers][:4] or numbers[:4]
    generator = np.random.default_rng(1)
    sites = np.array([(x, y, z) for x in range(3) for y in range(3) for z in range(2)], float) * 1.9
    positions = sites + generator.uniform(-0.25, 0.25, sites.shape)
    return Atoms(generator.choice(elements, len(sites)), positions, cell=np.diag([5.7, 5.7, 3.8]) + 0.2, pbc=True)


def _ours(module: Any, atoms: Atoms) -> dict[str, NDArray[np.float64]]:
    import torch_sim

    from physembed.engine.mace import LiquidMace

    model = LiquidMace(copy.deepcopy(module), torch.device("cpu"), torch.float64)
    output = model(torch_sim.io.atoms_to_state([atoms], device=model.device, dtype=model.dtype))
    voigt = output["stress"][0].numpy().ravel()[[0, 4, 8, 5, 2, 1]]
    return {"energy": output["energy"].numpy(), "forces": output["forces"].numpy(), "stress": voigt}


def _maces(module: Any, atoms: Atoms) -> dict[str, NDArray[np.float64]]:
    from mace.calculators import MACECalculator

    calculator = MACECalculator(models=[copy.deepcopy(module)], device="cpu", default_dtype="float64")
    atoms = atoms.copy()
    atoms.calc = calculator
    forces = np.asarray(atoms.get_forces())
    energy, stress = np.array([atoms.get_potential_energy()]), np.asarray(atoms.get_stress())
    return {"energy": energy, "forces": forces, "stress": stress}
