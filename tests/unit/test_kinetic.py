"""Start momenta, and temperature and pressure at a finite time step: exact for oscillators, sampled for a liquid."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from ase import Atoms
from numpy.typing import NDArray
from torch_sim.models.interface import ModelInterface

from physembed.engine.kinetic import HALF_STEPS, UNBIASED, kinetic_temperatures, thermal_momenta
from physembed.engine.langevin import LangevinBatch
from physembed.engine.liquid_batch import LiquidBatch
from physembed.units import FS, KB
from tests.unit.fluids import IdealGas
from tests.unit.stiff_molecules import TEMPERATURE_K, StiffMolecules, liquid, temperatures_of_centres

# Start momenta


def test_start_momenta_of_very_unequal_atoms_have_the_canonical_covariance() -> None:
    """With the centre at rest <p_i p_j> = kT (m_i delta_ij - m_i m_j / M), whatever the masses."""
    masses, count, kT = np.array([1.008, 12.011, 18.998, 126.9]), 200_000, 0.05
    generator = torch.Generator().manual_seed(4)
    for at_rest in (True, False):
        momenta = thermal_momenta(
            torch.tensor(masses).repeat(count), torch.full((count,), kT, dtype=torch.float64), generator,
            centre_at_rest=at_rest,
        ).view(count, 4, 3).numpy()  # fmt: skip
        found = np.einsum("nax,nbx->ab", momenta, momenta) / (3 * count * kT)
        expected = np.diag(masses) - at_rest * np.outer(masses, masses) / masses.sum()
        # Of 600 000 products each: five standard errors.
        error = np.sqrt((np.outer(np.diag(expected), np.diag(expected)) + expected**2) / (3 * count))
        assert (np.abs(found - expected) < 5 * error).all()
        assert (np.abs(momenta.sum(axis=1)).max() < 1e-10) == at_rest


class Free(IdealGas):
    """Atoms without any force."""


def elements_of(numbers: NDArray[Any], momenta: torch.Tensor, masses: NDArray[Any]) -> dict[int, NDArray[Any]]:
    """Kinetic temperatures (n_replicas,) of each element in K."""
    kelvin = momenta.double().numpy() ** 2 / masses[:, None] / KB
    return {int(number): kelvin[:, numbers == number].mean(axis=(1, 2)) for number in np.unique(numbers)}


@pytest.mark.parametrize("kind", ["molecules", "npt-crescale", "npt-langevin", "nvt", "nve"])
def test_each_element_starts_at_its_temperature(kind: Any) -> None:
    """Novec 7000, whose hydrogen atoms are nineteen times lighter than fluorine, drawn for 800 K."""
    novec = Atoms("COCF2CF2CF3H3", positions=np.random.default_rng(0).uniform(0, 20, (15, 3)), cell=[20] * 3, pbc=True)
    count, masses = 3000, novec.get_masses()
    if kind == "molecules":
        batch: Any = LangevinBatch(
            Free(), [novec] * count, temperature_K=800.0, timestep_fs=1.0, friction_per_ps=10.0, seed=7
        )
        momenta = batch.state.momenta.view(count, 15, 3)
    else:
        batch = LiquidBatch(
            Free(), [novec] * count, temperatures_K=[800.0] * count, ensemble=kind, timestep_fs=1.0, thermostat_ps=0.1,
            seed=7,
        )  # fmt: skip
        momenta = batch.momenta
    at_rest = kind not in ("molecules", "npt-langevin")
    assert bool(momenta.sum(dim=1).abs().max() < 1e-9) == at_rest
    assert float(batch.temperatures.mean()) == pytest.approx(800, rel=5 * math.sqrt(2 / (42 * count)))
    for number, kelvin in elements_of(novec.numbers, momenta, masses).items():
        own = masses[novec.numbers == number][0]
        expected = 800 * (1 - at_rest * own / masses.sum())
        # Five standard errors; a hydrogen atom of a mean momentum removed would read 1 380 K.
        assert kelvin.mean() == pytest.approx(expected, abs=5 * kelvin.std(ddof=1) / math.sqrt(count)), number


# Exact statements on an oscillator


class Dumbbells(ModelInterface):
    """Two atoms on a spring of length zero: harmonic motion."""

    def __init__(self, constant: float) -> None:
        super().__init__()
        self._device, self._dtype = torch.device("cpu"), torch.float64
        self._compute_stress = self._compute_forces = True
        self.constant = constant

    def forward(self, state: Any, **_: object) -> dict[str, torch.Tensor]:
        """Energies, forces and stresses."""
        pairs = state.positions.view(-1, 2, 3)
        vectors = pairs[:, 1] - pairs[:, 0]
        forces = -self.constant * vectors
        virial = torch.einsum("ni,nj->nij", vectors, forces)
        return {
            "energy": self.constant * vectors.square().sum(dim=1) / 2,
            "forces": torch.stack([-forces, forces], dim=1).reshape(-1, 3),
            "stress": -virial / torch.linalg.det(state.cell)[:, None, None],
        }


def dumbbells(omega_dt: float, phases: int = 7) -> LiquidBatch:
    """One C-H stretch in as many phases of the orbit of velocity Verlet at 1 fs, all of one action: an exact average.

    The orbit is p^2 / m + k (1 - W^2) x^2 = const., W = omega dt / 2.
    """
    carbon, hydrogen = 12.011, 1.008
    reduced = carbon * hydrogen / (carbon + hydrogen)
    constant, amplitude = reduced * (omega_dt / FS) ** 2, 0.08
    momentum = math.sqrt(constant * (1 - omega_dt**2 / 4) * reduced) * amplitude
    starts = []
    for phase in 2 * np.pi * np.arange(phases) / phases:
        bond, p = amplitude * math.cos(phase), momentum * math.sin(phase)
        start = Atoms(
            "CH", [[-bond * reduced / carbon, 0, 0], [bond * reduced / hydrogen, 0, 0]], cell=[9] * 3, pbc=True
        )
        start.set_masses([carbon, hydrogen])
        start.set_momenta([[-p, 0, 0], [p, 0, 0]])
        starts.append(start)
    return LiquidBatch(
        Dumbbells(constant), starts, temperatures_K=[1e5] * phases, ensemble="nve", timestep_fs=1.0,
        thermostat_ps=1.0, seed=1,
    )  # fmt: skip


def shadow_temperature(batch: LiquidBatch, omega_dt: float) -> float:
    """omega~ J / kB in K, with J the action of the orbit and omega~ = 2 asin(W) / dt its frequency in discrete time.

    Equipartition is exact for the energy that the discrete motion conserves, omega~ J.
    """
    model = batch._watched.model
    amplitude = 0.08
    half = omega_dt / 2
    energy = model.constant * (1 - half**2) * amplitude**2 / 2
    return energy * math.asin(half) / (half * math.sqrt(1 - half**2)) / KB


def readings(batch: LiquidBatch) -> dict[float, float]:
    """Mean temperature in K of the one vibration, by weight of the half steps."""
    state = batch.state
    return {
        weight: float(
            kinetic_temperatures(
                state.momenta, state.masses, batch.n_systems, 1, forces=state.forces,
                timestep=batch._conditions.timestep, weight=weight,
            ).mean()
        )
        for weight in (0.0, UNBIASED, HALF_STEPS)
    }  # fmt: skip


def test_the_estimator_is_right_to_fourth_order() -> None:
    """Full steps read kT (1 - 2/3 W^2), half steps kT (1 + W^2 / 3), a third and two thirds kT (1 + 2/15 W^4)."""
    errors = []
    for omega_dt in (0.565, 0.2825):
        batch, half = dumbbells(omega_dt), omega_dt / 2
        expected = shadow_temperature(batch, omega_dt)
        for _ in range(3):
            found = readings(batch)
            assert found[0.0] / expected == pytest.approx(half * math.sqrt(1 - half**2) / math.asin(half), rel=1e-9)
            assert found[HALF_STEPS] / expected == pytest.approx(
                half / math.sqrt(1 - half**2) / math.asin(half), rel=1e-9
            )
            assert found[UNBIASED] / expected - 1 == pytest.approx(2 / 15 * half**4, rel=0.12)
            # As reported, of the three degrees of freedom that two atoms have with their centre at rest.
            assert float(batch.temperatures.mean()) == pytest.approx(found[UNBIASED] / 3, rel=1e-12)
            batch.advance(11)
        errors.append(found[UNBIASED] / expected - 1)
    assert errors[0] < 1e-3  # the temperature of a C-H bond at 1 fs
    assert errors[0] / errors[1] == pytest.approx(16, rel=0.1)


def test_a_vibration_does_not_press() -> None:
    """Over the phases of an orbit the kinetic part of the recorded pressure cancels the virial, at any time step."""
    for omega_dt in (0.1, 0.565, 1.2):
        batch = dumbbells(omega_dt)
        virial = float(batch._watched.outputs["stress"][:, 0, 0].mean())
        assert abs(float(batch.pressure_tensors[:, 0, 0].mean())) < 1e-12 * abs(virial)
        pressure, _ = batch.averages(25)
        assert abs(float(pressure[:, 0, 0].mean())) < 1e-11 * abs(virial)


# Sampled from a liquid of stiff molecules, 1 fs with bonds as stiff as C-H

PRESSURE_BAR = 140_000.0


class Sample:
    """What is seen of one run, each (n_samples, n_replicas)."""

    def __init__(self, ensemble: Any, timestep_fs: float, count: int, relax_ps: float, length_ps: float) -> None:
        batch = liquid(StiffMolecules(), count, ensemble, timestep_fs, PRESSURE_BAR)
        batch.advance(round(1000 * relax_ps / timestep_fs))
        centres, reported, densities = [], [], []
        for _ in range(round(1000 * length_ps / 20)):
            batch.advance(round(20 / timestep_fs))
            centres.append(temperatures_of_centres(batch))
            reported.append(batch.temperatures.double().numpy() / TEMPERATURE_K)
            densities.append(1 / batch.volumes.double().numpy())
        assert not any(batch.lost()), batch.lost()
        self.centres, self.reported, self.densities = (
            mean_and_error(values) for values in (centres, reported, densities)
        )


def mean_and_error(values: list[NDArray[np.float64]]) -> tuple[float, float]:
    """Mean and its standard error from the independent replicas."""
    means = np.mean(values, axis=0)
    return float(means.mean()), float(means.std(ddof=1) / math.sqrt(len(means)))


ERRORS = 4.6
"""Standard errors allowed: of some hundred replicas, a false failure in less than 1 of 100 000."""


@pytest.mark.long
def test_centres_of_mass_have_the_temperature_of_the_thermostat() -> None:
    """Thermostatted by the kinetic energy of full steps they would be 2.1 % too hot, of half steps 1.0 % too cold."""
    bias = StiffMolecules().mean_square_frequency() * 2 / 3
    assert bias == pytest.approx(0.0207, abs=1e-4)
    run = Sample("nvt", 1.0, 256, 1.0, 5.0)
    (centres, error), (reported, own_error) = run.centres, run.reported
    assert error < 0.0045 and own_error < 0.002
    assert centres == pytest.approx(1, abs=ERRORS * error)
    assert reported == pytest.approx(1, abs=ERRORS * own_error)


@pytest.mark.long
def test_one_femtosecond_gives_the_density_and_temperature_of_a_quarter() -> None:
    long, short = Sample("npt-crescale", 1.0, 256, 0.5, 3.0), Sample("npt-crescale", 0.25, 128, 0.5, 1.5)
    for name, largest in (("centres", 0.016), ("reported", 0.009), ("densities", 0.016)):
        (first, error), (second, other) = getattr(long, name), getattr(short, name)
        together = math.hypot(error, other)
        assert together < largest * second, name
        assert first == pytest.approx(second, abs=ERRORS * together), name
    for run in (long, short):
        assert run.centres[0] == pytest.approx(1, abs=ERRORS * run.centres[1])


@pytest.mark.long
def test_the_langevin_piston_is_at_most_as_cold_as_theory_allows() -> None:
    """It balances the half steps, so that slow motion is between 1 - <W^2> / 3 and 1 times as hot."""
    run, lowest = Sample("npt-langevin", 1.0, 128, 0.5, 2.0), 1 - StiffMolecules().mean_square_frequency() / 3
    (centres, error), (reported, own_error) = run.centres, run.reported
    assert error < 0.01 and own_error < 0.004
    assert lowest - ERRORS * error < centres < 1 + ERRORS * error
    assert reported == pytest.approx(1, abs=ERRORS * own_error + 0.002)
