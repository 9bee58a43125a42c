"""Untrained MACE models and the systems they are timed on. Speed does not depend on the weights."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from ase import Atoms
from ase.neighborlist import natural_cutoffs, neighbor_list
from mace import modules  # before e3nn: it sets how torch may load e3nn's constants
from scipy.spatial.transform import Rotation

from physembed.collapse.detector import CollapseDetector
from physembed.molecules.structure import from_smiles
from physembed.units import G_CM3

from e3nn import o3  # isort: skip

PARACETAMOL, EMC, DENSITY_G_CM3 = "CC(=O)Nc1ccc(O)cc1", "CCOC(=O)OC", 1.006


def random_mace(
    elements: Sequence[int], channels: int, *, max_L: int = 0, max_ell: int = 3, r_max: float = 5.0
) -> torch.nn.Module:
    """Two layers, correlation 3, random weights, in float32. Its forces are so small that they move nothing."""
    torch.manual_seed(1)
    return modules.ScaleShiftMACE(
        r_max=r_max,
        num_bessel=8,
        num_polynomial_cutoff=5,
        max_ell=max_ell,
        interaction_cls=modules.interaction_classes["RealAgnosticResidualInteractionBlock"],
        interaction_cls_first=modules.interaction_classes["RealAgnosticResidualInteractionBlock"],
        num_interactions=2,
        num_elements=len(elements),
        hidden_irreps=o3.Irreps(" + ".join(f"{channels}x{order}{'eo'[order % 2]}" for order in range(max_L + 1))),
        MLP_irreps=o3.Irreps("16x0e"),
        atomic_energies=np.zeros(len(elements)),
        avg_num_neighbors=30.0,
        atomic_numbers=list(elements),
        correlation=3,
        gate=torch.nn.functional.silu,
        atomic_inter_scale=1e-6,
        atomic_inter_shift=0.0,
    ).float()


def conformer(smiles: str) -> Atoms:
    """A molecule with its centre of mass at the origin."""
    mol = from_smiles(smiles, seed=1)
    atoms = Atoms([atom.GetAtomicNum() for atom in mol.GetAtoms()], mol.GetConformer().GetPositions())
    atoms.positions -= atoms.get_center_of_mass()
    return atoms


def replicas(count: int) -> list[Atoms]:
    """Paracetamol, each with random displacements of 0.03 Å."""
    rng, atoms = np.random.default_rng(1), conformer(PARACETAMOL)
    return [Atoms(atoms.numbers, atoms.positions + rng.normal(0, 0.03, atoms.positions.shape)) for _ in range(count)]


def detector(start: Atoms) -> CollapseDetector:
    """Collapses of a molecule whose bonds are those of a structure."""
    i, j, lengths = neighbor_list("ijd", start, natural_cutoffs(start, mult=1.2))
    once = i < j
    bonds = pd.DataFrame({"i": i[once], "j": j[once], "type_i": "x", "type_j": "x"})
    return CollapseDetector(bonds, lengths[once], np.full((len(start), len(start)), 0.6), 0.5, 0.0)


def liquid(molecules: int) -> Atoms:
    """A cube of ethyl methyl carbonate (EMC) at its density: molecules on a grid, each turned at random. They overlap
    a little, which costs no time."""
    molecule = conformer(EMC)
    volume = molecules * molecule.get_masses().sum() / DENSITY_G_CM3 / G_CM3
    length, per_edge = volume ** (1 / 3), int(np.ceil(molecules ** (1 / 3)))
    rng = np.random.default_rng(0)
    sites = rng.permutation(np.array(list(np.ndindex(per_edge, per_edge, per_edge))))[:molecules] * length / per_edge
    positions = [site + Rotation.random(rng=rng).apply(molecule.positions) for site in sites]
    return Atoms(np.tile(molecule.numbers, molecules), np.concatenate(positions), cell=[length] * 3, pbc=True)
