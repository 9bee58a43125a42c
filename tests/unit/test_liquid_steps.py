"""The steps of liquids against those of torch-sim, with the same random numbers.

torch-sim's velocity rescaling takes the kinetic energy of full steps, and its cell rescaling that of half steps.
"""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from typing import Any

import pytest
import torch
from ase import units
from torch_sim.integrators import npt_crescale_isotropic_step, npt_langevin_isotropic_step, nve_step, nvt_vrescale_step

from physembed.engine import liquid_steps
from physembed.engine.cells import inverse, volumes
from physembed.engine.kinetic import kinetic_temperatures
from physembed.engine.liquid_batch import LiquidBatch
from physembed.engine.liquid_steps import STEPS
from physembed.units import FS, KB

from .fluids import LennardJones, argon


def batch(ensemble: Any) -> LiquidBatch:
    """Two boxes of argon, of another temperature and pressure each."""
    starts = [argon(4, 0.7, seed=1), argon(4, 0.8, seed=2)]
    return LiquidBatch(
        LennardJones(dtype=torch.float64), starts, temperatures_K=[120.0, 250.0], pressures_bar=[1.0, 3000.0],
        ensemble=ensemble, timestep_fs=3.0, thermostat_ps=0.1, barostat_ps=0.3, seed=5,
    )  # fmt: skip


def torch_sims(ensemble: str, state: Any, model: Any) -> Any:
    """torch-sim's own step."""
    dt, kT = torch.tensor(3.0 * FS, dtype=model.dtype), torch.tensor([120.0, 250.0], dtype=model.dtype) * KB
    pressure, tau = torch.tensor([1.0, 3000.0], dtype=model.dtype) * units.bar, 100 * FS
    if ensemble == "nve":
        return nve_step(state, model, dt=dt)
    if ensemble == "nvt":
        return nvt_vrescale_step(model, state, dt=dt, kT=kT, tau=tau)
    if ensemble == "npt-crescale":
        return npt_crescale_isotropic_step(state, model, dt=dt, kT=kT, external_pressure=pressure, tau=tau)
    return npt_langevin_isotropic_step(state, model, dt=dt, kT=kT, external_pressure=pressure)


def of_full_steps(momenta: Any, masses: Any, n_systems: int, n_degrees: int, **_: object) -> torch.Tensor:
    """As torch-sim takes it."""
    return kinetic_temperatures(momenta, masses, n_systems, n_degrees)


@pytest.fixture
def double() -> Iterator[None]:
    """torch-sim draws its gamma variates in torch's default precision."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.usefixtures("double")
@pytest.mark.parametrize("ensemble", STEPS)
def test_steps_are_those_of_torch_sim(ensemble: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(liquid_steps, "kinetic_temperatures", of_full_steps)
    ours, theirs = batch(ensemble), batch(ensemble)
    state, model = theirs.state, theirs._watched
    for _ in range(30):
        ours.advance(1)
        state = torch_sims(ensemble, state, model)
    for name in ("positions", "momenta", "cell", "energy", "forces"):
        torch.testing.assert_close(getattr(ours.state, name), getattr(state, name), rtol=1e-9, atol=1e-10, msg=name)
    assert torch.equal(ours.state.rng.get_state(), state.rng.get_state())
    moved = (ours.positions - batch(ensemble).positions).abs().max()
    assert moved > 0.1, "nothing was compared"


@pytest.mark.parametrize("ensemble", STEPS)
def test_a_step_works_on_the_same_tensors(ensemble: str) -> None:
    """A replayed graph knows nothing but addresses."""
    run = batch(ensemble)
    before = {name: tensor.data_ptr() for _, name, tensor in run._changing()}
    values = deepcopy({name: tensor for _, name, tensor in run._changing()})
    run.advance(3)
    after = run._changing()
    assert {name: tensor.data_ptr() for _, name, tensor in after} == before
    assert not all(torch.equal(values[name], tensor) for _, name, tensor in after)


def test_averages_are_over_every_step() -> None:
    run, other = batch("nvt"), batch("nvt")
    pressure, temperature = run.averages(7)
    pressures, temperatures = [], []
    for _ in range(7):
        other.advance(1)
        pressures.append(other.pressure_tensors)
        temperatures.append(other.temperatures)
    torch.testing.assert_close(pressure, torch.stack(pressures).mean(0))
    torch.testing.assert_close(temperature, torch.stack(temperatures).mean(0))
    assert torch.equal(run.positions, other.positions)


def test_inverses_and_volumes() -> None:
    cells = torch.randn(20, 3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(volumes(cells), torch.linalg.det(cells).abs())
    torch.testing.assert_close(volumes(cells.mT), volumes(cells))
    torch.testing.assert_close(inverse(cells), torch.linalg.inv(cells))
