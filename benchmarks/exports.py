"""One model in every engine that is installed: time of a step, all in one process and in turns.

The system is a small cube of liquid EMC at constant energy, the model an untrained MACE of two layers with the CSO
correction. Each engine gets the same model; its first steps (lists, compilation) are not counted. The time is user and
system time of the process. `calculator` is MACE's own calculator and `CSOCalculator` in ASE, as MACE is run without us.

    python benchmarks/exports.py --molecules 20 --channels 16
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

import torch
from ase import units
from ase.md.verlet import VelocityVerlet
from models import liquid, random_mace

from physembed.cso import Cutoffs
from physembed.export.conditions import Conditions
from physembed.export.engines import ENGINES, installed, open_session, with_momenta
from physembed.export.potential import Potential
from physembed.models.loading import reference_calculator
from physembed.models.members import CORRECTED, load_members


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--molecules", type=int, default=20, help="of EMC, 15 atoms each (default: 20)")
    parser.add_argument("--channels", type=int, default=16, help="of MACE (default: 16)")
    parser.add_argument("--steps", type=int, default=20, help="in a turn (default: 20)")
    parser.add_argument("--turns", type=int, default=5, help="of each engine (default: 5)")
    parser.add_argument("--dtype", choices=("float64", "float32"), default="float64", help="default: float64")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    atoms, conditions = liquid(arguments.molecules), Conditions("nve", 300.0, timestep_fs=0.5)
    start = with_momenta(atoms, conditions)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "corrected_model.pt"
        mace = random_mace((1, 6, 8), arguments.channels)
        correction = {"format": CORRECTED, "convention": "d3", "alpha": 1.0, "a1": 0.8, "cutoffs": asdict(Cutoffs())}
        torch.save(correction | {"mace": mace}, file)
        # One for each: engines in turns would make the lists of pairs of one another anew.
        ways = {
            engine: open_session(
                engine, Potential.of(file, start, device="cpu", dtype=arguments.dtype), start, conditions
            )
            for engine in ENGINES
            if installed(engine)
        }
        start.calc = reference_calculator(load_members(file))
    slow = VelocityVerlet(start, conditions.timestep_fs * units.fs)
    advance = {engine: session.advance for engine, session in ways.items()} | {"calculator": slow.run}
    spent = dict.fromkeys(advance, 0.0)
    for turn in range(arguments.turns + 1):
        for name, take in advance.items():
            steps = arguments.steps if name != "calculator" else max(1, arguments.steps // 20)
            began = time.process_time()
            take(steps)
            if turn:
                spent[name] += (time.process_time() - began) / steps / arguments.turns
    print(f"{len(atoms)} atoms, {arguments.channels} channels, {arguments.dtype}, one thread; ms a step, and over ours")
    for name, seconds in spent.items():
        print(f"{name:10s} {1000 * seconds:9.2f} {seconds / spent['torch-sim']:7.2f}", flush=True)


if __name__ == "__main__":
    main()
