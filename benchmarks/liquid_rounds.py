"""Errors of a liquid's models on reference frames and on frames of their own MD, before and after rounds.

    snakemake --cores all --configfile config/demo.yaml --until liquid_training
    python benchmarks/liquid_rounds.py results/demo/models/small

For each training, on each set of labels: error of the energy per molecule (mean and root mean square), of the force
components and of the pressure. Frames that a model was trained on are among them; those of the round after it are not.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import ase.io
import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator

from physembed.liquids.rigid import molecule_numbers
from physembed.models.loading import load_ase
from physembed.units import GPA


def errors(frame: Atoms, calculator: Calculator) -> tuple[float, float, float]:
    """Errors of the energy in meV per molecule, of forces (RMS) in meV/Å, and of the pressure in GPa."""
    molecules = int(molecule_numbers(frame).max()) + 1
    moved = frame.copy()
    moved.calc = calculator
    energy = 1000 * (moved.get_potential_energy() - frame.info["REF_energy"]) / molecules
    forces = 1000 * float(np.sqrt(np.mean((moved.get_forces() - frame.arrays["REF_forces"]) ** 2)))
    return energy, forces, -float(np.mean((moved.get_stress() - frame.info["REF_stress"])[:3])) / GPA


def main() -> None:
    """Print the errors."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="folder of a model in the results of a study")
    folder = parser.parse_args().model
    print(f"{'training':14s} {'labels':14s} {'meV/molecule: mean, rms':>24s} {'meV/Å':>8s} {'GPa: mean, rms':>16s}")
    for training in sorted(folder.glob("training*"), key=lambda path: (path.name == "training", path.name)):
        calculator = load_ase(training / "mace.model", device="cpu", dtype="float64")
        for labels in sorted((folder / "labels").glob("*.xyz")):
            energy, forces, pressure = np.array([errors(frame, calculator) for frame in ase.io.read(labels, ":")]).T
            rms = [float(np.sqrt(np.mean(values**2))) for values in (energy, forces, pressure)]
            print(
                f"{training.name:14s} {labels.stem:14s} {energy.mean():13.1f} {rms[0]:10.1f} {rms[1]:8.0f} "
                f"{pressure.mean():8.3f} {rms[2]:7.3f}"
            )


if __name__ == "__main__":
    main()
