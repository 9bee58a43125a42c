"""Classical MD in OpenMM, of one molecule and of periodic boxes: systems, thermostat, barostat, platform, states.

Nothing is constrained. ParmEd treats some molecules specially: it makes three-atom molecules rigid that look like water
(`rigidWater`; the linear CO2 then hangs, since its three constraints cannot be solved), and for a molecule of two
atoms it omits the exclusion of the bonded pair, so N2 is stretched to 1.95 Å by its own Lennard-Jones repulsion.
`flexible_system` fixes both.
"""

from __future__ import annotations

import copy
import logging
from dataclasses import dataclass
from typing import Any

import numpy as np
import openmm
import parmed
from numpy.typing import NDArray
from openmm import app, unit

from physembed.errors import PhysEmbedError
from physembed.units import KJ_MOL

log = logging.getLogger(__name__)
SHRUNK = "less than twice the nonbonded cutoff"
"""OpenMM's message for a box that the barostat has made too small."""
SWITCH = 0.9
"""Fraction of the cutoff from which Lennard-Jones interactions are switched off."""
GAS_CONSTANT = unit.MOLAR_GAS_CONSTANT_R.value_in_unit(unit.kilojoule_per_mole / unit.kelvin)
"""Gas constant in kJ/mol/K."""


class BoxTooSmallError(Exception):
    """A periodic box has become shorter than twice the cutoff."""


class StoppedError(Exception):
    """OpenMM ended the run: a coordinate is not finite."""


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


def potential_energy(structure: parmed.Structure, positions: NDArray[np.float64]) -> float:
    """Energy of a molecule without a cutoff, kJ/mol, at positions (n_atoms, 3) in Å."""
    return float(energies_and_forces(structure, positions[None])[0][0] / KJ_MOL)


def energies_and_forces(
    structure: parmed.Structure, positions: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Energies (n_frames,) in eV and forces (n_frames, n_atoms, 3) in eV/Å of a molecule without a cutoff.

    Args:
        structure: its topology.
        positions: (n_frames, n_atoms, 3) Å.
    """
    system = flexible_system(structure, nonbondedMethod=app.NoCutoff)
    context = openmm.Context(system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatformByName("Reference"))
    energies, forces = [], []
    for frame in positions:
        context.setPositions(frame * 0.1)
        state = context.getState(getEnergy=True, getForces=True)
        energies.append(state.getPotentialEnergy().value_in_unit(unit.kilojoule_per_mole))
        forces.append(state.getForces(asNumpy=True).value_in_unit(unit.kilojoule_per_mole / unit.angstrom))
    return np.array(energies) * KJ_MOL, np.array(forces) * KJ_MOL


@dataclass(frozen=True)
class State:
    """State of a run at one time."""

    positions: NDArray[np.float64]
    """(n_atoms, 3) Å; in a box, molecules are whole with their centres in it."""
    cell: NDArray[np.float64] | None
    """(3, 3) Å, of a box."""
    potential_energy_eV: float
    temperature_K: float
    """From the kinetic energy, excluding that of the centre of mass."""


class ClassicalMD:
    """A run with the Langevin middle integrator; the motion of the centre of mass is removed.

    Args:
        structure: topology and coordinates; with a box for a periodic run.
        temperature_K: temperature of the thermostat.
        friction_per_ps: friction of the thermostat.
        timestep_fs: time step.
        seed: seed of the thermostat's noise.
        cutoff_A: cutoff of the pair interactions of a periodic box (PME, Lennard-Jones with a switching function and
            the long-range correction); None for an isolated molecule without a cutoff.
        barostat: pressure in bar and seed of a Monte Carlo barostat; None for constant volume.
        threads: threads of the CPU platform, if no faster platform is available; None for the Reference platform, which
            is the fastest for a single small molecule, and deterministic in double precision.
    """

    def __init__(
        self,
        structure: parmed.Structure,
        *,
        temperature_K: float,
        friction_per_ps: float,
        timestep_fs: float,
        seed: int,
        cutoff_A: float | None = None,
        barostat: tuple[float, int] | None = None,
        threads: int | None = None,
    ) -> None:
        self.numbers = np.array([atom.atomic_number for atom in structure.atoms])
        self.degrees_of_freedom = 3 * len(self.numbers) - 3
        self._temperature = temperature_K * unit.kelvin
        self._periodic = cutoff_A is not None
        how: dict[str, Any] = {"nonbondedMethod": app.NoCutoff}
        if cutoff_A is not None:
            how = {
                "nonbondedMethod": app.PME,
                "nonbondedCutoff": cutoff_A * unit.angstrom,
                "switchDistance": SWITCH * cutoff_A * unit.angstrom,
            }
        system = flexible_system(structure, removeCMMotion=True, **how)
        if barostat is not None:
            pressure_bar, barostat_seed = barostat
            force = openmm.MonteCarloBarostat(pressure_bar * unit.bar, self._temperature)
            force.setRandomNumberSeed(barostat_seed)
            system.addForce(force)
        integrator = openmm.LangevinMiddleIntegrator(
            self._temperature, friction_per_ps / unit.picosecond, timestep_fs * unit.femtosecond
        )
        integrator.setRandomNumberSeed(seed)
        if threads is None:
            self._context = openmm.Context(system, integrator, openmm.Platform.getPlatformByName("Reference"))
        else:
            self._context = _fastest_context(system, integrator, threads)
        self._context.setPositions(structure.positions)

    @property
    def platform(self) -> str:
        """Name of the platform in use."""
        return str(self._context.getPlatform().getName())

    def minimise(self) -> None:
        """Minimise the energy.

        Raises:
            StoppedError: a coordinate is not finite.
        """
        try:
            openmm.LocalEnergyMinimizer.minimize(self._context)
        except openmm.OpenMMException as error:
            raise StoppedError(str(error)) from error

    def largest_force_eV_A(self) -> float:
        """Largest force on an atom."""
        forces = self._context.getState(getForces=True).getForces(asNumpy=True)
        in_kJ = np.linalg.norm(forces.value_in_unit(unit.kilojoule_per_mole / unit.angstrom), axis=1).max()
        return float(in_kJ * KJ_MOL)

    def heat(self, seed: int) -> None:
        """Draw velocities at the temperature of the thermostat."""
        self._context.setVelocitiesToTemperature(self._temperature, seed)

    def place(self, length_A: float, positions: NDArray[np.float64]) -> None:
        """Set the cubic box and the positions, (n_atoms, 3) Å."""
        self._context.setPeriodicBoxVectors(*(np.eye(3) * length_A * 0.1 * unit.nanometer))
        self._context.setPositions(positions * unit.angstrom)

    def step(self, count: int) -> None:
        """Run the given number of steps.

        Raises:
            BoxTooSmallError: the box has shrunk below twice the cutoff.
            StoppedError: a coordinate is not finite.
        """
        try:
            self._context.getIntegrator().step(count)
        except openmm.OpenMMException as error:
            raise (BoxTooSmallError if SHRUNK in str(error) else StoppedError)(str(error)) from error

    def velocities(self) -> NDArray[np.float64]:
        """Velocities, (n_atoms, 3) in OpenMM's nm/ps."""
        velocities = self._context.getState(getVelocities=True).getVelocities(asNumpy=True)
        return np.asarray(velocities.value_in_unit(unit.nanometer / unit.picosecond))

    def set_velocities(self, velocities: NDArray[np.float64]) -> None:
        """Set velocities, (n_atoms, 3) in OpenMM's nm/ps."""
        self._context.setVelocities(velocities)

    def state(self) -> State:
        """The current state."""
        state = self._context.getState(getPositions=True, getEnergy=True, enforcePeriodicBox=self._periodic)
        kinetic = state.getKineticEnergy().value_in_unit(unit.kilojoule_per_mole)
        cell = state.getPeriodicBoxVectors(asNumpy=True).value_in_unit(unit.angstrom) if self._periodic else None
        return State(
            state.getPositions(asNumpy=True).value_in_unit(unit.angstrom),
            cell,
            state.getPotentialEnergy().value_in_unit(unit.kilojoule_per_mole) * KJ_MOL,
            2 * kinetic / (self.degrees_of_freedom * GAS_CONSTANT),
        )

    def checkpoint(self) -> bytes:
        """Everything that the same machine needs to continue exactly from here, including random numbers."""
        return bytes(self._context.createCheckpoint())

    def load_checkpoint(self, checkpoint: bytes) -> None:
        """Continue from a checkpoint."""
        self._context.loadCheckpoint(checkpoint)


def _fastest_context(system: openmm.System, integrator: openmm.Integrator, threads: int) -> openmm.Context:
    """A context on the fastest platform of this machine."""
    platforms = [openmm.Platform.getPlatform(index) for index in range(openmm.Platform.getNumPlatforms())]
    properties = {"Threads": str(threads), "DeterministicForces": "true", "Precision": "mixed"}
    for platform in sorted(platforms, key=lambda platform: platform.getSpeed(), reverse=True):
        known = {key: value for key, value in properties.items() if key in platform.getPropertyNames()}
        try:
            # A copy for each platform, because a failed context may leave its integrator bound.
            context = openmm.Context(system, copy.deepcopy(integrator), platform, known)
        except openmm.OpenMMException as error:  # a GPU platform without a GPU that works
            log.warning("OpenMM: platform %s does not work here: %s", platform.getName(), error)
            continue
        told = ", ".join(f"{key} {value}" for key, value in known.items())
        log.info("OpenMM: %d atoms on platform %s (%s)", system.getNumParticles(), platform.getName(), told)
        return context
    raise PhysEmbedError("OpenMM: no platform works on this machine; run `python -m openmm.testInstallation`")
