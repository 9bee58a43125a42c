"""Liquids as on a GPU, on edges of fixed number, against the same without."""

import numpy as np
import pytest
import torch
import torch_sim

from physembed.md.liquid import LiquidBatch
from physembed.models.cso import CSOParameters
from physembed.models.graphs import WARM_UP_CALLS, Replayed, ReplayedOnEdges
from physembed.models.liquid import LiquidModel, ListedCSO
from physembed.models.mace import LiquidMace

from .capture import Capturable
from .models_for_tests import box, random_mace

CPU, FLOAT = torch.device("cpu"), torch.float64
BATCHES = {
    "two sizes": [box(40, (8.0, 10.1, 8.5), 1), box(25, (8.0, 7.5, 9.0), 2)],
    "many images": [box(9, (4.1, 5.3, 4.7), 5), box(6, (3.6, 4.2, 4.4), 6, skew=0.9)],
    "two elements": [box(30, (7.5, 7.0, 8.0), 7, elements="HO"), box(1, (3.0, 3.5, 2.8), 8)],
}


def model(fixed_shapes, convention="d3"):
    base = LiquidMace(random_mace(), CPU, FLOAT, fixed_shapes)
    cso = ListedCSO(
        CSOParameters(alpha=0.05, a1=0.7), convention, None, device=CPU, dtype=FLOAT, fixed_shapes=fixed_shapes
    )
    return LiquidModel(base, cso)


def captures(fixed):
    return [fixed.base._replayed.captures, fixed.cso._replayed.captures]


@pytest.mark.parametrize("convention", ["d3", "d2"])
@pytest.mark.parametrize("systems", BATCHES.values(), ids=BATCHES)
def test_edges_that_count_for_nothing_change_nothing(systems, convention):
    """Along a run whose lists are made anew several times, and whose cells expand and contract."""
    rng, systems = np.random.default_rng(3), [atoms.copy() for atoms in systems]
    plain, fixed = model(False, convention), model(True, convention)
    for k in range(24):
        state = torch_sim.io.atoms_to_state(systems, CPU, FLOAT)
        expected, output = plain(state), fixed(state)
        assert set(output) == set(expected)
        for name, value in expected.items():
            scale = float(value.abs().max())
            torch.testing.assert_close(output[name], value, rtol=1e-9, atol=1e-10 * max(scale, 1e-9), msg=name)
        for atoms in systems:
            atoms.set_cell(atoms.cell * (1.02 if k % 12 < 6 else 0.98), scale_atoms=True)
            atoms.positions += 0.05 * rng.normal(size=atoms.positions.shape)
    assert plain.base.list.rebuilds == fixed.base.list.rebuilds >= 2


def test_the_same_places_serve_until_they_are_too_few():
    """A box that expands, then contracts; what is left in places from before must not count."""
    atoms, plain, fixed = BATCHES["two sizes"][0].copy(), model(False), model(True)
    seen, state = [], torch_sim.io.atoms_to_state([atoms], CPU, FLOAT)
    positions, cell = state.positions, state.cell
    for scale in (1.0, 1.03, 1.06, 1.0, 0.9, 0.8, 1.0):
        state.positions, state.cell = scale * positions, scale * cell
        fixed.base.list._made_for = fixed.cso.list._made_for = None  # a list made anew each time
        expected, output = plain(state), fixed(state)
        for name, value in expected.items():
            torch.testing.assert_close(output[name], value, rtol=1e-9, atol=1e-11, msg=name)
        seen.append(captures(fixed))
    assert seen[:4] == [[1, 1]] * 4
    assert seen[-1] == seen[-2] and min(seen[-1]) > 1


def test_the_results_of_a_call_outlive_the_next():
    """A graph writes into the same tensors each time."""
    fixed, systems = model(True), [atoms.copy() for atoms in BATCHES["many images"]]
    first = fixed(torch_sim.io.atoms_to_state(systems, CPU, FLOAT))
    kept = {name: value.clone() for name, value in first.items()}
    systems[0].positions += 0.1
    systems[1].positions[0] += 0.2
    fixed(torch_sim.io.atoms_to_state(systems, CPU, FLOAT))
    for name, value in kept.items():
        assert torch.equal(first[name], value), name


def test_a_graph_can_hold_the_evaluations():
    fixed = model(True)
    for _ in range(WARM_UP_CALLS):  # e3nn's compiled code is optimised at its first calls
        fixed(torch_sim.io.atoms_to_state(BATCHES["many images"], CPU, FLOAT))
    with Capturable():
        fixed.base._replayed._replayed(1)
        fixed.cso._replayed._replayed(1)


def test_what_is_replayed_reads_the_same_tensors():
    """A replayed graph knows nothing but addresses."""
    addresses = []

    def function(first, second, vectors):
        addresses.append((first.data_ptr(), second.data_ptr(), vectors.data_ptr()))
        return {"sum": torch.where(vectors.norm(dim=1) < 5, first + second, 0).sum()}

    replayed = ReplayedOnEdges(function, beyond_A=10.0)
    for length, expected in ((20, 60), (5, 15), (21, 63)):
        edges = torch.ones(length, dtype=torch.long), torch.full((length,), 2), torch.ones(length, 3)
        assert replayed(*edges)["sum"] == expected
    assert len(set(addresses)) == replayed.captures == 1
    assert replayed(*(torch.ones(40, dtype=torch.long),) * 2, torch.ones(40, 3))["sum"] == 80
    assert len(set(addresses)) == replayed.captures == 2


def test_a_step_is_repeated():
    counter = torch.zeros(1)
    repeated = Replayed(lambda: counter.add_(1), CPU)
    repeated(3)
    repeated(4)
    assert counter == 7


@pytest.mark.parametrize("ensemble", ["nve", "nvt", "npt-crescale", "npt-langevin"])
def test_runs_are_the_same(ensemble):
    starts = [box(30, (8.5, 8.5, 8.5), seed) for seed in (1, 2)]
    for start in starts:
        start.numbers = starts[0].numbers
    batches = [
        LiquidBatch(
            model(fixed),
            starts,
            temperatures_K=[300.0, 350.0],
            pressures_bar=[1.0, 500.0],
            ensemble=ensemble,
            timestep_fs=0.5,
            thermostat_ps=0.05,
            barostat_ps=0.2,
            seed=4,
        )
        for fixed in (False, True)
    ]
    for batch in batches:
        batch.advance(25)
    for name in ("positions", "momenta", "cells", "energies", "base_energies", "cso_S0", "pressure_tensors"):
        plain, fixed = (getattr(batch, name) for batch in batches)
        torch.testing.assert_close(fixed, plain, rtol=1e-7, atol=1e-8, msg=name)
    mask = torch.tensor([False, True])
    for batch, fixed in zip(batches, (False, True), strict=True):
        batch.keep(mask, model(fixed))
        batch.advance(5)
    torch.testing.assert_close(batches[1].positions, batches[0].positions, rtol=1e-7, atol=1e-8)
