"""The step that a GPU replays: its operations, and its results when replicas keep their slots."""

import numpy as np
import pandas as pd
import pytest
import torch
from ase.build import molecule
from torch_sim.integrators import nvt_langevin_step

from physembed.collapse.detector import CollapseDetector
from physembed.engine.device import systems_that_fit
from physembed.engine.graphs import WARM_UP_CALLS, Replayed
from physembed.engine.langevin import MOVING, LangevinBatch
from physembed.engine.mace import IsolatedMace
from physembed.errors import PhysEmbedError
from physembed.units import FS, KB
from tests.unit.capture import Capturable
from tests.unit.models_for_tests import random_mace

CPU = torch.device("cpu")
SETTINGS = {"temperature_K": 300.0, "timestep_fs": 0.5, "friction_per_ps": 10.0, "seed": 3}


def starts(count=6):
    rng = np.random.default_rng(5)
    frames = [molecule("CH3OH") for _ in range(count)]
    for frame in frames:
        frame.positions += rng.normal(0, 0.02, frame.positions.shape)
    return frames


@pytest.fixture
def mace():
    """MACE as on a GPU: no pair is left out."""
    model = IsolatedMace(random_mace(), CPU, torch.float64)
    model.prune = False
    return model


def seen(batch):
    return {name: getattr(batch, name) for name in ("positions", "forces", "energies", "temperatures")}


@pytest.mark.parametrize("bad", [
    lambda x: x.sum().item(), lambda x: x[x > 0], lambda x: x.nonzero(), lambda x: x + torch.tensor(2.0),
    lambda x: bool(x.any()), lambda x: torch.equal(x, x),
])  # fmt: skip
def test_what_a_graph_cannot_hold_is_found(bad):
    with pytest.raises(AssertionError, match="cannot hold"), Capturable():
        bad(torch.ones(3))


def test_a_graph_can_hold_the_step(mace):
    batch = LangevinBatch(mace, starts(), **SETTINGS, fixed_shapes=True)
    batch.keep(torch.tensor([True, False, True, True, True, True]))
    batch.advance(WARM_UP_CALLS)  # e3nn's compiled code is optimised at its first calls
    with Capturable():
        batch.advance(1)


def detector(device="cpu"):
    """Of methanol; a bond may deviate by 0.4 Å."""
    frame = molecule("CH3OH")
    bonds = pd.DataFrame({"i": [0, 0, 0, 0, 1], "j": [1, 2, 4, 5, 3]}).assign(type_i="x", type_j="y")
    lengths = np.array([frame.get_distance(i, j) for i, j in zip(bonds.i, bonds.j, strict=True)])
    return CollapseDetector(bonds, lengths, np.full((6, 6), 0.3), 0.4, 0.0, device)


def test_a_graph_can_hold_the_look_for_collapses(mace):
    watch = detector()
    batch = LangevinBatch(mace, starts(), **SETTINGS, detector=watch, fixed_shapes=True)
    batch.keep(torch.tensor([True, False, True, True, True, True]))
    address = batch._stopped_at.data_ptr()
    with Capturable():
        batch.look()
    assert batch._stopped_at.data_ptr() == address


def test_a_replica_that_has_collapsed_stops_as_it_is(mace):
    """Two of six break after five steps, one of them to NaN; neither changes from then on."""
    frames, watch = starts(), detector()
    batch = LangevinBatch(mace, frames, **SETTINGS, detector=watch, fixed_shapes=True)
    alone = LangevinBatch(mace, frames, **SETTINGS)
    for each in (batch, alone):
        each.advance(5)
    batch.look()
    assert batch.stopped_at.tolist() == 6 * [-1]
    positions = batch.state.positions.view(6, -1, 3)
    positions[1, 3] += 1.0
    positions[4] = torch.nan
    batch.look()
    assert batch.stopped_at.tolist() == [-1, 5, -1, -1, 5, -1]
    before = {name: values.clone() for name, values in seen(batch).items()}
    for each in (batch, alone):
        each.advance(5)
    batch.look()
    assert batch.stopped_at.tolist() == [-1, 5, -1, -1, 5, -1]
    moving = batch.stopped_at < 0
    for name, values in seen(batch).items():
        torch.testing.assert_close(values[~moving], before[name][~moving], rtol=0, atol=0, equal_nan=True)
        torch.testing.assert_close(values[moving], getattr(alone, name)[moving], rtol=1e-10, atol=1e-12)
    again = LangevinBatch(mace, frames, **SETTINGS, detector=watch)
    again.load(batch.save(), torch.ones(6, dtype=torch.bool))
    for each in (batch, again):
        each.advance(3)
    assert torch.equal(again.stopped_at, batch.stopped_at)
    for name, values in seen(again).items():
        torch.testing.assert_close(values, getattr(batch, name), rtol=1e-10, atol=1e-12, equal_nan=True)
    batch.keep(moving)
    assert batch.stopped_at.tolist() == 4 * [-1]


def test_a_step_works_on_the_same_tensors(mace):
    """A replayed graph knows nothing but addresses."""
    batch = LangevinBatch(mace, starts(), **SETTINGS, fixed_shapes=True)
    before = {name: (getattr(batch.state, name).data_ptr(), getattr(batch.state, name).clone()) for name in MOVING}
    batch.advance(2)
    batch.keep(torch.tensor([True, False, True, True, True, True]))
    batch.advance(2)
    for name, (address, values) in before.items():
        assert getattr(batch.state, name).data_ptr() == address
        assert not torch.equal(getattr(batch.state, name), values)


@pytest.mark.parametrize("fixed_shapes", [False, True])
def test_the_step_is_torch_sims(mace, fixed_shapes):
    """Bit for bit: the compiled one and that of tensors."""
    arguments = {"kT": torch.tensor(300 * KB, dtype=torch.float64), "dt": torch.tensor(0.5 * FS, dtype=torch.float64),
                 "gamma": torch.tensor(10 / (1000 * FS), dtype=torch.float64)}  # fmt: skip
    batch, other = (LangevinBatch(mace, starts(), **SETTINGS, fixed_shapes=fixed_shapes) for _ in range(2))
    state = other.state
    for _ in range(10):
        state = nvt_langevin_step(state, mace, **arguments)
    batch.advance(10)
    for name in MOVING:
        assert torch.equal(getattr(batch.state, name), getattr(state, name)), name


def test_pairs_beyond_the_cutoff_change_nothing(mace):
    pruned = LangevinBatch(IsolatedMace(random_mace(), CPU, torch.float64), starts(), **SETTINGS)
    whole = LangevinBatch(mace, starts(), **SETTINGS)
    for batch in (pruned, whole):
        batch.advance(20)
    for name, values in seen(pruned).items():
        torch.testing.assert_close(getattr(whole, name), values, rtol=1e-9, atol=1e-10)


def test_a_replica_that_leaves_stands_still_and_disturbs_nobody(mace):
    """Its place keeps its share of the noise, so the others move as if it were there."""
    mask = torch.tensor([True, False, True, True, False, True])
    all_there = LangevinBatch(mace, starts(), **SETTINGS)
    batch = LangevinBatch(mace, starts(), **SETTINGS, fixed_shapes=True)
    for each in (all_there, batch):
        each.advance(5)
    batch.state.positions.view(6, -1)[1] = torch.nan  # as of a replica that blew up
    before = {name: values.clone() for name, values in seen(batch).items()}
    batch.keep(mask)
    assert batch.n_replicas == 4 and batch.state.n_systems == 6
    for name, values in seen(batch).items():
        assert torch.equal(values, before[name][mask]), name
    stands = batch.state.positions.view(6, -1)[~mask].clone()
    assert torch.isfinite(stands).all()
    for each in (all_there, batch):
        each.advance(10)
    assert torch.equal(batch.state.positions.view(6, -1)[~mask], stands)
    for name, values in seen(batch).items():
        torch.testing.assert_close(values, getattr(all_there, name)[mask], rtol=1e-10, atol=1e-12)


def test_the_batch_is_made_anew_when_half_of_it_is_gone(mace):
    batch = LangevinBatch(mace, starts(), **SETTINGS, fixed_shapes=True)
    batch.advance(3)
    batch.keep(torch.tensor([True, False, True, True, False, True]))
    before = {name: values.clone() for name, values in seen(batch).items()}
    batch.keep(torch.tensor([False, True, True, True]))
    assert batch.n_replicas == batch.state.n_systems == 3
    for name, values in seen(batch).items():
        assert torch.equal(values, before[name][1:]), name
    batch.advance(3)
    batch.keep(torch.tensor([True, False, True]))  # the starts of these three have moved along
    torch.testing.assert_close(batch.state.positions.view(3, -1, 3)[1], torch.tensor(starts()[3].positions))


def test_a_saved_batch_with_empty_places_is_loaded_without_them(mace):
    batch = LangevinBatch(mace, starts(), **SETTINGS, fixed_shapes=True)
    mask = torch.tensor([True, False, True, True, True, True])
    batch.keep(mask)
    batch.advance(4)
    again = LangevinBatch(mace, starts(), **SETTINGS, fixed_shapes=True)
    again.load(batch.save(), mask)
    for name, values in seen(batch).items():
        assert torch.equal(getattr(again, name), values), name
    again.advance(1)
    assert not torch.equal(again.positions, batch.positions)


class Short(torch.nn.Module):
    """MACE with memory for so many atoms."""

    def __init__(self, module, atoms):
        super().__init__()
        self.module, self.atoms, self.asked = module, atoms, []
        self.r_max, self.atomic_numbers = module.r_max, module.atomic_numbers

    def forward(self, data, **options):
        self.asked.append(len(data["positions"]))
        if len(data["positions"]) > self.atoms:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return self.module(data, **options)


def test_out_of_memory_halves_what_is_evaluated_at_once(mace):
    short = IsolatedMace(Short(random_mace(), 12), CPU, torch.float64)
    whole, parts = (LangevinBatch(model, starts(), **SETTINGS) for model in (mace, short))
    assert short.systems_at_once == 2
    assert short.model.asked == [36, 18, 12, 12, 12]
    for batch in (whole, parts):
        batch.advance(5)
    for name, values in seen(whole).items():
        torch.testing.assert_close(getattr(parts, name), values, rtol=1e-10, atol=1e-12)


class Stand(Replayed):
    """Emulates captures on a CPU, if at most `holds` systems are evaluated at once; a graph calls the step."""

    holds, replays = 2, 0

    def _capture(self):
        for _ in range(WARM_UP_CALLS):
            self._step()
        if self._step.__self__.model.systems_at_once > self.holds:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return self

    def replay(self):
        Stand.replays += 1
        self._step()


def test_a_capture_out_of_memory_halves_what_is_evaluated_at_once(mace):
    batch, whole = (
        LangevinBatch(model, starts(), **SETTINGS) for model in (mace, IsolatedMace(mace.model, CPU, mace.dtype))
    )
    batch._advance = Stand(batch._step, True, [getattr(batch.state, name) for name in MOVING], batch.state.rng)
    for each in (batch, whole):
        each.advance(5)
    assert (mace.systems_at_once, Stand.replays) == (2, 5)
    for name, values in seen(whole).items():
        torch.testing.assert_close(getattr(batch, name), values, rtol=1e-10, atol=1e-12)


def test_a_capture_has_no_parts_made_in_it(mace, monkeypatch):
    """They would be copied from the host."""
    batch = LangevinBatch(mace, starts(), **SETTINGS)
    mace(batch.state)
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: True)
    monkeypatch.setattr(mace, "_device", torch.device("cuda"))
    mace.model = Short(mace.model, 12)
    with pytest.raises(torch.cuda.OutOfMemoryError):
        mace(batch.state)
    assert mace.systems_at_once == 6


def test_memory_for_less_than_one_molecule_ends_in_one_line():
    with pytest.raises(PhysEmbedError, match="too small for a single"):
        LangevinBatch(IsolatedMace(Short(random_mace(), 5), CPU, torch.float64), starts(), **SETTINGS)


@pytest.mark.parametrize(("free", "expected"), [(1 << 40, 100), (80_000, 40), (1000, 1), (10, 1)])
def test_systems_that_fit_into_free_memory(monkeypatch, free, expected):
    """Four systems of 1000 bytes each were measured; half of what is free is used."""
    for name, value in {
        "reset_peak_memory_stats": None, "memory_allocated": 500, "max_memory_allocated": 4500, "empty_cache": None,
        "mem_get_info": (free, 1 << 40),
    }.items():  # fmt: skip
        monkeypatch.setattr(torch.cuda, name, lambda *_, value=value: value)
    asked = []
    assert systems_that_fit(asked.append, 100, torch.device("cuda")) == expected
    assert asked == [4, 4]
    assert systems_that_fit(asked.append, 100, CPU) == 20
    assert systems_that_fit(asked.append, 7, CPU) == 7
    assert asked == [4, 4]
