"""The MD engine on this machine: on a GPU with CUDA graphs if there is one, otherwise on a CPU.

On a CPU, where steps are called directly, each test checks that the steps could be captured in a graph.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ase import Atoms, units
from mace.calculators import MACECalculator
from scipy import stats
from torch_sim.io import atoms_to_state
from torch_sim.models.interface import ModelInterface

from physembed.engine.graphs import WARM_UP_CALLS
from physembed.engine.langevin import LangevinBatch
from physembed.engine.liquid_batch import LiquidBatch
from physembed.engine.liquid_model import load_liquid
from physembed.engine.liquid_steps import STEPS
from physembed.engine.mace import IsolatedMace, load_isolated
from physembed.model_files.file import load_module
from physembed.models.evaluation import predict
from physembed.units import FS, KB

from .capture import Capturable
from .fluids import IdealGas, gas
from .models_for_tests import box, random_mace
from .test_graphs import detector, starts
from .test_liquid_model import A1, ALPHA, BATCHES, ISOLATED, assert_equal_to_calculators, reference

GPU = torch.cuda.is_available()
DEVICE = "cuda" if GPU else "cpu"
TOLERANCES = {"float64": 1e-9, "float32": 2e-4}


@pytest.fixture(scope="module")
def model_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "mace.model"
    torch.save(random_mace(), path)
    return path


def on_host(output: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: values.double().cpu() for name, values in output.items()}


@pytest.mark.parametrize("dtype", TOLERANCES)
def test_molecules_equal_maces_calculator(model_file: Path, dtype: str) -> None:
    energies, forces = predict(load_isolated(model_file, DEVICE, dtype), ISOLATED)
    calculator = MACECalculator(str(model_file), device="cpu", default_dtype="float64")
    for atoms, energy, force in zip(ISOLATED, energies, forces, strict=True):
        alone = Atoms(atoms.numbers, atoms.positions, calculator=calculator)
        assert energy == pytest.approx(alone.get_potential_energy(), rel=TOLERANCES[dtype])
        expected = alone.get_forces()
        scale = max(float(np.abs(expected).max()), 1e-3)
        np.testing.assert_allclose(force, expected, rtol=0, atol=TOLERANCES[dtype] * scale)


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("systems", BATCHES.values(), ids=BATCHES)
def test_liquids_equal_the_calculators(model_file: Path, systems: list[Atoms], dtype: str) -> None:
    """At the first call, after a motion that the list lasts, and right after one that it does not."""
    model = load_liquid(model_file, DEVICE, dtype, convention="d3", alpha=ALPHA, a1=A1, fixed_shapes=True)
    moved, rng, rebuilds = [atoms.copy() for atoms in systems], np.random.default_rng(1), []
    state = atoms_to_state(moved, model.device, model.dtype)
    for amount in (0.0, 0.02, 0.3):
        for atoms in moved:
            atoms.set_cell(atoms.cell * (1 + 0.1 * amount), scale_atoms=True)
            atoms.positions += amount * rng.normal(size=atoms.positions.shape).clip(-2, 2)
            atoms.positions[0] += [3 * amount, 0.0, 0.0]
        state.positions = torch.tensor(np.concatenate([atoms.positions for atoms in moved])).to(state.positions)
        state.cell = torch.tensor(np.stack([atoms.cell.array.T for atoms in moved])).to(state.cell)
        output = on_host(model(state))
        references = [reference(model_file, atoms) for atoms in moved]
        assert_equal_to_calculators(output, moved, references, rel=TOLERANCES[dtype])
        rebuilds.append([pairs.rebuilds for pairs in model.lists])
    assert rebuilds == [[1, 1], [1, 1], [2, 2]]


def assert_replayed(graph: Any, step: Callable[[], None]) -> None:
    """On a GPU the step was captured; on a CPU it could be."""
    if GPU:
        assert graph is not None
        return
    for _ in range(WARM_UP_CALLS):
        step()
    with Capturable():
        step()


def replicas(model_file: Path, captured: bool) -> LangevinBatch:
    model = IsolatedMace(load_module(model_file, DEVICE), torch.device(DEVICE), torch.float64)
    model.prune = False
    batch = LangevinBatch(
        model, starts(6), temperature_K=300.0, timestep_fs=0.5, friction_per_ps=10.0, seed=3,
        detector=detector(DEVICE), fixed_shapes=True,
    )  # fmt: skip
    for repeated in (batch._advance, batch._look):
        repeated._captured = captured and GPU
    return batch


def test_replayed_steps_of_molecules_are_those_that_are_called(model_file: Path) -> None:
    """One replica collapses on the way and leaves, and the run is saved and resumed; all but the last is replayed."""
    called, replayed = replicas(model_file, False), replicas(model_file, True)
    for batch in (called, replayed):
        batch.advance(7)
        batch.look()
        batch.state.positions.view(6, -1, 3)[2, 3] += 1.0
        batch.look()
        assert batch.stopped_at.tolist() == [-1, -1, 7, -1, -1, -1]
        batch.advance(8)
        batch.look()
        batch.keep(batch.stopped_at < 0)
        batch.advance(5)
    assert replayed.n_replicas == 5
    again = replicas(model_file, True)
    again.load(replayed.save(), torch.tensor([True, True, False, True, True, True], device=DEVICE))
    for name in ("positions", "forces", "energies", "temperatures"):
        torch.testing.assert_close(getattr(replayed, name), getattr(called, name), rtol=1e-8, atol=1e-9, msg=name)
        torch.testing.assert_close(getattr(again, name), getattr(replayed, name), rtol=0, atol=0, msg=name)
    assert_replayed(replayed._advance._graph, replayed._step)
    assert_replayed(replayed._look._graph, replayed._stop_collapsed)


def liquid(model_file: Path, ensemble: Any, captured: bool) -> LiquidBatch:
    starts = [box(12, (6.5, 6.5, 6.5), seed) for seed in (1, 2)]
    starts[1].numbers = starts[0].numbers
    model = load_liquid(model_file, DEVICE, "float64", convention="d3", alpha=ALPHA, a1=A1, fixed_shapes=True)
    batch = LiquidBatch(
        model, starts, temperatures_K=[300.0, 350.0], pressures_bar=[1.0, 500.0], ensemble=ensemble, timestep_fs=0.5,
        thermostat_ps=0.05, barostat_ps=0.2, seed=4,
    )  # fmt: skip
    batch.averages(0)
    for steps in batch._steps.values():
        steps._captured = captured and GPU
    return batch


@pytest.mark.parametrize("ensemble", STEPS)
def test_replayed_steps_of_liquids_are_those_that_are_called(model_file: Path, ensemble: str) -> None:
    called, replayed = liquid(model_file, ensemble, False), liquid(model_file, ensemble, True)
    averages = [batch.averages(30) for batch in (called, replayed)]
    for one, other in zip(*averages, strict=True):
        torch.testing.assert_close(other, one, rtol=1e-6, atol=1e-8)
    for name in ("positions", "momenta", "cells", "energies", "base_energies", "cso_S0", "pressure_tensors"):
        torch.testing.assert_close(getattr(replayed, name), getattr(called, name), rtol=1e-6, atol=1e-7, msg=name)
    (steps,) = replayed._steps.values()
    assert steps._replayed is not None
    for pairs in replayed._watched.model.lists:
        pairs.attended = False
    assert_replayed(steps._replayed._graph, replayed._counted_step)


@pytest.mark.parametrize("ensemble", ["nve", "molecules"])
def test_energy_is_conserved(model_file: Path, ensemble: str) -> None:
    """Velocity Verlet: the error of the energy over a time falls as the square of the time step."""
    worst = []
    for timestep_fs, steps in ((0.5, 40), (0.25, 80)):
        batch: Any
        if ensemble == "nve":
            start = box(30, (8.5, 8.5, 8.5), 1)
            model = load_liquid(model_file, DEVICE, "float64", convention="d3", alpha=ALPHA, a1=A1, fixed_shapes=True)
            batch = LiquidBatch(
                model, [start], temperatures_K=[300.0], ensemble="nve", timestep_fs=timestep_fs, thermostat_ps=1.0,
                seed=4,
            )  # fmt: skip
        else:
            model = load_isolated(model_file, DEVICE, "float64")
            batch = LangevinBatch(
                model, starts(1), temperature_K=300.0, timestep_fs=timestep_fs, friction_per_ps=0.0, seed=4
            )  # fmt: skip
        totals = []
        for _ in range(steps):
            state = batch.state
            totals.append(float(batch.energies[0] + (state.momenta.square().sum(dim=1) / (2 * state.masses)).sum()))
            batch.advance(1)
        worst.append(np.abs(np.array(totals) - totals[0]).max())
    assert worst[0] / worst[1] == pytest.approx(4, rel=0.15)


class Wells(ModelInterface):
    """Four atoms per replica, each in a harmonic well at the origin, E = k r^2 / 2; can be captured in a CUDA graph."""

    k = 5.0

    def __init__(self) -> None:
        super().__init__()
        self._device, self._dtype = torch.device(DEVICE), torch.float64
        self._compute_stress, self._compute_forces = False, True

    def forward(self, state: Any, **_: object) -> dict[str, torch.Tensor]:
        return {
            "energy": self.k / 2 * state.positions.square().view(-1, 12).sum(dim=1),
            "forces": -self.k * state.positions,
        }


def test_replicas_sample_the_canonical_ensemble() -> None:
    """BAOAB in a harmonic well: <x^2> = kT / k, and kinetic energies of half steps of Gamma(6, kT)."""
    omega_dt = 0.4
    omega = math.sqrt(Wells.k / Atoms("C").get_masses()[0]) * FS
    batch = LangevinBatch(
        Wells(), [Atoms("C4", positions=np.zeros((4, 3)))] * 1000, temperature_K=300.0, timestep_fs=omega_dt / omega,
        friction_per_ps=2000 * omega, seed=11, fixed_shapes=True,
    )  # fmt: skip
    batch.advance(100)
    squares = []
    for _ in range(20):
        batch.advance(15)
        squares.append(float(batch.positions.square().mean()))
    # 12000 wells and 20 samples: a standard error of 0.3 %.
    assert np.mean(squares) == pytest.approx(300 * KB / Wells.k, rel=0.012)
    kinetic = batch.temperatures.cpu().numpy() * KB * 12 / 2
    assert stats.kstest(kinetic, stats.gamma(a=6, scale=300 * KB).cdf).pvalue > 1e-6
    assert_replayed(batch._advance._graph, batch._step)


@pytest.mark.parametrize("ensemble", ["npt-crescale", "npt-langevin"])
def test_boxes_sample_the_isobaric_ensemble(ensemble: Any) -> None:
    """Volumes of an ideal gas, p(V) ~ V^(N - 1) exp(-P V / kT): Gamma(N) in units of kT / P."""
    atoms, count, kT_P = 16, 400, 300 * KB / (100 * units.bar)
    batch = LiquidBatch(
        IdealGas(device=DEVICE), [gas(atoms, (atoms * kT_P) ** (1 / 3), seed=seed) for seed in range(count)],
        temperatures_K=[300.0] * count, pressures_bar=[100.0] * count, ensemble=ensemble, timestep_fs=5.0,
        thermostat_ps=0.1, barostat_ps=0.5, compressibility_per_bar=0.01, seed=1,
    )  # fmt: skip
    batch.advance(600)
    volumes = batch.volumes.cpu().numpy() / kT_P
    assert stats.kstest(volumes, stats.gamma(atoms).cdf).pvalue > 0.001
    assert volumes.mean() == pytest.approx(atoms, abs=4 * math.sqrt(atoms / count))
    (steps,) = batch._steps.values()
    assert steps._replayed is not None
    assert_replayed(steps._replayed._graph, batch._step)
