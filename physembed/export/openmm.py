"""A model as an OpenMM force (`openmm.PythonForce`, OpenMM >= 8.6; no plugin).

    system = make_system(atoms, "corrected_model.pt")
    system.addForce(openmm.MonteCarloBarostat(1 * unit.bar, 298 * unit.kelvin))
    context = openmm.Context(system, openmm.LangevinMiddleIntegrator(298, 1 / unit.picosecond, 1 * unit.femtosecond))
    context.setPositions(atoms.positions * unit.angstrom)

The system can be written with `openmm.XmlSerializer` and read again. The XML holds a pickle with the paths of the
model's files, not the weights, so these files have to be there when it is used. Checkpoints of a `Context` work as
with any other force.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import openmm
from ase import Atoms
from ase.neighborlist import natural_cutoffs, neighbor_list
from openmm import unit

from physembed.export.potential import Potential, check_lattice
from physembed.models.members import Files

EV = 96.48533212331002
"""One eV in kJ/mol."""


class Computation:
    """What OpenMM calls in each step: energy in kJ/mol and forces in kJ/mol/nm of a state."""

    def __init__(self, potential: Potential) -> None:
        self.potential = potential

    def __call__(self, state: openmm.State) -> tuple[float, np.ndarray]:
        """Evaluate the model at the positions (nm) and the box (nm) of a state."""
        positions = 10 * state.getPositions(asNumpy=True).value_in_unit(unit.nanometer)
        cell = None
        if self.potential.periodic:
            cell = 10 * state.getPeriodicBoxVectors(asNumpy=True).value_in_unit(unit.nanometer)
        result = self.potential(positions, cell)
        return result.energy * EV, result.forces * (10 * EV)


def make_force(
    numbers: Any, model: Files, *, periodic: bool, device: str = "auto", dtype: str = "float64"
) -> openmm.PythonForce:
    """The force of a model on all particles of a system, to be added to it with `addForce`.

    Args:
        numbers: (n_atoms,) atomic numbers, one for each particle of the system.
        model: file of a corrected model, of a MACE model or of a committee, or the files of a committee.
        periodic: whether the box counts.
        device: `auto`, `cpu` or `cuda`, on which the model runs; OpenMM's own platform does not matter.
        dtype: `float64`, or `float32`, which is faster.

    Raises:
        PhysEmbedError: a file holds no model, or one that does not know an element.
    """
    return _force(Potential(model, numbers, periodic=periodic, device=device, dtype=dtype))


def _force(potential: Potential) -> openmm.PythonForce:
    force = openmm.PythonForce(Computation(potential.load()))
    force.setUsesPeriodicBoundaryConditions(potential.periodic)
    force.setName("PhysEmbed")
    return force


def make_system(atoms: Atoms, model: Files, *, device: str = "auto", dtype: str = "float64") -> openmm.System:
    """A system of OpenMM with the masses and the box of a structure and the model as its only force.

    OpenMM's barostats move whole molecules, which it knows by their bonds. A bond force of strength 0 between atoms
    that are as near as a covalent bond tells it; it adds neither energy nor force.

    Args:
        atoms: the structure; for a box, lattice vectors in OpenMM's form (a along x, b in the xy plane), which
            `atoms.cell.standard_form()` gives.
        model: as `make_force`.
        device: as `make_force`.
        dtype: as `make_force`.

    Raises:
        PhysEmbedError: as `make_force`; a box in another form, or too small for the bonds.
    """
    return system_of(atoms, Potential.of(model, atoms, device=device, dtype=dtype))


def system_of(atoms: Atoms, potential: Potential) -> openmm.System:
    """`make_system` for a potential of this structure.

    Raises:
        PhysEmbedError: as `make_system`.
    """
    check_lattice(atoms, "openmm")
    force = _force(potential)
    system = openmm.System()
    for mass in atoms.get_masses():
        system.addParticle(mass * unit.dalton)
    if force.usesPeriodicBoundaryConditions():
        system.setDefaultPeriodicBoxVectors(*(openmm.Vec3(*row) * unit.angstrom for row in atoms.cell.array))
    system.addForce(force)
    system.addForce(_molecules(atoms))
    return system


def _molecules(atoms: Atoms) -> openmm.HarmonicBondForce:
    bonds = openmm.HarmonicBondForce()
    bonds.setName("molecules")
    bonds.setUsesPeriodicBoundaryConditions(bool(atoms.pbc.all()))
    for i, j in zip(*neighbor_list("ij", atoms, natural_cutoffs(atoms, mult=1.15)), strict=True):
        if i < j:
            bonds.addBond(int(i), int(j), 0.1, 0.0)
    return bonds
