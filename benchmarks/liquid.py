"""Energy, forces and stress of a liquid: kept lists of pairs against stock torch-sim, and the share of CSO, in one run.

A box of ethyl methyl carbonate (EMC) at its density flies freely at 300 K, a femtosecond from one evaluation to the
next, while the cell swells by 1e-5 a step. Free flight uses up the skin of a list faster than a liquid does, whose
atoms turn around. In each step all models are called in turn, so that a load of the machine hits all alike:
MACE with torch-sim's list and with `SkinList`, `CSOModel` with torch-sim's list and the `ListedCSO` of `LiquidModel`.
MACE has random weights: once in the size of MACE-OFF23(S), once small. Times are means, on a CPU of the process's own
time on one thread, which other processes disturb least.

    python benchmarks/liquid.py --molecules 67
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
import torch
import torch_sim
from ase import Atoms
from ase.md.velocitydistribution import thermalize_momenta
from mace import modules  # before e3nn: it sets how torch may load e3nn's constants
from mace.calculators.mace_torchsim import MaceTorchSimModel
from scipy.spatial.transform import Rotation

from physembed.models.cso import CSOModel, CSOParameters
from physembed.models.liquid import corrected
from physembed.molecules.structure import from_smiles
from physembed.units import FS

from e3nn import o3  # isort: skip

EMC, DENSITY_G_CM3, U_G_CM3 = "CCOC(=O)OC", 1.006, 1.66053907
ELEMENTS = [1, 6, 8]
SIZES = {"96 channels, r_max 4.5 Å": (96, 3, 4.5), "16 channels, r_max 5 Å": (16, 2, 5.0)}
"""Channels, max_ell and r_max; the first is the size of MACE-OFF23(S)."""


def liquid(molecules: int, seed: int = 0) -> Atoms:
    """A cube of EMC molecules on a grid, each turned at random. They overlap a little, which costs no time."""
    mol = from_smiles(EMC, seed=1)
    molecule = Atoms([atom.GetAtomicNum() for atom in mol.GetAtoms()], mol.GetConformer().GetPositions())
    molecule.positions -= molecule.get_center_of_mass()
    volume = molecules * molecule.get_masses().sum() * U_G_CM3 / DENSITY_G_CM3
    length, per_edge = volume ** (1 / 3), int(np.ceil(molecules ** (1 / 3)))
    rng = np.random.default_rng(seed)
    sites = rng.permutation(np.array(list(np.ndindex(per_edge, per_edge, per_edge))))[:molecules] * length / per_edge
    positions = [site + Rotation.random(rng=rng).apply(molecule.positions) for site in sites]
    return Atoms(np.tile(molecule.numbers, molecules), np.concatenate(positions), cell=[length] * 3, pbc=True)


def random_mace(channels: int, max_ell: int, r_max: float) -> torch.nn.Module:
    """Two layers, correlation 3, scalar messages, in the default precision."""
    torch.manual_seed(0)
    return modules.ScaleShiftMACE(
        r_max=r_max,
        num_bessel=8,
        num_polynomial_cutoff=5,
        max_ell=max_ell,
        interaction_cls=modules.interaction_classes["RealAgnosticResidualInteractionBlock"],
        interaction_cls_first=modules.interaction_classes["RealAgnosticInteractionBlock"],
        num_interactions=2,
        num_elements=len(ELEMENTS),
        hidden_irreps=o3.Irreps(f"{channels}x0e"),
        MLP_irreps=o3.Irreps("16x0e"),
        atomic_energies=np.zeros(len(ELEMENTS)),
        avg_num_neighbors=38.0,
        atomic_numbers=ELEMENTS,
        correlation=3,
        gate=torch.nn.functional.silu,
        atomic_inter_scale=1.0,
        atomic_inter_shift=0.0,
    )


def mean_times(
    calls: dict[str, Callable[[], object]], move: Callable[[], None], steps: int, device: str
) -> dict[str, float]:
    """Mean time of each call in ms, after two steps that warm up."""
    clock = time.process_time if device == "cpu" else time.perf_counter
    spent = dict.fromkeys(calls, 0.0)
    for step in range(steps + 2):
        for name, call in calls.items():
            began = clock()
            call()
            if device == "cuda":
                torch.cuda.synchronize()
            if step >= 2:
                spent[name] += 1000 * (clock() - began) / steps
        move()
    return spent


def measure(size: str, molecules: int, dtype: str, device: str, convention: str, steps: int) -> None:
    """Measure and print one size of MACE."""
    torch.set_default_dtype(getattr(torch, dtype))
    module, parameters = random_mace(*SIZES[size]), CSOParameters(alpha=0.05, a1=0.6)
    ours = corrected(module, device, dtype, convention=convention, alpha=0.05, a1=0.6)
    stock = MaceTorchSimModel(module, device=ours.device, dtype=ours.dtype, enable_cueq=device == "cuda")
    stock_cso = CSOModel(parameters, convention, device=ours.device, dtype=ours.dtype)
    atoms = liquid(molecules)
    thermalize_momenta(atoms, temperature_K=300.0, rng=np.random.default_rng(1))
    state = torch_sim.io.atoms_to_state([atoms], ours.device, ours.dtype)
    velocities = torch.tensor(atoms.get_velocities(), device=ours.device, dtype=ours.dtype)

    def move() -> None:
        state.positions = (state.positions + FS * velocities) * (1 + 1e-5)
        state.cell = state.cell * (1 + 1e-5)

    models = {
        "MACE, torch-sim's list": stock,
        "MACE, SkinList": ours.base,
        "CSO, torch-sim's list": stock_cso,
        "CSO, kept list": ours.cso,
    }
    times = mean_times({name: lambda model=model: model(state) for name, model in models.items()}, move, steps, device)
    mace = times["MACE, SkinList"]
    print(f"\n{size}: {len(atoms)} atoms, {dtype}, {device}, CSO {convention}, {steps} steps")
    for name, value in times.items():
        print(f"{name:24s} {value:9.1f} ms, ratio to MACE, SkinList {value / mace:6.3f}")
    before = times["MACE, torch-sim's list"] + times["CSO, torch-sim's list"]
    print(f"both, torch-sim's list / both, kept lists {before / (mace + times['CSO, kept list']):.3f}")
    print(f"lists made: MACE {ours.base.neighbor_list_fn.rebuilds}, CSO {ours.cso.list.rebuilds}")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--molecules", type=int, default=67, help="molecules of EMC, of 15 atoms (default: 67)")
    parser.add_argument("--steps", type=int, default=15, help="steps that are timed (default: 15)")
    parser.add_argument("--dtype", choices=["float32", "float64"], default="float32")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--convention", choices=["d3", "d2"], default="d3")
    args = parser.parse_args()
    torch.set_num_threads(1)
    for size in SIZES:
        measure(size, args.molecules, args.dtype, args.device, args.convention, args.steps)


if __name__ == "__main__":
    main()
