"""OpenMM systems of topologies: every bond and angle flexible, bonded atoms excluded from the nonbonded forces.

ParmEd treats some molecules specially. It makes three-atom molecules rigid that look like water (`rigidWater`; the
linear CO2 then never ends, since its three constraints cannot be solved), and of a molecule of two atoms it leaves
out the exclusion of the bonded pair, so that N2 is torn to 1.95 Å by its own Lennard-Jones repulsion.
"""

from __future__ import annotations

from typing import Any

import openmm
import parmed


def flexible_system(structure: parmed.Structure, **options: Any) -> openmm.System:
    """The system of a topology without any constraint.

    Args:
        structure: the topology.
        options: further arguments of ParmEd's `createSystem`, such as `nonbondedMethod`.
    """
    system = structure.createSystem(constraints=None, rigidWater=False, **options)
    pairs = {tuple(sorted((bond.atom1.idx, bond.atom2.idx))) for bond in structure.bonds}
    for force in system.getForces():
        if isinstance(force, openmm.NonbondedForce):
            excluded = {
                tuple(sorted(force.getExceptionParameters(index)[:2])) for index in range(force.getNumExceptions())
            }
            for first, second in sorted(pairs - excluded):
                force.addException(first, second, 0.0, 1.0, 0.0)
        elif isinstance(force, openmm.CustomNonbondedForce):
            excluded = {tuple(sorted(force.getExclusionParticles(index))) for index in range(force.getNumExclusions())}
            for first, second in sorted(pairs - excluded):
                force.addExclusion(first, second)
    return system
