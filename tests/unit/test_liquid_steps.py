"""The steps of liquids against those of torch-sim, with the same random numbers.

torch-sim's velocity rescaling takes the kinetic energy of full steps, and its cell rescaling that of half steps.
Ours of the cell has another thermostat, so the two are compared without one, and `nvt-langevin` with `nve`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from copy import deepcopy
from typing import Any

import numpy as np
import pytest
import torch
from ase import Atoms, units
from torch_sim.integrators import npt_crescale_isotropic_step, npt_langevin_isotropic_step, nve_step, nvt_vrescale_step

from physembed.engine import liquid_steps
from physembed.engine.kinetic import kinetic_temperatures
from physembed.engine.liquid_batch import LiquidBatch
from physembed.engine.liquid_kernels import CompiledSteps
from physembed.engine.liquid_steps import STEPS
from physembed.pairs.cells import inverse, volumes
from physembed.units import FS, KB

from .fluids import IdealGas, LennardJones, argon


def batch(ensemble: Any, fixed_shapes: bool = True, **options: Any) -> LiquidBatch:
    """Two boxes of argon, of another temperature and pressure each."""
    starts = [argon(4, 0.7, seed=1), argon(4, 0.8, seed=2)]
    model = options.pop("model", None) or LennardJones(dtype=torch.float64)
    return LiquidBatch(
        model, starts, temperatures_K=[120.0, 250.0], pressures_bar=[1.0, 3000.0], ensemble=ensemble,
        timestep_fs=3.0, barostat_ps=0.3, seed=5, fixed_shapes=fixed_shapes, **{"thermostat_ps": 0.1, **options},
    )  # fmt: skip


def torch_sims(ensemble: str, state: Any, model: Any) -> Any:
    """torch-sim's own step."""
    dt, kT = torch.tensor(3.0 * FS, dtype=model.dtype), torch.tensor([120.0, 250.0], dtype=model.dtype) * KB
    pressure, tau = torch.tensor([1.0, 3000.0], dtype=model.dtype) * units.bar, 100 * FS
    if ensemble in ("nve", "nvt-langevin"):
        return nve_step(state, model, dt=dt)
    if ensemble == "nvt":
        return nvt_vrescale_step(model, state, dt=dt, kT=kT, tau=tau)
    if ensemble == "npt-crescale":
        return npt_crescale_isotropic_step(state, model, dt=dt, kT=kT, external_pressure=pressure, tau=math.inf)
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
    options = {}
    if ensemble == "npt-crescale":  # velocity rescaling without effect draws the same random numbers in the same order
        monkeypatch.setattr(liquid_steps, "_exchange_heat", liquid_steps._rescale_velocities)
        options = {"thermostat_ps": math.inf}
    if ensemble == "nvt-langevin":
        monkeypatch.setattr(liquid_steps, "_exchange_heat", lambda *_: None)
    ours, theirs = batch(ensemble, **options), batch(ensemble, **options)
    state, model = theirs.state, theirs._watched
    for _ in range(30):
        ours.advance(1)
        state = torch_sims(ensemble, state, model)
    for name in ("positions", "momenta", "cell", "energy", "forces"):
        torch.testing.assert_close(getattr(ours.state, name), getattr(state, name), rtol=1e-9, atol=1e-10, msg=name)
    assert torch.equal(ours.state.rng.get_state(), state.rng.get_state())
    moved = (ours.positions - batch(ensemble).positions).abs().max()
    assert moved > 0.1, "nothing was compared"


@pytest.mark.usefixtures("double")
@pytest.mark.parametrize("ensemble", CompiledSteps.ENSEMBLES)
def test_compiled_steps_are_those_with_tensors(ensemble: str) -> None:
    tensors, compiled = batch(ensemble), batch(ensemble, fixed_shapes=False)
    assert compiled._is_compiled and not tensors._is_compiled
    for steps in (1, 2, 30):
        averages = tensors.averages(steps), compiled.averages(steps)
        for ours, theirs in zip(*averages, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-12)
    for name in ("positions", "momenta", "cells", "energies", "pressure_tensors", "temperatures"):
        ours, theirs = (getattr(each, name) for each in (compiled, tensors))
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-10, msg=name)
    torch.testing.assert_close(compiled.state.forces, tensors.state.forces, rtol=1e-9, atol=1e-10)
    assert torch.equal(compiled.state.rng.get_state(), tensors.state.rng.get_state())
    assert compiled.lost() == ["", ""]


class Failing(LennardJones):
    """Argon whose second box fails at the third call."""

    broken = ""
    calls = 0

    def forward(self, state: Any, **options: object) -> dict[str, torch.Tensor]:
        """As it is, but for one number."""
        output = super().forward(state, **options)
        self.calls += 1
        if self.calls >= 3 and self.broken in output:
            output[self.broken].view(2, -1)[1, -1] = float("nan")
        elif self.calls == 3:
            state.cell[1] *= 2.0 if self.broken == "volume" else 1.0
            # The forces of one step, 10^4 times what they are, heat it at the next.
            output["forces"].view(2, -1)[1] *= 1e4 if self.broken == "temperature" else 1.0
        return output


@pytest.mark.parametrize("fixed_shapes", [True, False])
@pytest.mark.parametrize("ensemble", CompiledSteps.ENSEMBLES)
@pytest.mark.parametrize("broken", ["energy", "forces", "stress", "temperature", "volume"])
def test_a_failed_system_stays_where_it_was(ensemble: str, broken: str, fixed_shapes: bool) -> None:
    model = Failing(dtype=torch.float64)
    model.broken = broken
    run, sound = batch(ensemble, fixed_shapes, model=model), batch(ensemble, fixed_shapes)
    run.advance(1)
    sound.advance(1)
    before = run.positions[1].clone()
    for each in (run, sound):
        each.advance(6)
    # At constant pressure, what is hot expands first.
    reasons = ("volume", broken) if ensemble == "npt-crescale" else (broken,)
    assert run.lost()[0] == "" and run.lost()[1].startswith(reasons), run.lost()
    assert torch.isfinite(run.positions).all() and torch.isfinite(run.cells).all()
    assert (run.positions[1] - before).abs().max() < 0.5
    assert torch.equal(run.positions[0], sound.positions[0])
    stays = run.positions[1].clone()
    run.advance(3)
    assert torch.equal(run.positions[1], stays)


@pytest.mark.parametrize("ensemble", STEPS)
def test_heavy_hydrogen_moves_slowly_and_weighs_what_it_does(ensemble: Any) -> None:
    """A gas without forces: velocities are those of the mass in use, temperature and density do not depend on it."""
    methane = Atoms("CH4" * 30, positions=np.random.default_rng(0).uniform(0, 30, (150, 3)), cell=[30] * 3, pbc=True)
    runs = [
        LiquidBatch(
            IdealGas(), [methane] * 300, temperatures_K=[300.0] * 300, ensemble=ensemble, timestep_fs=1.0,
            thermostat_ps=0.1, seed=4, hydrogen_mass_u=mass,
        )
        for mass in (None, 8.0)
    ]  # fmt: skip
    light, heavy = runs
    assert torch.equal(light.densities_g_cm3, heavy.densities_g_cm3)
    hydrogen = torch.tensor(methane.numbers == 1)
    for run, mass in ((light, 1.008), (heavy, 8.0)):
        velocities = run.momenta[:, hydrogen] / mass
        expected = 300 * KB / mass
        assert float(velocities.square().mean()) == pytest.approx(
            expected, rel=5 * math.sqrt(2 / velocities.numel()) + 0.01
        )
        run.advance(1)
        assert float(run.temperatures.mean()) == pytest.approx(300, rel=5 * math.sqrt(2 / (447 * 300)) + 1e-3)


@pytest.mark.parametrize("fixed_shapes", [True, False])
@pytest.mark.parametrize("ensemble", STEPS)
def test_a_step_works_on_the_same_tensors(ensemble: str, fixed_shapes: bool) -> None:
    """A replayed graph knows nothing but addresses."""
    run = batch(ensemble, fixed_shapes)
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
