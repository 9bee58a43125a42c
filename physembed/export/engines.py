"""One system in one engine: evaluate the model there, advance it, and read its state in eV, Å, ps and K.

| engine | constant energy | constant temperature | constant pressure |
| --- | --- | --- | --- |
| `torch-sim` | velocity Verlet | Langevin | Langevin, stochastic cell rescaling (PhysEmbed's own steps) |
| `ase` | velocity Verlet | BAOAB | BAOAB, Langevin-Hoover barostat |
| `openmm` | leapfrog Verlet | Langevin middle | Langevin middle, Monte Carlo barostat on whole molecules |
| `lammps` | `fix nve` | `fix nve`, `fix langevin` | `fix nph`, `fix langevin` |

All thermostats act on each atom: a global one keeps the mean temperature, but can leave vibrations and slow motion at
temperatures of their own for longer than a run lasts (docs/background/npt.md).
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import Any, Protocol

import numpy as np
from ase import Atoms, units
from ase.calculators.calculator import Calculator, all_changes
from ase.md.velocitydistribution import MaxwellBoltzmannDistribution, Stationary
from ase.stress import full_3x3_to_voigt_6_stress
from numpy.typing import NDArray

from physembed.errors import PhysEmbedError
from physembed.export.conditions import Conditions
from physembed.export.potential import Evaluation, Potential, is_periodic
from physembed.models.members import Files

ENGINES = {"torch-sim": "torch-sim-atomistic", "ase": "ase", "openmm": "openmm", "lammps": "lammps"}
"""Package of each engine."""


COMPRESSIBILITY_PER_BAR = 8e-5
"""Of a typical liquid, for the mass of ASE's barostat."""


class Session(Protocol):
    """A system in an engine."""

    @property
    def degrees_of_freedom(self) -> int:
        """Over which the kinetic energy is spread: three fewer than coordinates where the centre of mass is at rest."""

    def evaluate(self) -> Evaluation:
        """Energy, forces and stress as the engine has them at the present geometry."""

    def advance(self, steps: int) -> None:
        """Take so many time steps."""

    def structure(self) -> Atoms:
        """The present positions, momenta and cell."""


def installed(engine: str) -> str | None:
    """Version of an engine, or None if it is not installed, or lacks a library without which it does not start."""
    if engine == "lammps":
        from physembed.export.lammps import open_lammps

        try:
            open_lammps().close()
        except PhysEmbedError:
            return None
    try:
        return version(ENGINES[engine])
    except PackageNotFoundError:
        return None


def open_session(
    engine: str,
    model: Files | Potential,
    atoms: Atoms,
    conditions: Conditions,
    *,
    device: str = "auto",
    dtype: str = "float64",
) -> Session:
    """A system in one of `ENGINES`, with the momenta of the structure or drawn ones (Maxwell-Boltzmann, at rest).

    Args:
        engine: a key of `ENGINES`.
        model: file of a corrected model, of a MACE model or of a committee, or the files of a committee; or a
            `Potential` of these atoms, which is loaded once for many sessions, one after the other.
        atoms: a box that is periodic in three directions, or a molecule.
        conditions: of the run.
        device: `auto`, `cpu` or `cuda`; a `Potential` has its own.
        dtype: `float64`, or `float32`, which is faster; a `Potential` has its own.

    Raises:
        PhysEmbedError: no such engine, or it is not installed; the model or the structure does not fit.
    """
    if engine not in ENGINES:
        raise PhysEmbedError(f"engine: {engine!r}: unknown; known: {', '.join(ENGINES)}")
    if find_spec(engine.replace("-", "_")) is None:
        raise PhysEmbedError(f"engine: {engine}: not installed; `pip install {ENGINES[engine]}` gives it")
    if conditions.ensemble == "npt" and not is_periodic(atoms):
        raise PhysEmbedError(f"engine: {engine}: constant pressure needs a periodic box; this structure has none")
    start = with_momenta(atoms, conditions)
    if isinstance(model, Potential):
        potential = model
        if not np.array_equal(potential.numbers, start.numbers) or potential.periodic != is_periodic(start):
            raise PhysEmbedError(
                f"engine: {engine}: structure {start.get_chemical_formula()} has other atoms, another order or another "
                "periodicity than the potential; make one for it with Potential.of"
            )
    else:
        potential = Potential.of(model, start, device=device, dtype=dtype)
    potential.load()
    makers: dict[str, Callable[[Potential, Atoms, Conditions], Session]] = {
        "torch-sim": TorchSimSession, "ase": AseSession, "openmm": OpenMMSession, "lammps": LammpsSession,
    }  # fmt: skip
    return makers[engine](potential, start, conditions)


def with_momenta(atoms: Atoms, conditions: Conditions) -> Atoms:
    """A copy with momenta: those that it has, or drawn ones with the centre of mass at rest."""
    start = atoms.copy()
    if not start.has("momenta"):
        rng = np.random.default_rng(conditions.seed)
        MaxwellBoltzmannDistribution(start, temperature_K=conditions.temperature_K, rng=rng)
        Stationary(start, preserve_temperature=False)
    return start


class PotentialCalculator(Calculator):
    """A `Potential` as a calculator of ASE."""

    implemented_properties = ["energy", "free_energy", "forces", "stress"]  # noqa: RUF012 - as ASE declares it

    def __init__(self, potential: Potential) -> None:
        super().__init__()
        self.potential = potential

    def calculate(
        self, atoms: Atoms | None = None, properties: list[str] | None = None, system_changes: list[str] = all_changes
    ) -> None:
        """Fill `results`."""
        super().calculate(atoms, properties, system_changes)
        result = self.potential(self.atoms.positions, self.atoms.cell.array if self.potential.periodic else None)
        self.results = {"energy": result.energy, "free_energy": result.energy, "forces": result.forces}
        if result.stress is not None:
            self.results["stress"] = full_3x3_to_voigt_6_stress(result.stress)


class AseSession:
    """Through ASE's own dynamics."""

    def __init__(self, potential: Potential, start: Atoms, conditions: Conditions) -> None:
        from ase.md.langevinbaoab import LangevinBAOAB
        from ase.md.verlet import VelocityVerlet

        self.atoms, self.degrees_of_freedom = start, _at_rest(start)
        self.atoms.calc = PotentialCalculator(potential)
        step, kelvin = conditions.timestep_fs * units.fs, conditions.temperature_K
        thermostat, barostat = (1000 * units.fs * time for time in (conditions.thermostat_ps, conditions.barostat_ps))
        self._dynamics: Any
        if conditions.ensemble == "nve":
            self._dynamics = VelocityVerlet(self.atoms, step)
        else:
            self.degrees_of_freedom = 3 * len(start)  # the Langevin thermostat moves the centre of mass too
            cell = {}
            if conditions.ensemble == "npt":
                # A strain of the edges with the stiffness 9 V / compressibility oscillates with this period.
                mass = 9 * start.get_volume() / (COMPRESSIBILITY_PER_BAR / units.bar) * (barostat / (2 * np.pi)) ** 2
                cell = {"externalstress": -conditions.pressure_bar * units.bar, "hydrostatic": True}
                cell |= {"P_tau": barostat, "P_mass": mass}
            rng = np.random.default_rng(conditions.seed + 1)
            self._dynamics = LangevinBAOAB(self.atoms, step, temperature_K=kelvin, T_tau=thermostat, rng=rng, **cell)

    def evaluate(self) -> Evaluation:
        """Energy, forces and stress from ASE's calculator."""
        stress = self.atoms.get_stress(voigt=False) if self.atoms.pbc.any() else None
        return Evaluation(self.atoms.get_potential_energy(), self.atoms.get_forces(), stress)

    def advance(self, steps: int) -> None:
        """Take so many time steps."""
        self._dynamics.run(steps)

    def structure(self) -> Atoms:
        """The present state, without the calculator."""
        return self.atoms.copy()


class TorchSimSession:
    """Through the steps of PhysEmbed, which work on states of torch-sim. Boxes only."""

    def __init__(self, potential: Potential, start: Atoms, conditions: Conditions) -> None:
        from physembed.engine.liquid_batch import Ensemble, LiquidBatch

        if not potential.periodic:
            raise PhysEmbedError("engine: torch-sim: needs a periodic box; take ase, openmm or lammps for a molecule")
        self._start = start
        ensembles: dict[str, Ensemble] = {"nve": "nve", "nvt": "nvt-langevin", "npt": "npt-crescale"}
        self._batch = LiquidBatch(
            potential.model,
            [start],
            temperatures_K=[conditions.temperature_K],
            pressures_bar=[conditions.pressure_bar],
            ensemble=ensembles[conditions.ensemble],
            timestep_fs=conditions.timestep_fs,
            thermostat_ps=conditions.thermostat_ps,
            barostat_ps=conditions.barostat_ps,
            seed=conditions.seed,
        )

    @property
    def degrees_of_freedom(self) -> int:
        """Without the centre of mass."""
        return _at_rest(self._start)

    def evaluate(self) -> Evaluation:
        """Energy, forces and stress of the state."""
        batch = self._batch
        return Evaluation(float(batch.energies[0]), _array(batch.state.forces), _array(batch.stresses[0]))

    def advance(self, steps: int) -> None:
        """Take so many time steps.

        Raises:
            PhysEmbedError: the system was lost (`LiquidBatch`).
        """
        self._batch.advance(steps)
        if reason := self._batch.lost()[0]:
            raise PhysEmbedError(f"engine: torch-sim: the system is lost: {reason}")

    def structure(self) -> Atoms:
        """The present state."""
        atoms = self._start.copy()
        atoms.set_cell(_array(self._batch.cells[0]))
        atoms.set_positions(_array(self._batch.positions[0]))
        atoms.set_momenta(_array(self._batch.momenta[0]))
        return atoms


class OpenMMSession:
    """Through a `Context` on the Reference platform; the model runs where it runs."""

    def __init__(self, potential: Potential, start: Atoms, conditions: Conditions) -> None:
        import openmm
        from openmm import unit

        from physembed.export.openmm import EV, system_of

        self._atoms, self._unit, self._eV = start, unit, EV
        self.degrees_of_freedom = _at_rest(start)
        system = system_of(start, potential)
        kelvin, step = conditions.temperature_K * unit.kelvin, conditions.timestep_fs * unit.femtosecond
        integrator: openmm.Integrator = openmm.VerletIntegrator(step)
        if conditions.ensemble != "nve":
            # The Langevin thermostat moves the centre of mass too.
            self.degrees_of_freedom = 3 * len(start)
            integrator = openmm.LangevinMiddleIntegrator(kelvin, 1 / (conditions.thermostat_ps * unit.picosecond), step)
            integrator.setRandomNumberSeed(conditions.seed or 1)  # 0 would be any
        if conditions.ensemble == "npt":
            barostat = openmm.MonteCarloBarostat(conditions.pressure_bar * unit.bar, kelvin, 10)
            barostat.setRandomNumberSeed(conditions.seed or 1)  # 0 would be any
            system.addForce(barostat)
        self._potential, self._integrator = potential, integrator
        self._context = openmm.Context(system, integrator, openmm.Platform.getPlatform("Reference"))
        self._context.setPositions(start.positions * unit.angstrom)
        self._context.setVelocities(start.get_velocities() * (1000 * units.fs) * unit.angstrom / unit.picosecond)

    def evaluate(self) -> Evaluation:
        """Energy and forces of the context. OpenMM has no virial: the stress is that of the model itself."""
        unit, state = self._unit, self._context.getState(energy=True, forces=True, positions=True)
        energy = state.getPotentialEnergy().value_in_unit(unit.kilojoule_per_mole) / self._eV
        forces = state.getForces(asNumpy=True).value_in_unit(unit.kilojoule_per_mole / unit.angstrom) / self._eV
        here = self.structure()
        stress = self._potential(here.positions, here.cell.array).stress if self._potential.periodic else None
        return Evaluation(energy, forces, stress)

    def advance(self, steps: int) -> None:
        """Take so many time steps.

        Raises:
            PhysEmbedError: OpenMM ended with an error, such as a position that is no number.
        """
        import openmm

        try:
            self._integrator.step(steps)
        except openmm.OpenMMException as error:
            raise PhysEmbedError(f"engine: openmm: {' '.join(str(error).split())}") from error

    def structure(self) -> Atoms:
        """The present state."""
        unit, state = self._unit, self._context.getState(positions=True, velocities=True)
        atoms = self._atoms.copy()
        if self._potential.periodic:
            atoms.set_cell(state.getPeriodicBoxVectors(asNumpy=True).value_in_unit(unit.angstrom))
        atoms.set_positions(state.getPositions(asNumpy=True).value_in_unit(unit.angstrom))
        speeds = state.getVelocities(asNumpy=True).value_in_unit(unit.angstrom / unit.picosecond)
        atoms.set_velocities(speeds / (1000 * units.fs))
        return atoms


class LammpsSession:
    """Through the Python module of LAMMPS, in `units metal`."""

    def __init__(self, potential: Potential, start: Atoms, conditions: Conditions) -> None:
        from physembed.export.lammps import attach_potential, checked, define, integration, open_lammps

        self._lmp, self._atoms, self._periodic = open_lammps(), start, potential.periodic
        lmp = self._lmp
        define(lmp, start)
        attach_potential(lmp, potential)
        fixes = "\n".join(integration(conditions))
        with checked(lmp):
            lmp.commands_string(
                f"{fixes}\ntimestep {conditions.timestep_fs / 1000}\n"
                "thermo_style custom step pe pxx pyy pzz pxy pxz pyz\ncompute stress all pressure NULL virial\n"
                f"thermo_modify press stress\nthermo 1000000\nrun 0"
            )

    @property
    def degrees_of_freedom(self) -> int:
        """Without the centre of mass."""
        return _at_rest(self._atoms)

    def evaluate(self) -> Evaluation:
        """Energy and stress from LAMMPS's thermo output, forces from its arrays."""
        lmp = self._lmp
        self._command("run 0 post no")
        n = len(self._atoms)
        order = np.argsort(lmp.numpy.extract_atom("id")[:n])
        forces = lmp.numpy.extract_atom("f")[:n][order].copy()
        stress = None
        if self._periodic:
            xx, yy, zz, xy, xz, yz = (
                -lmp.get_thermo(f"p{name}") * units.bar for name in ("xx", "yy", "zz", "xy", "xz", "yz")
            )
            stress = np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])
        return Evaluation(lmp.get_thermo("pe"), forces, stress)

    def advance(self, steps: int) -> None:
        """Take so many time steps.

        Raises:
            PhysEmbedError: LAMMPS, or the model in it, ended with an error.
        """
        self._command(f"run {steps} post no")

    def _command(self, command: str) -> None:
        from physembed.export.lammps import checked

        with checked(self._lmp):
            self._lmp.command(command)

    def structure(self) -> Atoms:
        """The present state, with positions as LAMMPS has them: wrapped into the box."""
        from physembed.export.lammps import present_cell

        n, lmp = len(self._atoms), self._lmp
        order = np.argsort(lmp.numpy.extract_atom("id")[:n])
        atoms = self._atoms.copy()
        if self._periodic:
            atoms.set_cell(present_cell(lmp))
        atoms.set_positions(lmp.numpy.extract_atom("x")[:n][order])
        atoms.set_velocities(lmp.numpy.extract_atom("v")[:n][order] / (1000 * units.fs))
        return atoms


def _at_rest(atoms: Atoms) -> int:
    return max(3 * len(atoms) - 3, 1)


def _array(values: Any) -> NDArray[np.float64]:
    array: NDArray[np.float64] = values.detach().double().cpu().numpy().copy()
    return array
