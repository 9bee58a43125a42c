"""The pressure of a liquid by its xTB reference at the measured density, without a model and without MD of its own.

Rigid molecules of GAFF frames are brought to the measured density, and the energy is differentiated by the volume.
With N molecules, p = N k T / V - <dE/dV>. A reference that binds the liquid too strongly pulls it together, p < 0, and
the correction needs a negative alpha; one that binds it too weakly needs a positive one. The structure is that of GAFF,
so only pressures well beyond a tenth of a GPa mean something.

    snakemake --cores all --configfile config/demo.yaml --until gaff_npt
    python benchmarks/reference_pressure.py results/demo/liquids/CS2_198K/gaff_npt/trajectory.xyz 198.15 1.4013
"""

from __future__ import annotations

import argparse

import ase.io
import numpy as np
from ase import Atoms

from physembed.config import Labels
from physembed.labels.xtb import calculate
from physembed.liquids.rigid import at_density, molecule_numbers, scale_rigid
from physembed.units import GPA, KB

METHODS = ("GFN1-xTB", "GFN2-xTB")
SCALES = (0.985, 1.015)
"""Box lengths, relative to the measured density, of the difference quotient."""


def pressure(frame: Atoms, temperature_K: float, settings: Labels) -> float:
    """Pressure of one frame in GPa."""
    scaled = [scale_rigid(frame, scale) for scale in SCALES]
    smaller, larger = (calculate(each, settings).energy_eV for each in scaled)
    slope = (larger - smaller) / (scaled[1].get_volume() - scaled[0].get_volume())
    molecules = int(molecule_numbers(frame).max()) + 1
    return float((molecules * KB * temperature_K / frame.get_volume() - slope) / GPA)


def main() -> None:
    """Print the pressure by each method."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("trajectory", help="frames of a GAFF run, of which the first third is left out")
    parser.add_argument("temperature", type=float, help="K")
    parser.add_argument("density", type=float, help="measured, g/cm^3")
    parser.add_argument("--frames", type=int, default=5)
    arguments = parser.parse_args()
    frames = ase.io.read(arguments.trajectory, ":")
    taken = np.linspace(len(frames) // 3, len(frames) - 1, arguments.frames).round().astype(int)
    at_measured = [at_density(frames[row], arguments.density) for row in taken]
    for method in METHODS:
        settings = Labels(method=method)
        values = [pressure(frame, arguments.temperature, settings) for frame in at_measured]
        error = np.std(values, ddof=1) / np.sqrt(len(values))
        print(f"{method}: {np.mean(values):.2f} +- {error:.2f} GPa ({len(values)} frames)")


if __name__ == "__main__":
    main()
