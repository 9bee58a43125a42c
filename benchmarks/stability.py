"""Stability runs in a batch against the same replicas one after the other, in one run: ms per step and replica.

Three ways to take the same Langevin steps with the same model: ASE with MACE's calculator, one replica after the
other; torch-sim with MACE's torch-sim model as it comes, which searches neighbours in every step; and PhysEmbed's
`LangevinBatch` with the pair list of `load_isolated`. The model is a small MACE with random weights.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from ase import Atoms, units
from ase.md.langevin import Langevin
from ase.md.velocitydistribution import thermalize_momenta
from mace import modules
from mace.calculators import MACECalculator
from mace.calculators.mace_torchsim import MaceTorchSimModel
from rdkit import Chem

from physembed.md.langevin import LangevinBatch
from physembed.models.mace import load_isolated
from physembed.molecules.structure import from_smiles

PARACETAMOL = "CC(=O)Nc1ccc(O)cc1"
TEMPERATURE_K, TIMESTEP_FS, FRICTION_PER_PS = 300.0, 0.5, 10.0
WARM_UP_STEPS = 5


def random_model(channels: int, max_L: int) -> torch.nn.Module:
    """A MACE for H, C, N and O as the training stage builds it, with random weights, in float32."""
    from e3nn import o3  # only after mace, which lets it read its constants

    torch.manual_seed(1)
    irreps = o3.Irreps(" + ".join(f"{channels}x{order}{'eo'[order % 2]}" for order in range(max_L + 1)))
    return modules.ScaleShiftMACE(
        r_max=5.0,
        num_bessel=8,
        num_polynomial_cutoff=5,
        max_ell=3,
        interaction_cls=modules.interaction_classes["RealAgnosticResidualInteractionBlock"],
        interaction_cls_first=modules.interaction_classes["RealAgnosticResidualInteractionBlock"],
        num_interactions=2,
        num_elements=4,
        hidden_irreps=irreps,
        MLP_irreps=o3.Irreps("16x0e"),
        atomic_energies=np.zeros(4),
        avg_num_neighbors=15.0,
        atomic_numbers=[1, 6, 7, 8],
        correlation=3,
        gate=torch.nn.functional.silu,
        # Weak forces, so that the molecule keeps its shape for the few steps.
        atomic_inter_scale=0.05,
        atomic_inter_shift=0.0,
    ).float()


def replicas(count: int) -> list[Atoms]:
    """Paracetamol, each with random displacements of 0.03 Å."""
    mol: Chem.Mol = from_smiles(PARACETAMOL, seed=1)
    numbers = [atom.GetAtomicNum() for atom in mol.GetAtoms()]
    positions = mol.GetConformer().GetPositions()
    rng = np.random.default_rng(1)
    return [Atoms(numbers, positions + rng.normal(0, 0.03, positions.shape)) for _ in range(count)]


def milliseconds(advance: Callable[[int], object], steps: int) -> float:
    """Wall time of one step, after a few that are not counted."""
    advance(WARM_UP_STEPS)
    began = time.perf_counter()
    advance(steps)
    return 1000 * (time.perf_counter() - began) / steps


def one_by_one(module: torch.nn.Module, starts: list[Atoms], steps: int) -> float:
    """ms per step and replica with ASE."""
    calculator = MACECalculator(models=[module], device="cpu", default_dtype="float32")
    spent = 0.0
    for seed, start in enumerate(starts):
        atoms = start.copy()
        atoms.calc = calculator
        rng = np.random.default_rng(seed)
        thermalize_momenta(atoms, TEMPERATURE_K, rng=rng)
        dynamics = Langevin(
            atoms,
            TIMESTEP_FS * units.fs,
            temperature_K=TEMPERATURE_K,
            friction=FRICTION_PER_PS / (1000 * units.fs),
            fixcm=False,
            rng=rng,
        )
        spent += milliseconds(dynamics.run, steps)
    return spent / len(starts)


def batched(model: MaceTorchSimModel, starts: list[Atoms], steps: int) -> float:
    """ms per step and replica with all replicas in one batch."""
    batch = LangevinBatch(
        model,
        starts,
        temperature_K=TEMPERATURE_K,
        timestep_fs=TIMESTEP_FS,
        friction_per_ps=FRICTION_PER_PS,
        seed=1,
    )
    return milliseconds(batch.advance, steps) / len(starts)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--replicas", type=int, default=20, help="replicas of paracetamol")
    parser.add_argument("--channels", type=int, default=16, help="channels of the model")
    parser.add_argument("--max-L", type=int, default=0, choices=range(4), help="order of its messages")
    parser.add_argument("--steps", type=int, default=50, help="steps that are timed, of each replica")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="threads of torch")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    module, starts = random_model(arguments.channels, arguments.max_L), replicas(arguments.replicas)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "mace.model"
        torch.save(module, path)
        ours = load_isolated(path, "cpu", "float32")
    stock = MaceTorchSimModel(module, device=torch.device("cpu"), dtype=torch.float32, compute_stress=False)
    times = {
        "ASE, one by one": one_by_one(module, starts, arguments.steps),
        "torch-sim as it comes": batched(stock, starts, arguments.steps),
        "PhysEmbed": batched(ours, starts, arguments.steps),
    }
    print(f"{arguments.replicas} replicas, {arguments.steps} steps, {arguments.threads} threads")
    for name, time_ms in times.items():
        print(f"{name}: {time_ms:.2f} ms per step and replica, ratio to PhysEmbed {time_ms / times['PhysEmbed']:.2f}")


if __name__ == "__main__":
    main()
