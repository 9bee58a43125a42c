"""Cost of the CSO correction against the MACE step that it is added to, in one run.

MACE has the size of MACE-OFF23(S) (96 channels, max_L 0, r_max 4.5 Å, 2 layers, correlation 3) and untrained
weights; the box is a periodic liquid of H, C and O. Both are called as torch-sim models, neighbour lists
included: MACE for energy and forces, CSO for energy, forces and stress. Printed are the seconds of one call
(the median) and the ratio CSO / MACE, which should stay below 0.1.

    python benchmarks/cso.py --atoms 1000
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import ase
import numpy as np
import torch
import torch_sim
from mace.calculators.mace_torchsim import MaceTorchSimModel
from models import random_mace

from physembed.models.cso import CONVENTIONS, CSOModel, CSOParameters

ELEMENTS = [1, 6, 8]


def liquid(n_atoms: int, density: float, seed: int) -> ase.Atoms:
    """A cube of `density` atoms/Å^3 on a shaken grid, in the composition of a carbonate."""
    rng = np.random.default_rng(seed)
    length = (n_atoms / density) ** (1.0 / 3.0)
    per_edge = int(np.ceil(n_atoms ** (1.0 / 3.0)))
    grid = np.array(list(np.ndindex(per_edge, per_edge, per_edge)))[rng.permutation(per_edge**3)[:n_atoms]]
    positions = grid * (length / per_edge) + rng.normal(0.0, 0.2, (n_atoms, 3))
    return ase.Atoms(rng.choice(ELEMENTS, n_atoms, p=[0.5, 0.3, 0.2]), positions, cell=[length] * 3, pbc=True)


def seconds(call: Callable[[], object], repeats: int, device: torch.device) -> float:
    """Median time of a call after two that warm up."""
    times = []
    for k in range(repeats + 2):
        began = time.perf_counter()
        call()
        if device.type == "cuda":
            torch.cuda.synchronize()
        if k >= 2:
            times.append(time.perf_counter() - began)
    return statistics.median(times)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--atoms", type=int, nargs="+", default=[1000], help="sizes of the box (default: 1000)")
    parser.add_argument("--density", type=float, default=0.1, help="atoms per Å^3 (default: 0.1)")
    parser.add_argument("--repeats", type=int, default=5, help="calls timed of each model (default: 5)")
    parser.add_argument("--dtype", choices=["float32", "float64"], default="float32")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (default: 1)")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    device, dtype = torch.device(args.device), getattr(torch, args.dtype)

    module = random_mace(ELEMENTS, 96, r_max=4.5)
    mace = MaceTorchSimModel(module, device=device, dtype=dtype, compute_stress=False)
    print(f"{args.dtype}, {args.device}, {args.threads} thread(s), {args.density} atoms/Å^3")
    print(f"{'atoms':>6} {'MACE s':>9} {'convention':>11} {'cutoff Å':>9} {'CSO s':>9} {'CSO/MACE':>9}")
    for n_atoms in args.atoms:
        state = torch_sim.io.atoms_to_state([liquid(n_atoms, args.density, seed=0)], device, dtype)
        mace_s = seconds(lambda state=state: mace(state), args.repeats, device)
        for name in CONVENTIONS:
            cso = CSOModel(CSOParameters(a1=0.6, alpha=0.05), name, device=device, dtype=dtype)
            cso_s = seconds(lambda cso=cso, state=state: cso(state), args.repeats, device)
            print(
                f"{n_atoms:6d} {mace_s:9.3f} {name:>11} {cso.cutoffs.dispersion:9.1f} {cso_s:9.3f} "
                f"{cso_s / mace_s:9.3f}"
            )


if __name__ == "__main__":
    main()
