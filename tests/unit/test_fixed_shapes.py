"""Liquids as on a GPU, with fixed-shape lists verified once in many steps, compared with ordinary lists."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import torch_sim
from ase import Atoms

from physembed.cso import CSOParameters
from physembed.engine.graphs import WARM_UP_CALLS, Replayed
from physembed.engine.liquid_batch import LiquidBatch
from physembed.engine.liquid_model import LiquidModel, ListedCSO
from physembed.engine.liquid_steps import STEPS
from physembed.engine.mace import LiquidMace
from physembed.engine.parts import LiquidParts
from physembed.engine.speculative_steps import CHUNK, ListedSteps
from physembed.errors import PhysEmbedError
from physembed.pairs.padded_list import PaddedList

from .capture import Capturable
from .models_for_tests import box, random_mace

CPU, FLOAT = torch.device("cpu"), torch.float64
BATCHES = {
    "two sizes": [box(40, (8.0, 10.1, 8.5), 1), box(25, (8.0, 7.5, 9.0), 2)],
    "many images": [box(9, (4.1, 5.3, 4.7), 5), box(6, (3.6, 4.2, 4.4), 6, skew=0.9)],
    "two elements": [box(30, (7.5, 7.0, 8.0), 7, elements="HO"), box(1, (3.0, 3.5, 2.8), 8)],
}


def model(fixed_shapes: bool, convention: str = "d3", skin_A: float = 1.0) -> LiquidModel:
    base = LiquidMace(random_mace(), CPU, FLOAT, fixed_shapes)
    cso = ListedCSO(
        CSOParameters(alpha=0.05, a1=0.7), convention, None, device=CPU, dtype=FLOAT, fixed_shapes=fixed_shapes
    )
    if fixed_shapes:
        base.list, cso.list = PaddedList(float(base.r_max), skin_A), PaddedList(cso.reach, skin_A, half=True)
    return LiquidModel(base, cso)


def same(output: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert set(output) == set(expected)
    for name, value in expected.items():
        scale = float(value.abs().max())
        torch.testing.assert_close(output[name], value, rtol=1e-9, atol=1e-10 * max(scale, 1e-9), msg=name)


@pytest.mark.parametrize("convention", ["d3", "d2"])
@pytest.mark.parametrize("systems", BATCHES.values(), ids=BATCHES)
def test_edges_that_count_for_nothing_change_nothing(systems: list[Atoms], convention: str) -> None:
    """Along a run in which lists are rebuilt several times, and cells expand and contract."""
    plain, fixed = model(False, convention), model(True, convention)
    state, generator = torch_sim.io.atoms_to_state(systems, CPU, FLOAT), torch.Generator().manual_seed(3)
    calls = 24
    for k in range(calls):
        same(fixed(state), plain(state))
        scale = 1.02 if k % 12 < 6 else 0.98
        state.cell = scale * state.cell
        noise = torch.randn(state.positions.shape, generator=generator, dtype=FLOAT)
        state.positions = scale * state.positions + 0.05 * noise
    assert 2 <= fixed.base.list.rebuilds < calls


def test_the_same_places_serve_until_they_are_too_few() -> None:
    """A box that expands, then contracts; what is left in places from before must not count."""
    plain, fixed = model(False), model(True)
    state, seen = torch_sim.io.atoms_to_state(BATCHES["two sizes"][:1], CPU, FLOAT), []
    positions, cell = state.positions, state.cell
    for scale in (1.0, 1.03, 1.06, 1.0, 0.9, 0.8, 1.0):
        state.positions, state.cell = scale * positions, scale * cell
        for pairs in fixed.lists:
            if pairs.allocations:
                pairs.make(state.positions, state.row_vector_cell, state.pbc, state.system_idx)
        same(fixed(state), plain(state))
        seen.append([pairs.allocations for pairs in fixed.lists])
    assert seen[:4] == [[1, 1]] * 4
    assert seen[-1] == seen[-2] and min(seen[-1]) > 1


@pytest.mark.parametrize("motion", ["one atom", "scaled", "sheared"])
def test_a_list_is_not_used_up_before_a_pair_is_missing(motion: str) -> None:
    """Moved at random, the list is called complete only where it has every pair within the cutoff."""
    rng, atoms = np.random.default_rng(1), BATCHES["many images"][1]
    state, complete = torch_sim.io.atoms_to_state([atoms], CPU, FLOAT), 0
    pairs = PaddedList(5.0, 0.5)
    for _ in range(40):
        pairs.make(state.positions, state.row_vector_cell, state.pbc, state.system_idx)
        assert pairs.used < 1
        moved, cell = state.positions.clone(), state.row_vector_cell.clone()
        if motion == "one atom":
            moved[rng.integers(len(moved))] += torch.tensor(rng.normal(size=3) * 0.2)
        else:
            strain = np.diag([rng.normal() * 0.04] * 3) if motion == "scaled" else rng.normal(size=(3, 3)) * 0.02
            affine = torch.tensor(np.eye(3) + strain)
            moved, cell = moved @ affine, cell @ affine
        pairs.attended = False
        first, second, vectors = pairs.edges(moved, cell, state.pbc, state.system_idx)
        pairs.attended = True
        near = vectors.norm(dim=1) < 5.0
        fresh = PaddedList(5.0, 0.5)
        expected = fresh.edges(moved, cell, state.pbc, state.system_idx)[2]
        if pairs.used < 1:
            complete += 1
            found, there = vectors[near].norm(dim=1).sort()[0], expected.norm(dim=1)
            torch.testing.assert_close(found, there[there < 5.0].sort()[0])
            assert torch.all((first[near] != second[near]) | (vectors[near].norm(dim=1) > 1))
    assert 3 < complete < 40


def batch(fixed: bool, ensemble: Any, starts: list[Atoms] | None = None, skin_A: float = 0.15) -> LiquidBatch:
    if starts is None:
        starts = [box(30, (8.5, 8.5, 8.5), seed) for seed in (1, 2)]
        starts[1].numbers = starts[0].numbers
    return LiquidBatch(
        model(fixed, skin_A=skin_A),
        starts,
        temperatures_K=[300.0, 350.0],
        pressures_bar=[1.0, 500.0],
        ensemble=ensemble,
        timestep_fs=0.5,
        thermostat_ps=0.05,
        barostat_ps=0.2,
        seed=4,
    )


class Scarce(LiquidModel):
    """Needs more memory than there is for more than so many systems: when it is made, or later."""

    calls, at_once, from_call = 0, 2, 0

    def forward(self, state: Any, **_: object) -> dict[str, torch.Tensor]:
        Scarce.calls += 1
        if state.n_systems > Scarce.at_once and Scarce.calls > Scarce.from_call:
            raise torch.cuda.OutOfMemoryError("scarce")
        return super().forward(state)


def in_parts(systems: int, at_once: int | None, kind: type[LiquidModel] = LiquidModel) -> LiquidParts:
    alphas = [0.02 * (k + 1) for k in range(systems)]

    def of(some: slice) -> LiquidModel:
        one = model(True, skin_A=0.15).with_parameters(alphas[some], 0.7)
        return kind(one.base, one.cso)

    return LiquidParts(of, systems, at_once)


def many(ensemble: Any, run_model: Any) -> LiquidBatch:
    starts = [box(12, (6.5, 6.5, 6.5), seed) for seed in range(5)]
    for start in starts:
        start.numbers = starts[0].numbers
    return LiquidBatch(
        run_model, starts, temperatures_K=[300.0] * 5, pressures_bar=[1.0] * 5, ensemble=ensemble, timestep_fs=0.5,
        thermostat_ps=0.05, barostat_ps=0.2, seed=4,
    )  # fmt: skip


@pytest.mark.parametrize("from_call", [None, 0, 20], ids=["parts", "at the start", "on the way"])
def test_a_batch_in_parts_is_the_batch(from_call: int | None) -> None:
    """Also when the memory turns out too small, at the first evaluation or between two steps."""
    Scarce.calls, Scarce.from_call = 0, from_call or 0
    parts = in_parts(5, 2) if from_call is None else in_parts(5, 5, Scarce)
    whole, divided = many("npt-crescale", in_parts(5, 5)), many("npt-crescale", parts)
    for run in (whole, divided):
        run.advance(20)
    assert parts.systems_at_once == 2
    assert [part.systems for part in parts._parts] == [slice(0, 2), slice(2, 4), slice(4, 5)]
    for name in ("positions", "cells", "energies", "base_energies", "cso_S0", "pressure_tensors"):
        torch.testing.assert_close(getattr(divided, name), getattr(whole, name), rtol=1e-7, atol=1e-8, msg=name)
    # Another division afterwards, of the systems that stay.
    kept = torch.tensor([True, False, True, False, False])
    for run, at_once in ((whole, 2), (divided, 1)):
        run.keep(kept, in_parts(2, at_once))
        run.advance(3)
    torch.testing.assert_close(divided.positions, whole.positions, rtol=1e-7, atol=1e-8)


def test_parts_are_left_as_they_are_amid_steps() -> None:
    Scarce.calls, Scarce.from_call = 0, 10**9
    parts = in_parts(5, 5, Scarce)
    run = many("nvt", parts)
    parts.make_lists(run.state)
    Scarce.from_call = 0
    for attended in (False, True):
        for pairs in parts.lists:
            pairs.attended = attended
        if attended:
            assert len(parts(run.state)["energy"]) == 5
            assert parts.systems_at_once == 2
        else:
            with pytest.raises(torch.cuda.OutOfMemoryError):
                parts(run.state)
            assert parts.systems_at_once == 5


def test_memory_for_less_than_one_system_ends_in_one_line() -> None:
    Scarce.calls, Scarce.from_call = 0, 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Scarce, "at_once", 0)
        with pytest.raises(PhysEmbedError, match="too small for a single system"):
            many("nvt", in_parts(5, 5, Scarce))


def lists_of(run: LiquidBatch) -> tuple[PaddedList, ...]:
    return run._watched.model.lists


@pytest.mark.parametrize("ensemble", STEPS)
def test_runs_are_the_same(ensemble: str) -> None:
    """With a skin so thin that lists are rebuilt and steps rolled back constantly."""
    plain, fixed = batch(False, ensemble), batch(True, ensemble)
    for run in (plain, fixed):
        run.advance(40)
    (steps,) = fixed._steps.values()
    assert steps.taken_back
    assert min(pairs.rebuilds for pairs in lists_of(fixed)) >= 3
    for name in ("positions", "momenta", "cells", "energies", "base_energies", "cso_S0", "pressure_tensors"):
        torch.testing.assert_close(getattr(fixed, name), getattr(plain, name), rtol=1e-7, atol=1e-8, msg=name)
    assert torch.equal(fixed.state.rng.get_state(), plain.state.rng.get_state())
    mask = torch.tensor([False, True])
    for run in (plain, fixed):
        run.keep(mask, model(run is fixed, skin_A=0.15))
        run.advance(5)
    torch.testing.assert_close(fixed.positions, plain.positions, rtol=1e-7, atol=1e-8)


@pytest.mark.parametrize("ensemble", STEPS)
def test_a_graph_can_hold_the_step(ensemble: str) -> None:
    run = batch(True, ensemble, skin_A=1.0)
    run.averages(WARM_UP_CALLS)  # e3nn's compiled code is optimised at its first calls
    before = run.positions.clone()
    for pairs in lists_of(run):
        pairs.attended = False
    with Capturable():
        run._counted_step()
    assert not torch.equal(run.positions, before)


def test_a_replayed_step_reads_and_writes_the_same_tensors() -> None:
    run = batch(True, "npt-crescale", skin_A=1.0)
    run.advance(3)

    def addresses() -> list[int]:
        held = [tensor for _, _, tensor in run._changing()]
        return [tensor.data_ptr() for tensor in [*held, *(pairs.used for pairs in lists_of(run))]]

    before, allocations = addresses(), [pairs.allocations for pairs in lists_of(run)]
    run.advance(2 * CHUNK)
    assert addresses() == before
    assert [pairs.allocations for pairs in lists_of(run)] == allocations


@pytest.mark.parametrize(("speed", "skin_A", "lost"), [(9.0, 0.15, True), (1.2, 0.02, False)], ids=["lost", "fast"])
def test_a_system_whose_motion_no_list_lasts(speed: float, skin_A: float, lost: bool) -> None:
    """It fails, or its steps are verified one by one; the other system is not affected by either."""
    starts = [box(30, (8.5, 8.5, 8.5), seed) for seed in (1, 2)]
    starts[1].numbers = starts[0].numbers
    starts[1].set_momenta(np.linspace(-speed, speed, 90).reshape(30, 3))
    plain, fixed = batch(False, "nvt", starts), batch(True, "nvt", starts, skin_A)
    for run in (plain, fixed):
        run.advance(30)
    assert fixed.lost() == plain.lost()
    assert [bool(reason) for reason in fixed.lost()] == [False, lost]
    torch.testing.assert_close(fixed.positions, plain.positions, rtol=1e-7, atol=1e-8)
    (steps,) = fixed._steps.values()
    assert lost or steps.taken_back > 10


def test_a_saved_run_goes_on() -> None:
    whole, first, second = (batch(True, "npt-crescale") for _ in range(3))
    whole.advance(40)
    first.advance(20)
    second.load(first.save())
    second.advance(20)
    # Equal but for the order in which a sum is made: the places depend on when the list was made.
    torch.testing.assert_close(second.positions, whole.positions, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(second.cells, whole.cells, rtol=1e-9, atol=1e-9)


def test_a_step_is_repeated() -> None:
    counter = torch.zeros(1)
    repeated = Replayed(lambda: counter.add_(1), captured=False)
    repeated(3)
    repeated(4)
    assert counter == 7


class Refused(Replayed):
    """Its capture takes some steps, then fails."""

    error: type[RuntimeError] = RuntimeError

    def _capture(self) -> torch.cuda.CUDAGraph:
        for _ in range(WARM_UP_CALLS):
            self._step()
        raise Refused.error("operation not permitted when stream is capturing\nand more")


def test_a_step_that_cannot_be_captured_is_called(caplog: pytest.LogCaptureFixture) -> None:
    """From the state before, random numbers included, and with one warning."""
    generator, reference = torch.Generator().manual_seed(3), torch.Generator().manual_seed(3)
    walk = torch.zeros(())
    refused = Refused(lambda: walk.add_(torch.randn((), generator=generator)), True, [walk], generator)
    refused(2)
    refused(3)
    torch.testing.assert_close(walk, sum(torch.randn((), generator=reference) for _ in range(5)))
    (message,) = caplog.messages
    assert message.endswith("slower: operation not permitted when stream is capturing")


def test_a_capture_without_memory_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Refused, "error", torch.cuda.OutOfMemoryError)
    counter = torch.zeros(())
    with pytest.raises(torch.cuda.OutOfMemoryError):
        Refused(lambda: counter.add_(1), True, [counter])(2)
    assert counter == 0


class Lasting:
    """A list that lasts so many steps, or none at all in a stretch of them; and the model that uses it."""

    def __init__(self, lasts: int, counter: torch.Tensor, hopeless: range) -> None:
        self.lasts, self.counter, self.hopeless = lasts, counter, hopeless
        self.attended, self.allocations = True, 1
        self.used, self.made_at, self.builds = torch.zeros(()), -1, 0
        self.lists = (self,)

    def make_lists(self, state: Any) -> None:
        self.made_at = int(self.counter)
        self.builds += 1
        self.used.fill_(0.5)

    def call(self) -> None:
        at = int(self.counter)
        used = 2.0 if at in self.hopeless and at != self.made_at else 0.5 + 0.5 * (at - self.made_at) / self.lasts
        if not self.attended:
            self.used.fill_(max(float(self.used), used))
        elif used >= 1:
            self.make_lists(None)


@pytest.mark.parametrize("lasts", [3, 10, 40, 1000])
@pytest.mark.parametrize("hopeless", [range(0), range(30, 34)], ids=["all", "a stretch"])
def test_steps_taken_are_those_asked_for(lasts: int, hopeless: range) -> None:
    """Each step is kept once, and none for which the list was used up."""
    counter, generator = torch.zeros((), dtype=torch.long), torch.Generator().manual_seed(1)
    noise, kept = torch.zeros(200), torch.zeros(200)
    pairs = Lasting(lasts, counter, hopeless)

    def step() -> None:
        counter.add_(1)
        pairs.call()
        noise[counter] = torch.randn((), generator=generator)
        kept[counter] += 1

    steps = ListedSteps(step, [counter, noise, kept], pairs, SimpleNamespace(device=CPU, rng=generator))
    for part in (60, 7, 1, 32):
        steps(part)
    assert counter == 100
    assert torch.equal(kept, torch.tensor([0.0] + [1.0] * 100 + [0.0] * 99))
    reference = torch.Generator().manual_seed(1)
    expected = torch.stack([torch.randn((), generator=reference) for _ in range(100)])
    assert torch.equal(noise[1:101], expected)
    assert bool(steps.taken_back) or lasts > CHUNK
    assert not steps.taken_back or lasts < 1000 or hopeless


@pytest.mark.parametrize("lasts", [6, 12, 15, 20, 30, 60])
def test_few_steps_are_taken_in_vain(lasts: int) -> None:
    """However long lists last: of the first chunk it cannot be known, later ones are as long as the lists."""
    counter, generator = torch.zeros((), dtype=torch.long), torch.Generator()
    pairs, taken = Lasting(lasts, counter, range(0)), 0

    def step() -> None:
        nonlocal taken
        taken += 1
        counter.add_(1)
        pairs.call()

    steps = ListedSteps(step, [counter], pairs, SimpleNamespace(device=CPU, rng=generator))
    steps(1000)
    assert counter == 1000
    assert taken <= 1000 + 2 * CHUNK
    assert pairs.builds <= 1000 / (0.6 * lasts)
