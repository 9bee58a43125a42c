"""The list with a skin against fresh neighbour lists of an independent package, while atoms and cells move."""

import numpy as np
import pytest
import torch
from matscipy.neighbours import neighbour_list

from physembed.pairs.neighbors import SkinList
from physembed.pairs.unique import unique_pairs

from .models_for_tests import box

CUTOFF = 4.0


def edges_of(system, positions, cell, pbc=(True, True, True), cutoff=CUTOFF):
    """The edges of one system as a set of (first, second, shift), from matscipy."""
    first, second, shift = neighbour_list("ijS", positions=positions, cell=cell, pbc=pbc, cutoff=cutoff)
    return {(system, i, j, *s) for i, j, s in zip(first.tolist(), second.tolist(), shift.tolist(), strict=True)}


class Systems:
    """Boxes whose atoms take random steps, and whose cells do, with the atoms, as under a barostat."""

    def __init__(self, boxes, seed=0):
        self.rng = np.random.default_rng(seed)
        self.positions = [np.array(atoms.positions) for atoms in boxes]
        self.cells = [np.array(atoms.cell) for atoms in boxes]

    def step(self, atoms_A, strain):
        for k, cell in enumerate(self.cells):
            motion = np.eye(3) + strain * self.rng.normal(size=(3, 3))
            self.cells[k] = cell @ motion
            self.positions[k] = self.positions[k] @ motion
            self.positions[k] = self.positions[k] + atoms_A * self.rng.normal(size=self.positions[k].shape)

    def wrapped(self):
        """The same systems with every atom in the unit cell."""
        other = Systems([])
        other.cells = self.cells
        other.positions = [
            positions - np.floor(positions @ np.linalg.inv(cell)) @ cell
            for positions, cell in zip(self.positions, self.cells, strict=True)
        ]
        return other

    def tensors(self, pbc=(True, True, True)):
        counts = [len(positions) for positions in self.positions]
        return (
            torch.tensor(np.concatenate(self.positions)),
            torch.tensor(np.array(self.cells)),
            torch.tensor(pbc),
            CUTOFF,
            torch.arange(len(counts)).repeat_interleave(torch.tensor(counts)),
        )

    def expected(self, pbc=(True, True, True)):
        systems = zip(self.positions, self.cells, strict=True)
        return set().union(*(edges_of(k, positions, cell, pbc) for k, (positions, cell) in enumerate(systems)))


def called(kept, positions, cell, pbc, cutoff, system_idx):
    """What a list gives: the pairs (2, n), the system of each, and its shift (n, 3) in lattice vectors."""
    first, second, vectors = kept.pairs(positions, cell, pbc, cutoff, system_idx)
    system, periodic = system_idx[first], bool(cell.any())
    images = (vectors - positions[second] + positions[first])[:, None]
    shifts = (images @ torch.linalg.inv(cell)[system])[:, 0] if periodic else images[:, 0]
    torch.testing.assert_close(shifts, shifts.round(), rtol=0, atol=1e-10)
    return torch.stack([first, second]), system, shifts.round()


def as_set(edges, system_idx):
    """The result of a list in the form of `edges_of`; a duplicate pair is an error."""
    pairs, system, shifts = edges
    start = torch.searchsorted(system_idx, torch.arange(int(system_idx.max()) + 1))
    assert torch.equal(system, system_idx[pairs[0]]) and torch.equal(system, system_idx[pairs[1]])
    assert torch.equal(shifts, shifts.round())
    rows = torch.cat([system[:, None], (pairs - start[system]).T, shifts.long()], dim=1).tolist()
    found = {tuple(row) for row in rows}
    assert len(found) == len(rows)
    return found


BATCHES = {
    "two sizes": [box(60, (9.5, 10.0, 11.0), 1), box(25, (8.5, 9.0, 8.0), 2)],
    "tilted": [box(40, (9.0, 8.0, 9.5), 3, skew=2.5)],
    "shorter than the cutoff": [box(9, (3.4, 4.4, 5.5), 4), box(4, (2.6, 3.7, 3.1), 5, skew=1.0)],
    "one atom": [box(1, (2.2, 3.0, 2.7), 6), box(1, (2.5, 2.5, 2.5), 7, skew=0.5)],
}


@pytest.mark.parametrize("wrapped", [False, True])
@pytest.mark.parametrize("boxes", BATCHES.values(), ids=BATCHES.keys())
def test_it_holds_the_pairs_of_a_fresh_list_at_every_step(boxes, wrapped):
    systems, kept = Systems(boxes), SkinList(skin_A=0.8)
    kept_half = SkinList(skin_A=0.8, half=True)
    for _ in range(60):
        systems.step(atoms_A=0.04, strain=0.002)
        seen = systems.wrapped() if wrapped else systems
        arguments = seen.tensors()
        edges = called(kept, *arguments)
        assert as_set(edges, arguments[-1]) == seen.expected()
        # Half of the list is one direction of each pair.
        half = called(kept_half, *arguments)
        assert len(half[0][0]) * 2 == len(edges[0][0])
        assert unique_pairs(half[0], half[2]).all()
        reverse = (half[0].flip(0), half[1], -half[2])
        both = as_set(half, arguments[-1]) | as_set(reverse, arguments[-1])
        assert both == seen.expected()
    # The steps add up to several times the skin, and yet the list is rebuilt in only a few of them.
    assert 2 <= kept.rebuilds <= 20
    assert kept_half.rebuilds == kept.rebuilds


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("boxes", BATCHES.values(), ids=BATCHES.keys())
def test_what_it_gives_does_not_depend_on_when_it_was_made(boxes, half):
    """Bit for bit, including the order: a run resumed without its list reproduces one that has it."""
    systems, kept = Systems(boxes, seed=3), SkinList(skin_A=0.8, half=half)
    for _ in range(60):
        systems.step(atoms_A=0.04, strain=0.002)
        fresh = SkinList(skin_A=0.8, half=half)
        arguments = systems.tensors()
        for ours, expected in zip(kept.pairs(*arguments), fresh.pairs(*arguments), strict=True):
            assert torch.equal(ours, expected)
    assert 2 <= kept.rebuilds <= 20


def test_atoms_that_only_follow_the_cell_cost_no_new_list():
    """At 2 % of strain every atom has moved further than half the skin, but none beyond the motion of the cell."""
    systems = Systems([box(60, (30.0, 9.0, 9.0), 1)])
    kept = SkinList(skin_A=0.5)
    called(kept, *systems.tensors())
    start = systems.positions[0]
    systems.positions, systems.cells = [start * 1.02], [systems.cells[0] * 1.02]
    assert np.median(np.linalg.norm(systems.positions[0] - start, axis=1)) > 0.25
    assert as_set(called(kept, *systems.tensors()), systems.tensors()[-1]) == systems.expected()
    assert kept.rebuilds == 1


def test_the_criterion_is_sharp():
    """Two atoms that approach each other along their line: the list is kept until the skin is used up, then rebuilt."""
    cell = np.diag([30.0, 30.0, 30.0])
    systems = Systems([])
    systems.cells = [cell]
    kept = SkinList(skin_A=1.0)
    for distance, rebuilds in ((5.01, 1), (4.03, 1), (3.99, 2)):
        shift = (5.01 - distance) / 2
        systems.positions = [np.array([[1.0 + shift, 1.0, 1.0], [6.01 - shift, 1.0, 1.0]])]
        assert as_set(called(kept, *systems.tensors()), systems.tensors()[-1]) == systems.expected()
        assert kept.rebuilds == rebuilds


def test_a_compressed_cell_brings_in_pairs():
    """Without motion beyond that of the cell; the cutoff reaches what was outside of the skin."""
    systems = Systems([box(50, (10.0, 10.0, 10.0), 8)])
    kept = SkinList(skin_A=0.5)
    before = as_set(called(kept, *systems.tensors()), systems.tensors()[-1])
    for scale in (0.95, 0.8):
        systems = Systems([box(50, (10.0, 10.0, 10.0), 8)])
        systems.positions, systems.cells = [systems.positions[0] * scale], [systems.cells[0] * scale]
        found = as_set(called(kept, *systems.tensors()), systems.tensors()[-1])
        assert found == systems.expected() and len(found) > len(before)
    # 5 % leave sigma (cutoff + skin) = 4.275 Å, 20 % only 3.6 Å.
    assert kept.rebuilds == 2


def test_other_systems_cost_a_new_list():
    kept = SkinList()
    for number, boxes in enumerate((BATCHES["two sizes"], BATCHES["two sizes"][::-1], BATCHES["tilted"]), start=1):
        systems = Systems(boxes)
        assert as_set(called(kept, *systems.tensors()), systems.tensors()[-1]) == systems.expected()
        assert kept.rebuilds == number
    positions, cell, pbc, _, system = Systems(BATCHES["tilted"]).tensors()
    edges = as_set(called(kept, positions, cell, pbc, 5.0, system), system)
    tilted = BATCHES["tilted"][0]
    assert edges == edges_of(0, tilted.positions, np.array(tilted.cell), cutoff=5.0)


@pytest.mark.parametrize("pbc", [(False, False, False), (True, True, False)])
def test_what_is_not_periodic_is_not_wrapped(pbc):
    systems, kept = Systems([box(40, (8.0, 9.0, 7.0), 9)]), SkinList(skin_A=0.8)
    for _ in range(20):
        systems.step(atoms_A=0.04, strain=0.001)
        assert as_set(called(kept, *systems.tensors(pbc)), systems.tensors()[-1]) == systems.expected(pbc)
    assert 2 <= kept.rebuilds <= 10
    if not any(pbc):
        positions, cell, *others = systems.tensors(pbc)
        # Such a system may come without a cell.
        assert as_set(called(kept, positions, torch.zeros_like(cell), *others), others[-1]) == systems.expected(pbc)


def test_a_dense_box_exceeds_no_bound():
    """The estimate of the underlying list, 0.2 atoms per Å^3, is too low here."""
    rng = np.random.default_rng(3)
    systems = Systems([])
    systems.positions, systems.cells = [rng.random((150, 3)) * 6.0], [np.eye(3) * 6.0]
    assert as_set(called(SkinList(), *systems.tensors()), systems.tensors()[-1]) == systems.expected()
