"""Constant volume: temperature, energy and pressure against mechanics and literature; recording, restart, loss."""

import numpy as np
import pytest
import torch
import torch_sim as ts
from torch_sim.models.lennard_jones import LennardJonesModel

from physembed.config.liquids import Viscosity
from physembed.engine.liquid_batch import LiquidBatch
from physembed.errors import PhysEmbedError
from physembed.md import clock
from physembed.md.clock import Clock
from physembed.md.pressure import PressureRun
from physembed.units import KB
from tests.unit.fluids import EPSILON, SIGMA, TAU_FS, IdealGas, LennardJones, argon, gas, liquid_argon

KELVIN = EPSILON / KB


class SmallArgon(LennardJones):
    """Argon in float64 with a short cutoff; counts its calls, and can give one of three systems a bad stress."""

    def __init__(self, count=None, bad_from=None, die_at=None):
        super().__init__(cutoff=1.5, tail=False, dtype=torch.float64)
        self.count, self.bad_from, self.die_at, self.calls = count, bad_from, die_at, 0

    def forward(self, state, **_):
        assert self.count in (None, state.n_systems)
        if self.calls == self.die_at:
            raise Killed
        self.calls += 1
        output = super().forward(state)
        if state.n_systems == 3 and self.bad_from is not None and self.calls >= self.bad_from:
            output["stress"][1, 0, 1] = float("inf")
        return output


class Killed(Exception):
    """Stands for a kill of the process."""


def starts(count=3):
    return [argon(2, 0.7, rattle=0.03, seed=seed) for seed in range(count)]


def settings(**changes):
    given = {"duration_ps": 1.2, "equilibration_ps": 0.5, "timestep_fs": 2.5, "block_fs": 10.0, "thermostat_ps": 0.2}
    return Viscosity(**(given | changes))


def made(folder, model=SmallArgon, **changes):
    bonds = changes.pop("bonds", None)
    clock = changes.pop("clock", None)
    given = {"temperature_K": 100.0, "seed": 4, "restart": folder, "bonds": bonds, "clock": clock}
    return PressureRun(model, starts(), settings(**changes), **given)


def finished(*args, **kwargs):
    run = made(*args, **kwargs)
    run.run()
    return run


def batch(model, boxes, ensemble="nve", timestep_fs=2.5, temperature_K=100.0):
    return LiquidBatch(
        model, boxes, temperatures_K=[temperature_K] * len(boxes), ensemble=ensemble, timestep_fs=timestep_fs,
        thermostat_ps=0.2, seed=8,
    )  # fmt: skip


def test_the_argon_of_these_tests_is_that_of_torch_sim():
    boxes = [argon(3, 0.8, seed=1), argon(3, 0.9, rattle=0.1, seed=2)]
    state = ts.io.atoms_to_state(boxes, torch.device("cpu"), torch.float64)
    reference = LennardJonesModel(SIGMA, EPSILON, cutoff=2.4 * SIGMA, dtype=torch.float64, compute_stress=True)(state)
    own = LennardJones(cutoff=2.4, tail=False, dtype=torch.float64)(state)
    for name in ("forces", "stress"):
        scale = reference[name].abs().max()
        torch.testing.assert_close(own[name], reference[name], rtol=0, atol=1e-10 * float(scale))


def test_trace_of_the_pressure_is_the_change_of_energy_with_volume_and_the_kinetic_part():
    # Positions and cell scaled by s, momenta by 1/s: dH/dV at constant scaled phase space is minus the pressure.
    start = argon(3, 0.8, rattle=0.1, seed=3)
    model = LennardJones(cutoff=2.4, dtype=torch.float64)
    held = batch(model, [start], timestep_fs=1e-4)  # as in continuous time
    trace = float(torch.einsum("nii->", held.pressure_tensors)) / 3
    kinetic = float(held.momenta.square().sum()) / (2 * start.get_masses()[0])

    def hamiltonian(scale):
        scaled = start.copy()
        scaled.set_cell(start.cell * scale, scale_atoms=True)
        return float(batch(model, [scaled]).energies[0]) + kinetic / scale**2

    step = 1e-5
    widths = [start.cell.volume * (1 + s * step) ** 3 for s in (1, -1)]
    slope = (hamiltonian(1 + step) - hamiltonian(1 - step)) / (widths[0] - widths[1])
    assert trace == pytest.approx(-slope, rel=1e-6)
    # Off-diagonal components too: shear of the box, here without momenta.
    assert float(held.pressure_tensors[0, 0, 1]) == pytest.approx(float(held.pressure_tensors[0, 1, 0]), abs=1e-12)


def test_pressure_of_an_ideal_gas_is_its_kinetic_part():
    held = batch(IdealGas(), [gas(50, 40.0, seed=1), gas(50, 50.0, seed=2)])
    masses = np.full(50, gas(1, 1).get_masses()[0])
    for row in range(2):
        momenta = held.momenta[row].numpy()
        expected = np.einsum("ai,aj,a->ij", momenta, momenta, 1 / masses) / float(held.volumes[row])
        np.testing.assert_allclose(held.pressure_tensors[row], expected, rtol=1e-12)


def test_energy_is_conserved_to_second_order_of_the_time_step():
    boxes = [argon(3, 0.8, rattle=0.02, seed=seed) for seed in range(4)]
    drifts = []
    for timestep_fs in (2.0, 4.0):
        held = batch(LennardJones(cutoff=2.5, tail=False, dtype=torch.float64), boxes, timestep_fs=timestep_fs)
        masses = boxes[0].get_masses()[0]
        totals = []
        for _ in range(200):
            held.advance(2)
            totals.append(held.energies + held.momenta.square().sum(dim=(1, 2)) / (2 * masses))
        series = torch.stack(totals)
        drifts.append(float((series - series[0]).square().mean().sqrt()))
    # For 108 atoms at 100 K, whose kinetic energy is 1.4 eV; doubling the time step increases the error about fourfold.
    assert drifts[1] < 2e-3
    assert 2.5 < drifts[1] / drifts[0] < 6


@pytest.mark.parametrize("thermostat_ps", [0.05, 0.5])
def test_velocity_rescaling_gives_the_canonical_kinetic_energy(thermostat_ps):
    # Without forces only the kinetic energy relaxes, to a gamma distribution of 3 N - 3 degrees of freedom.
    atoms, count = 6, 400
    held = LiquidBatch(
        IdealGas(), [gas(atoms, 30.0, seed=seed) for seed in range(count)], temperatures_K=[200.0] * count,
        ensemble="nvt", timestep_fs=5.0, thermostat_ps=thermostat_ps, seed=2,
    )  # fmt: skip
    held.advance(round(thermostat_ps * 1000 / 5 * 4))
    samples = []
    for _ in range(10):
        held.advance(round(thermostat_ps * 1000 / 5 * 2))
        samples.append(held.temperatures / 200)
    ratios = torch.cat(samples)
    degrees_of_freedom = 3 * atoms - 3
    # Correlation exp(-2) from one sample to the next.
    effective = len(ratios) / 1.3
    variance = 2 / degrees_of_freedom
    assert float(ratios.mean()) == pytest.approx(1, abs=5 * np.sqrt(variance / effective))
    assert float(ratios.var()) == pytest.approx(variance, rel=5 * np.sqrt((2 + 6 * variance) / effective))
    assert held.momenta.sum(dim=1).abs().max() < 1e-9


def test_argon_at_constant_volume_has_the_pressure_of_the_literature():
    # NIST Standard Reference Simulation Website, Lennard-Jones fluid: Monte Carlo of 500 atoms, cutoff 3 with tail
    # corrections, at T* = 0.9 and rho* = 0.82: p* = 0.82386 (the neighbouring densities 0.78 and 0.86: 0.279, 1.578).
    model = LennardJones(cutoff=3.0)
    held = batch(model, liquid_argon(model, 4, 0.82, 2), "nvt", 0.005 * TAU_FS, 0.9 * KELVIN)
    held.advance(600)
    seen = []
    for _ in range(120):
        held.advance(10)
        seen.append(torch.einsum("nii->n", held.pressure_tensors) / 3 * SIGMA**3 / EPSILON)
    assert float(torch.stack(seen).mean()) == pytest.approx(0.82386, abs=0.1)


@pytest.mark.parametrize("ensemble", ["nvt", "nve"])
def test_blocks_are_means_over_every_step(ensemble, tmp_path):
    run = finished(tmp_path, ensemble=ensemble)
    arrays = run.arrays()
    blocks = arrays["pressure_tensor"]
    assert blocks.shape == (3, 120, 3, 3)
    assert float(arrays["block_fs"]) == 10
    assert float(arrays["temperature_K"]) == 100
    np.testing.assert_allclose(arrays["volume_A3"], [start.cell.volume for start in starts()])

    held = LiquidBatch(
        SmallArgon(), starts(), temperatures_K=[100.0] * 3, ensemble="nvt-langevin", timestep_fs=2.5,
        thermostat_ps=0.2, seed=4,
    )  # fmt: skip
    held.advance(200)
    held.ensemble = ensemble
    pressures, temperatures = [], []
    for _ in range(480):
        held.advance(1)
        pressures.append(held.pressure_tensors)
        temperatures.append(held.temperatures)
    expected = torch.stack(pressures, dim=1).view(3, 120, 4, 3, 3).mean(dim=2)
    np.testing.assert_allclose(blocks, expected, rtol=1e-9, atol=1e-12)
    table = run.replicas()
    assert (table.status == "ok").all()
    assert table.length_ps.tolist() == pytest.approx([1.2] * 3)
    np.testing.assert_allclose(table.temperature_K, torch.stack(temperatures, dim=1).mean(dim=1))


def test_a_killed_run_goes_on_bit_for_bit_and_a_finished_one_is_not_repeated(tmp_path, monkeypatch):
    whole = finished(tmp_path / "whole")
    monkeypatch.setattr(clock, "SAVE_EVERY_SECONDS", -1.0)
    for step in (150, 450):
        with pytest.raises(Killed):
            finished(tmp_path / "killed", model=lambda count, step=step: SmallArgon(count, die_at=step))
    # The second attempt resumed from step 0 (nothing was saved at step 150), up to the check at 400 steps.
    assert made(tmp_path / "killed").pressure_tensors().shape[1] == 50
    models = []
    resumed = finished(tmp_path / "killed", model=lambda count: models.append(SmallArgon(count)) or models[-1])
    assert sum(model.calls for model in models) == 1 + 680 - 400
    assert np.array_equal(resumed.pressure_tensors(), whole.pressure_tensors())
    assert resumed.replicas().equals(whole.replicas())
    finished(tmp_path / "killed", model=lambda count: pytest.fail("a finished run asks for no model"))


def test_a_longer_run_goes_on_and_a_shorter_one_is_a_part(tmp_path):
    short = finished(tmp_path / "grown").pressure_tensors()
    longer = finished(tmp_path / "grown", duration_ps=1.6)
    assert longer.pressure_tensors().shape[1] == 160
    assert np.array_equal(longer.pressure_tensors()[:, :120], short)
    # Its state is that of the end, whatever the duration was: it is the run that never ended in between.
    assert np.array_equal(longer.pressure_tensors(), finished(tmp_path / "whole", duration_ps=1.6).pressure_tensors())
    assert np.array_equal(made(tmp_path / "grown").pressure_tensors(), short)
    assert (made(tmp_path / "grown").replicas().length_ps == 1.2).all()


def test_a_replica_that_blows_up_is_dropped(tmp_path):
    run = finished(tmp_path / "bad", model=lambda count: SmallArgon(count, bad_from=450), ensemble="nve")
    table = run.replicas()
    assert table.status.tolist() == ["ok", "blown_up", "ok"]
    assert table.reason[1] == "stress is not finite, at 1.5 ps"
    assert table.length_ps.tolist() == pytest.approx([1.2, 1.0, 1.2])
    blocks = run.pressure_tensors()
    assert blocks.shape == (2, 120, 3, 3)
    assert np.isfinite(blocks).all()
    # NVE has no noise after the equilibration: the others are what they are without the loss.
    sound = finished(tmp_path / "sound", ensemble="nve").pressure_tensors()
    np.testing.assert_allclose(blocks, sound[[0, 2]], atol=1e-8)
    assert len(run.arrays()["volume_A3"]) == 2
    assert np.array_equal(made(tmp_path / "bad", ensemble="nve").pressure_tensors(), blocks)


def test_if_all_replicas_blow_up_that_is_the_result(tmp_path):
    bonds = [(i, i + 1) for i in range(0, 32, 2)]
    run = finished(tmp_path, bonds=bonds, duration_ps=12.0)
    assert (run.replicas().status == "blown_up").all()
    assert run.replicas().reason.str.contains("Å at the start").all()
    assert run.arrays()["pressure_tensor"].shape[0] == 0
    assert run.arrays()["volume_A3"].shape == (0,)
    finished(tmp_path, bonds=bonds, duration_ps=12.0, model=lambda count: pytest.fail("nothing is left to run"))


def test_no_start_gives_no_replica(tmp_path):
    run = PressureRun(SmallArgon, [], settings(), temperature_K=100.0, seed=1, restart=tmp_path)
    run.run()
    assert run.replicas().empty
    assert run.arrays()["pressure_tensor"].shape == (0, 0, 3, 3)


def test_the_time_limit_ends_a_run_that_goes_on_later(tmp_path):
    with pytest.raises(PhysEmbedError, match="run again to resume") as failure:
        finished(tmp_path / "limited", clock=Clock(1e-9))
    assert "\n" not in str(failure.value)
    resumed = finished(tmp_path / "limited").pressure_tensors()
    assert np.array_equal(resumed, finished(tmp_path / "whole").pressure_tensors())
