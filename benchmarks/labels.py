"""Labels on all cores against labels on one, in one run: frames per second of each, and the ratio."""

from __future__ import annotations

import argparse
import os
import tempfile
import time

import numpy as np
from ase import Atoms
from rdkit import Chem
from rdkit.Chem import AllChem

from physembed.config import Labels
from physembed.labels.labelling import label_frames

PARACETAMOL = "CC(=O)Nc1ccc(O)cc1"


def displaced(count: int) -> list[Atoms]:
    """Paracetamol with random displacements of 0.03 Å."""
    mol = Chem.AddHs(Chem.MolFromSmiles(PARACETAMOL))
    AllChem.EmbedMolecule(mol, randomSeed=1)
    AllChem.MMFFOptimizeMolecule(mol)
    numbers = [atom.GetAtomicNum() for atom in mol.GetAtoms()]
    positions = mol.GetConformer().GetPositions()
    rng = np.random.default_rng(1)
    return [Atoms(numbers, positions + rng.normal(0, 0.03, positions.shape)) for _ in range(count)]


def seconds(frames: list[Atoms], workers: int) -> float:
    """Wall time of labelling from nothing, start of the workers included."""
    with tempfile.TemporaryDirectory() as store:
        began = time.perf_counter()
        label_frames(frames, Labels(), charge=0, bonds=None, workers=workers, restart_dir=store)
        return time.perf_counter() - began


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=400, help="frames of paracetamol (default 400)")
    frames = displaced(parser.parse_args().frames)
    cores = len(os.sched_getaffinity(0))
    rates = {workers: len(frames) / seconds(frames, workers) for workers in (1, cores)}
    for workers, rate in rates.items():
        print(f"{workers} workers: {rate:.1f} frames/s")
    print(f"ratio: {rates[cores] / rates[1]:.2f} on {cores} cores")


if __name__ == "__main__":
    main()
