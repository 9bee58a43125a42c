"""Reference for the connectivity of frames: the molecule relaxed with the label method.

Wiberg bond orders of non-bonded atoms can be large: 0.4 between the oxygens of CO2 or of a nitro group, 0.66
between the outer nitrogens of an azide. So no single threshold distinguishes bonds in all molecules, and a frame is
judged by how its bond orders differ from those of the relaxed molecule.

The relaxed molecule also shows where the force field that generated the frames deviates strongly from the label method.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar

import networkx  # type: ignore[import-untyped]
import numpy as np
import pandas as pd
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from ase.optimize import BFGS
from numpy.typing import NDArray

from physembed.config import Labels
from physembed.config.base import keeping_runs
from physembed.errors import PhysEmbedError
from physembed.labels.worker import load_label, save_label
from physembed.labels.xtb import Label, calculate
from physembed.provenance import code_hash, settings_hash

log = logging.getLogger(__name__)

Bonds = frozenset[tuple[int, int]]
"""Pairs of 0-based atom indices, i < j."""

RELAXATION_STEPS = 200
RELAXED_EV_A = 0.05
"""Largest force of a relaxed molecule. Bond orders converge long before."""
STARTS = 3
"""Number of frames tried as the start of a relaxation."""
FAR_BOND_A, FAR_ANGLE_DEGREES, FAR_FORCE_EV_A = 0.1, 15.0, 2.5
"""Thresholds of the warning. 30 of 36 molecules with GAFF at 300 K stay below 0.08 Å, 12 degrees and 2.1 eV/Å."""


@dataclass(frozen=True)
class Connectivity:
    """The bonds that frames must have, and the bond orders of the relaxed molecules."""

    bonds: Bonds
    """Bonds of the topology."""
    orders: NDArray[np.float64]
    """(n_atoms, n_atoms) Wiberg bond orders of the relaxed molecules, 0 between different molecules."""

    def after(self, orders: NDArray[np.float64], threshold: float) -> Bonds:
        """The bonded pairs of a frame.

        A bond is broken when its order falls below `threshold`, or below half of its relaxed order if that is less.
        Another pair is bonded when its order exceeds that of the relaxed molecule by `threshold`.

        Args:
            orders: (n_atoms, n_atoms) Wiberg bond orders of the frame.
            threshold: `labels.bond_order_threshold`.
        """
        limit = self.orders + threshold
        for i, j in self.bonds:
            limit[i, j] = min(threshold, self.orders[i, j] / 2)
        return bonded(orders, limit)

    def change(self, orders: NDArray[np.float64], after: Bonds) -> str:
        """The difference from the topology with bond orders, for a message; empty if there is none."""
        return _difference(
            self.bonds, after, lambda i, j: f"{i}-{j} (bond order {orders[i, j]:.2f}, relaxed {self.orders[i, j]:.2f})"
        )


def bonded(orders: NDArray[np.float64], limit: float | NDArray[np.float64]) -> Bonds:
    """Pairs whose Wiberg bond order, `orders`: (n_atoms, n_atoms), is at least `limit`."""
    return frozenset(zip(*(axis.tolist() for axis in np.nonzero(np.triu(orders >= limit, 1))), strict=True))


def connectivity_changes(before: Bonds, after: Bonds) -> str:
    """The difference as text, empty if there is none."""
    return _difference(before, after, lambda i, j: f"{i}-{j}")


def _difference(before: Bonds, after: Bonds, name: Any) -> str:
    parts = [
        f"{word} {', '.join(name(i, j) for i, j in sorted(pairs))}"
        for word, pairs in (("lost", before - after), ("gained", after - before))
        if pairs
    ]
    return "; ".join(parts)


def bond_pairs(bonds: pd.DataFrame, count: int) -> Bonds:
    """Bonds of a topology (columns i, j; 0-based) as pairs.

    Raises:
        PhysEmbedError: an atom index that a frame of `count` atoms does not have.
    """
    pairs = frozenset((min(i, j), max(i, j)) for i, j in bonds[["i", "j"]].to_numpy(dtype=int).tolist())
    outside = sorted(pair for pair in pairs if pair[0] < 0 or pair[1] >= count or pair[0] == pair[1])
    if outside:
        raise PhysEmbedError(
            f"labels: bond {outside[0][0]}-{outside[0][1]} does not fit frames of {count} atoms; "
            "give the bond table of the same molecule, with 0-based atom indices"
        )
    return pairs


def modified(frame: Atoms) -> bool:
    """Whether sampling has modified a frame."""
    return str(frame.info.get("modifications", "[]")) != "[]"


@dataclass(frozen=True)
class _Kind:
    """A kind of molecule: molecules with the same atoms and bonds."""

    bonds: Bonds
    """Its bonds, with atom indices within the molecule."""
    members: list[list[int]]
    """Atoms of each molecule of this kind."""


@dataclass(frozen=True)
class Relaxed:
    """A kind of molecule and its relaxed geometry."""

    kind: _Kind
    atoms: Atoms
    """One molecule in vacuum with its `charge` and relaxed positions in Å."""
    orders: NDArray[np.float64]
    """(n_atoms, n_atoms) Wiberg bond orders."""


def relaxed_molecules(
    frames: Sequence[Atoms],
    bonds: Bonds,
    settings: Labels,
    *,
    charge: int = 0,
    multiplicity: int | None = None,
    store: str | Path | None = None,
) -> list[Relaxed]:
    """The kinds of molecules in frames, each relaxed in vacuum with the label method.

    A relaxation starts from a molecule of an unmodified frame if there is one. It must keep the bonds of the
    topology; if it does not from any of a few frames, the molecule is used unrelaxed, from the first of these frames
    in which its bonds are intact, and a warning reports this.

    Args:
        frames: frames with the same atoms.
        bonds: the topology's bonds.
        settings: method and SCF.
        charge: total charge in e; 0 for several molecules.
        multiplicity: 2 S + 1, or None for the lowest; not for several molecules.
        store: folder that stores the results.

    Raises:
        PhysEmbedError: a molecule does not have these bonds with this method, or several molecules are given with a
            charge or multiplicity.
    """
    usable = [frame for frame in frames if np.isfinite(frame.positions).all() and np.isfinite(frame.cell.array).all()]
    starts = sorted(usable, key=modified)[:STARTS]
    if not starts:
        return []
    kinds = _kinds(starts[0].numbers, bonds)
    if sum(len(kind.members) for kind in kinds) > 1 and (charge or multiplicity not in (None, 1)):
        raise PhysEmbedError(
            f"labels: several molecules with charge {charge} and multiplicity {multiplicity}: it is not known which "
            "molecule has them; label neutral singlets, or one molecule at a time"
        )
    return [
        _relax(kind, starts, settings, charge, multiplicity, None if store is None else Path(store)) for kind in kinds
    ]


def connectivity(bonds: Bonds, molecules: Sequence[Relaxed], count: int) -> Connectivity:
    """The bonds and bond orders by which frames of `count` atoms are judged."""
    orders = np.zeros((count, count))
    for molecule in molecules:
        for member in molecule.kind.members:
            orders[np.ix_(member, member)] = molecule.orders
    return Connectivity(bonds, orders)


def _kinds(numbers: NDArray[np.int64], bonds: Bonds) -> list[_Kind]:
    graph = networkx.Graph(sorted(bonds))
    kinds: dict[Any, _Kind] = {}
    for component in networkx.connected_components(graph):
        member = sorted(component)
        place = {atom: index for index, atom in enumerate(member)}
        own = frozenset((place[i], place[j]) for i, j in graph.subgraph(component).edges for i, j in [sorted((i, j))])
        kinds.setdefault((tuple(numbers[member].tolist()), own), _Kind(own, [])).members.append(member)
    return list(kinds.values())


def _molecule(frame: Atoms, member: Sequence[int], bonds: Bonds) -> Atoms:
    """A molecule of a frame in vacuum, made whole if it crosses the boundary of the box."""
    positions = frame.positions[list(member)].copy()
    if frame.pbc.any():
        for first, second in networkx.bfs_edges(networkx.Graph(sorted(bonds)), 0):
            step = frame.cell.scaled_positions((positions[second] - positions[first])[None])[0]
            positions[second] -= np.where(frame.pbc, np.round(step), 0) @ frame.cell.array
    return Atoms(frame.numbers[list(member)], positions)


class _Method(Calculator):
    """The label method for ASE's optimiser."""

    implemented_properties: ClassVar[list[str]] = ["energy", "forces"]

    def __init__(self, settings: Labels, charge: int, multiplicity: int | None) -> None:
        super().__init__()
        self.of = settings, charge, multiplicity
        self.last: tuple[NDArray[np.float64], Label] | None = None
        """Positions and label of the last geometry."""

    def calculate(self, atoms: Any = None, properties: Any = None, system_changes: Any = all_changes) -> None:
        super().calculate(atoms, properties, system_changes)
        label = calculate(atoms, *self.of)
        self.last = atoms.positions.copy(), label
        self.results = {"energy": label.energy_eV, "forces": label.forces_eV_A}


def _relax(
    kind: _Kind, starts: Sequence[Atoms], settings: Labels, charge: int, multiplicity: int | None, store: Path | None
) -> Relaxed:
    threshold = settings.bond_order_threshold
    changed = ""
    intact: Relaxed | None = None
    closest = "its SCF does not converge"
    for frame in starts:
        start = _molecule(frame, kind.members[0], kind.bonds)
        atoms, label = _relaxed(start, settings, charge, multiplicity, store)
        after = bonded(label.bond_orders, threshold)
        if kind.bonds <= after:
            return Relaxed(kind, atoms, label.bond_orders)
        if label.converged:
            changed = changed or connectivity_changes(kind.bonds, after - _neighbours_of_neighbours(kind.bonds))
        own = calculate(start, settings, charge, multiplicity)
        lost = kind.bonds - bonded(own.bond_orders, threshold)
        if not lost:
            intact = intact or Relaxed(kind, start, own.bond_orders)
        elif own.converged:
            i, j = min(lost)
            closest = (
                f"atoms {i} and {j}, bonded in the topology, have a bond order of {own.bond_orders[i, j]:.2f} in it, "
                f"{start.get_distance(i, j):.2f} Å apart"
            )
    name = starts[0].symbols[kind.members[0]].get_chemical_formula()
    if intact is None:
        raise PhysEmbedError(
            f"labels: {name}: {settings.method} does not have the bonds of the topology in any of the first "
            f"{len(starts)} frames: {closest}; check the topology, the charge and the frames"
        )
    log.warning(
        "%s is not stable in %s: relaxed it has %s; frames are compared with the first one instead",
        name, settings.method, changed or "no converged SCF",
    )  # fmt: skip
    return intact


def _neighbours_of_neighbours(bonds: Bonds) -> Bonds:
    graph = networkx.Graph(sorted(bonds))
    return frozenset(
        (i, j) for middle in graph for i in graph[middle] for j in graph[middle] if i < j and not graph.has_edge(i, j)
    )


def _relaxed(
    start: Atoms, settings: Labels, charge: int, multiplicity: int | None, store: Path | None
) -> tuple[Atoms, Label]:
    """A molecule, relaxed as far as possible, and its label; from the store if available."""
    about = {
        "settings": settings.model_dump(exclude=keeping_runs(Labels)),
        "charge": charge,
        "multiplicity": multiplicity,
        "numbers": start.numbers.tolist(),
        "positions": start.positions.tolist(),
        "tblite": version("tblite"),
        "code": code_hash(__file__),
    }
    digest = settings_hash(about)
    path = store and store / f"relaxed-{digest}.npz"
    atoms = start.copy()
    if path and (label := load_label(path)):
        with np.load(path) as record:
            atoms.positions = record["positions"]
        return atoms, label
    atoms.calc = method = _Method(settings, charge, multiplicity)
    try:
        BFGS(atoms, logfile=None).run(fmax=RELAXED_EV_A, steps=RELAXATION_STEPS)
    except (PhysEmbedError, np.linalg.LinAlgError, ValueError) as error:  # coinciding atoms, an SCF that diverges
        if method.last is None:
            raise
        log.info("%s: relaxation ended early: %s", start.get_chemical_formula(), error)
    assert method.last is not None
    atoms.calc, (atoms.positions, label) = None, method.last
    if path:
        save_label(path, label, positions=atoms.positions)
    return atoms, label


def warn_if_far(frames: Sequence[Atoms], labels: Sequence[Label], molecules: Sequence[Relaxed], method: str) -> None:
    """Warn if geometry or forces of unmodified frames show that their force field deviates strongly from the labels.

    Args:
        frames: frames, of which only unmodified ones are used.
        labels: their labels.
        molecules: the kinds of molecules in them.
        method: name of the label method.
    """
    chosen = [
        (frame, label) for frame, label in zip(frames, labels, strict=True) if label.converged and not modified(frame)
    ]
    if not chosen:
        return
    found = [part for molecule in molecules for part in _far_geometry([frame for frame, _ in chosen], molecule)]
    force = float(np.sqrt(np.mean([label.forces_eV_A**2 for _, label in chosen])))
    if force > FAR_FORCE_EV_A:
        found.append(f"root mean square force component {force:.1f} eV/Å (about 1 is usual at 300 K)")
    if found:
        log.warning(
            "the force field of the %d unmodified frames is far from %s: %s; compare with the literature, and "
            "give your own topology if the force field is wrong",
            len(chosen), method, "; ".join(found),
        )  # fmt: skip


def _far_geometry(frames: Sequence[Atoms], molecule: Relaxed) -> list[str]:
    """The bond and angle whose means over frames deviate most from the relaxed molecule, if beyond the thresholds."""
    kind, name = molecule.kind, molecule.atoms.get_chemical_formula()
    positions = np.array(
        [_molecule(frame, member, kind.bonds).positions for frame in frames for member in kind.members]
    )
    found = []
    graph = networkx.Graph(sorted(kind.bonds))
    angles = [(i, j, k) for j in graph for i in graph[j] for k in graph[j] if i < k]
    for unit, limit, groups, measure in (
        ("Å", FAR_BOND_A, sorted(kind.bonds), _lengths),
        ("degrees", FAR_ANGLE_DEGREES, angles, _angles),
    ):
        if not groups:
            continue
        atoms = np.array(groups)
        mean, relaxed = measure(positions, atoms).mean(axis=0), measure(molecule.atoms.positions[None], atoms)[0]
        worst = int(np.abs(mean - relaxed).argmax())
        if abs(mean[worst] - relaxed[worst]) > limit:
            symbols = "-".join(f"{molecule.atoms.symbols[atom]}{atom}" for atom in groups[worst])
            found.append(f"{name}: {symbols} is {mean[worst]:.4g} {unit} on average, relaxed {relaxed[worst]:.4g}")
    return found


def _lengths(positions: NDArray[np.float64], pairs: NDArray[np.int64]) -> NDArray[np.float64]:
    lengths: NDArray[np.float64] = np.linalg.norm(positions[:, pairs[:, 1]] - positions[:, pairs[:, 0]], axis=2)
    return lengths


def _angles(positions: NDArray[np.float64], triples: NDArray[np.int64]) -> NDArray[np.float64]:
    """(n_frames, n_angles) degrees, with the apex in the middle."""
    first = positions[:, triples[:, 0]] - positions[:, triples[:, 1]]
    second = positions[:, triples[:, 2]] - positions[:, triples[:, 1]]
    cosines = (first * second).sum(axis=2) / np.linalg.norm(first, axis=2) / np.linalg.norm(second, axis=2)
    angles: NDArray[np.float64] = np.degrees(np.arccos(np.clip(cosines, -1, 1)))
    return angles
