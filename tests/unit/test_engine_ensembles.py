"""Each engine has the temperature that it is told, and the density of our own steps, on a fluid of flexible molecules.

Flexible molecules show what rigid ones or atoms do not. In the pressure of bonded atoms the kinetic energy and virial
of the bonds nearly cancel; what remains of both is kT / V for each molecule, 26 % of the pressure here. A barostat
that loses one of them, or counts atoms where it moves molecules, misses the density by 13 %. Two molecules alone show
whether a thermostat counts the centre of mass, which is at rest: they would be a third too hot.

Bounds are more than five standard errors, from blocks of runs of 15 to 60 ps, scaled to the lengths here.
"""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms

from physembed.export.conditions import Conditions
from physembed.export.engines import ENGINES, installed
from physembed.export.runs import run
from tests.unit.flexible_molecules import FlexibleMolecules, fluid

HERE = [engine for engine in ENGINES if installed(engine)]
TEMPERATURE_K, PRESSURE_BAR = 300.0, 3000.0
DENSITY_G_CM3 = 0.886
"""Of 75 ps of our own steps, `torch-sim` in place of an engine below; its standard error is 0.005."""

LENGTH_PS = {"ase": 9.0, "openmm": 14.0, "lammps": 14.0}
"""Of the runs at constant pressure: standard errors of 0.005 to 0.009 g/cm^3."""


def test_the_fluid_has_the_forces_and_the_stress_of_its_energy() -> None:
    atoms = fluid(3, 9.0, seed=2)
    atoms.positions += np.random.default_rng(2).normal(0, 0.1, atoms.positions.shape)
    potential, step = FlexibleMolecules(atoms), 1e-5
    here = potential(atoms.positions, atoms.cell.array)
    assert here.stress is not None
    for atom, axis in ((0, 0), (17, 1), (53, 2)):
        ends = []
        for sign in (1, -1):
            moved = atoms.positions.copy()
            moved[atom, axis] += sign * step
            ends.append(potential(moved, atoms.cell.array).energy)
        assert (ends[1] - ends[0]) / (2 * step) == pytest.approx(here.forces[atom, axis], rel=1e-6, abs=1e-8)
    for axis in range(3):
        ends = []
        for sign in (1, -1):
            strain = np.eye(3)
            strain[axis, axis] += sign * step
            ends.append(potential(atoms.positions @ strain, atoms.cell.array @ strain).energy)
        slope = (ends[0] - ends[1]) / (2 * step) / atoms.cell.volume
        assert slope == pytest.approx(here.stress[axis, axis], rel=1e-6)
    # Wrapped atoms have the same.
    atoms.wrap()
    assert potential(atoms.positions, atoms.cell.array).energy == pytest.approx(here.energy)


@pytest.mark.parametrize("engine", HERE)
def test_two_molecules_are_as_hot_as_told(engine: str) -> None:
    atoms = fluid(2, 7.0, seed=1)[:4]
    assert isinstance(atoms, Atoms)
    conditions = Conditions("nvt", TEMPERATURE_K, timestep_fs=1.0, thermostat_ps=0.02, seed=1)
    series = run(engine, FlexibleMolecules(atoms), atoms, conditions, duration_ps=12, record_interval_fs=10).series
    # Its standard error is 10 K or less.
    assert series["temperature_K"].iloc[50:].mean() == pytest.approx(TEMPERATURE_K, abs=60)


@pytest.mark.long
@pytest.mark.parametrize("engine", [engine for engine in HERE if engine in LENGTH_PS])
def test_the_density_is_that_of_our_own_steps(engine: str) -> None:
    atoms = fluid(3, 11.2, seed=1)
    conditions = Conditions("npt", TEMPERATURE_K, PRESSURE_BAR, 1.0, thermostat_ps=0.1, barostat_ps=0.2, seed=1)
    series = run(engine, FlexibleMolecules(atoms), atoms, conditions, duration_ps=LENGTH_PS[engine],
                 record_interval_fs=20).series  # fmt: skip
    equilibrated = series.iloc[75:]
    assert equilibrated["density_g_cm3"].mean() == pytest.approx(DENSITY_G_CM3, abs=0.06)
    assert equilibrated["temperature_K"].mean() == pytest.approx(TEMPERATURE_K, abs=20)
