"""A step of the MD engine against stock torch-sim, ASE one by one and symmetrix-xl, in one run.

Replicas of paracetamol (Langevin): ASE with `MACECalculator`, one replica after the other; torch-sim with MACE's own
torch-sim model, which searches neighbours in every step; symmetrix-xl through ASE, where it is installed, all replicas
far apart in one system; and `LangevinBatch` with the model of `load_isolated`.
Liquid EMC (NPT, stochastic cell rescaling), without and with the CSO correction: torch-sim with MACE's model and
`CSOModel` on torch-sim's list; and `LiquidBatch` with the model of `load_liquid`.
Models are untrained and are named by channels, max_L and cutoff in Å: `64x1` or `96x0x4.5`. Their forces are next to
nothing, so the molecules are kept cold, to stay as they are. `--trained` takes a model
and a box of a study instead, in which atoms move as they do in production. The ways take turns of
about the same time each, so that a load of the machine hits all alike.

Times are wall times, but on a CPU with one thread those of the process, which other processes disturb least. On a GPU
the share of its kernels in the wall time of ours is printed too.

    python benchmarks/engine.py
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import ase.io
import numpy as np
import torch
import torch_sim as ts
from ase import Atoms, units
from ase.md.langevin import Langevin
from ase.md.velocitydistribution import thermalize_momenta
from mace.calculators import MACECalculator
from mace.calculators.mace_torchsim import MaceTorchSimModel
from models import liquid, random_mace, replicas
from torch_sim.integrators import (
    npt_crescale_init,
    npt_crescale_isotropic_step,
    nvt_langevin_init,
    nvt_langevin_step,
)
from torch_sim.models.interface import SumModel

from physembed.cso import CSOModel, CSOParameters
from physembed.engine.device import resolve_device
from physembed.engine.langevin import LangevinBatch
from physembed.engine.liquid_batch import LiquidBatch
from physembed.engine.liquid_model import load_liquid
from physembed.engine.mace import load_isolated
from physembed.units import FS, KB

MOLECULE_TEMPERATURE_K = 0.01
"""No force holds the molecules together: at 300 K they would lose half of their pairs within a turn."""
TEMPERATURE_K, TIMESTEP_FS, FRICTION_PER_PS = 300.0, 0.5, 10.0
THERMOSTAT_PS, BAROSTAT_PS = 0.1, 1.0
COMPRESSIBILITY_PER_BAR = 1e-7
"""So low that the box, under the pressure of a gas of atoms, keeps its size for as long as is timed."""
ALPHA, A1, CONVENTION = 0.05, 0.6, "d3"
MOLECULE_MODELS = {"cpu": ["16x0", "64x0", "64x1", "256x2"], "cuda": ["256x2"]}
LIQUID_MODELS = {"cpu": ["96x0x4.5", "64x2"], "cuda": ["96x0x4.5", "64x2"]}

Advance = Callable[[int], object]


def model(elements: list[int], name: str) -> torch.nn.Module:
    """The untrained model of a name."""
    channels, max_L, *cutoff = name.split("x")
    return random_mace(elements, int(channels), max_L=int(max_L), r_max=float(cutoff[0]) if cutoff else 5.0)


def saved(module: torch.nn.Module, folder: Path) -> Path:
    """A file with the model."""
    path = folder / f"{time.monotonic_ns()}.model"
    torch.save(module, path)
    return path


def one_by_one(file: Path, start: Atoms, device: str) -> Advance:
    """Steps of one replica with ASE."""
    atoms = start.copy()
    cueq = device == "cuda"
    atoms.calc = MACECalculator(str(file), device=device, default_dtype="float32", enable_cueq=cueq)
    rng = np.random.default_rng(0)
    thermalize_momenta(atoms, MOLECULE_TEMPERATURE_K, rng=rng)
    friction = FRICTION_PER_PS / (1000 * units.fs)
    dynamics = Langevin(
        atoms, TIMESTEP_FS * units.fs, temperature_K=MOLECULE_TEMPERATURE_K, friction=friction, fixcm=False, rng=rng
    )
    return dynamics.run


def stock_model(file: Path, device: str, stress: bool) -> MaceTorchSimModel:
    """MACE's torch-sim model as it comes."""
    return MaceTorchSimModel(
        str(file),
        device=torch.device(device),
        dtype=torch.float32,
        compute_stress=stress,
        enable_cueq=device == "cuda",
    )


def all_in_one(file: Path, starts: list[Atoms]) -> Advance | None:
    """Steps of all replicas with symmetrix-xl and ASE; None where it is not installed or does not take the model."""
    try:
        from symmetrix import Symmetrix
    except ImportError:
        return None
    together = Atoms()
    for index, start in enumerate(starts):
        together += Atoms(start.numbers, start.positions + np.array([100.0 * index, 0.0, 0.0]))
    together.cell = [100.0 * len(starts), 100.0, 100.0]
    together.center()
    try:
        together.calc = Symmetrix(str(file), dtype="float32")
        together.get_forces()
    except Exception as error:  # it can fail for want of a compiler, or on a model
        print(f"symmetrix-xl: {' '.join(str(error).split())[:200]}")
        return None
    rng = np.random.default_rng(0)
    thermalize_momenta(together, MOLECULE_TEMPERATURE_K, rng=rng)
    friction = FRICTION_PER_PS / (1000 * units.fs)
    return Langevin(
        together, TIMESTEP_FS * units.fs, temperature_K=MOLECULE_TEMPERATURE_K, friction=friction, fixcm=False, rng=rng
    ).run


def repeated(step: Callable[..., ts.SimState], state: ts.SimState, **arguments: object) -> Advance:
    """Steps of one of torch-sim's integrators."""

    def advance(steps: int) -> None:
        nonlocal state
        for _ in range(steps):
            state = step(state=state, **arguments)

    return advance


def molecules(count: int, name: str, device: str, folder: Path) -> dict[str, tuple[Advance, int]]:
    """Ways to take a step of replicas of a molecule, and how many replicas each of them moves."""
    file, starts = saved(model([1, 6, 7, 8], name), folder), replicas(count)
    stock = stock_model(file, device, stress=False)
    tensor = partial(torch.tensor, device=stock.device)
    bare = [Atoms(start.numbers, start.positions, cell=[1, 1, 1]) for start in starts]
    state = ts.io.atoms_to_state(bare, stock.device, torch.float32)
    arguments = {
        "model": stock,
        "dt": tensor(TIMESTEP_FS * FS),
        "kT": tensor(MOLECULE_TEMPERATURE_K * KB),
        "gamma": tensor(FRICTION_PER_PS / (1000 * FS)),
    }
    ours = LangevinBatch(
        load_isolated(file, device, "float32"),
        starts,
        temperature_K=MOLECULE_TEMPERATURE_K,
        timestep_fs=TIMESTEP_FS,
        friction_per_ps=FRICTION_PER_PS,
        seed=1,
    )
    state = nvt_langevin_init(state, stock, kT=arguments["kT"])
    ways = {
        "ASE, one by one": (one_by_one(file, starts[0], device), 1),
        "torch-sim as it comes": (repeated(nvt_langevin_step, state, **arguments), count),
    }
    other = all_in_one(file, starts) if device == "cpu" else None
    if other is not None:
        ways["symmetrix-xl"] = (other, count)
    return ways | {"PhysEmbed": (ours.advance, count)}


def liquids(
    file: Path, start: Atoms, device: str, corrected: bool, alone: bool = False
) -> dict[str, tuple[Advance, int]]:
    """Ways to take an NPT step of one box, with MACE alone or corrected by CSO; ours alone if asked for."""
    thermalize_momenta(start, temperature_K=TEMPERATURE_K, rng=np.random.default_rng(1))
    graphs = device == "cuda"
    ours = load_liquid(file, device, "float32", convention=CONVENTION, alpha=ALPHA, a1=A1, fixed_shapes=graphs)
    batch = LiquidBatch(
        ours if corrected else ours.base,
        [start],
        temperatures_K=[TEMPERATURE_K],
        ensemble="npt-crescale",
        timestep_fs=TIMESTEP_FS,
        thermostat_ps=THERMOSTAT_PS,
        barostat_ps=BAROSTAT_PS,
        compressibility_per_bar=COMPRESSIBILITY_PER_BAR,
        seed=1,
    )
    way = {"PhysEmbed": (batch.advance, 1)}
    if alone:
        return way
    stock = stock_model(file, device, stress=True)
    cso = CSOModel(CSOParameters(alpha=ALPHA, a1=A1), CONVENTION, device=stock.device, dtype=stock.dtype)
    tensor = partial(torch.tensor, device=stock.device)
    arguments = {
        "model": SumModel(stock, cso) if corrected else stock,
        "kT": tensor([TEMPERATURE_K * KB]),
        "dt": tensor(TIMESTEP_FS * FS),
    }
    barostat = {"tau_p": BAROSTAT_PS * 1000 * FS, "isothermal_compressibility": COMPRESSIBILITY_PER_BAR / units.bar}
    state = npt_crescale_init(ts.io.atoms_to_state([start], stock.device, torch.float32), **arguments, **barostat)
    arguments |= {"tau": THERMOSTAT_PS * 1000 * FS, "external_pressure": tensor([0.0])}
    return {"torch-sim as it comes": (repeated(npt_crescale_isotropic_step, state, **arguments), 1)} | way


def now(device: str) -> float:
    """Seconds, after all that was queued on a GPU."""
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() if device == "cuda" or torch.get_num_threads() > 1 else time.process_time()


def milliseconds(
    ways: dict[str, tuple[Advance, int]], seconds: float, rounds: int, device: str
) -> tuple[dict[str, float], dict[str, int]]:
    """Mean time of a step of each way over all its replicas, and its steps in a turn, after turns to warm up."""
    steps, spent = {}, dict.fromkeys(ways, 0.0)
    for name, (advance, _) in ways.items():
        advance(1)
        began = now(device)
        advance(1)
        steps[name] = max(1, min(1000, round(seconds / (now(device) - began + 1e-9))))
    for _ in range(rounds):
        for name, (advance, _) in ways.items():
            began = now(device)
            advance(steps[name])
            spent[name] += 1000 * (now(device) - began) / (rounds * steps[name])
    return spent, steps


def kernel_share(advance: Advance, steps: int) -> float:
    """Time of the kernels of a GPU over the wall time of the same steps."""
    began = now("cuda")
    advance(steps)
    wall = now("cuda") - began
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        advance(steps)
        torch.cuda.synchronize()
    return sum(event.self_device_time_total for event in profile.key_averages()) / 1e6 / wall


def report(title: str, ways: dict[str, tuple[Advance, int]], arguments: argparse.Namespace) -> None:
    """Measure and print; ratios are per replica."""
    times, steps = milliseconds(ways, arguments.seconds, arguments.rounds, arguments.device)
    each = {name: times[name] / count for name, (_, count) in ways.items()}
    print(f"\n{title}; {arguments.rounds} turns")
    for name, (_, count) in ways.items():
        ratio = each[name] / each["PhysEmbed"]
        print(
            f"{name:22s} {times[name]:9.2f} ms a step of {count:3d} ({steps[name]} a turn), "
            f"ratio to PhysEmbed {ratio:6.2f}",
            flush=True,
        )
    if arguments.device == "cuda":
        share = kernel_share(ways["PhysEmbed"][0], steps["PhysEmbed"])
        print(f"kernels take {share:.2f} of the wall time of PhysEmbed")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    parser.add_argument("--replicas", type=int, nargs="*", default=[20, 100], help="of paracetamol (default: 20 100)")
    parser.add_argument("--molecule-models", nargs="*", help="models of paracetamol (default: see the source)")
    parser.add_argument("--liquid-models", nargs="*", help="models of the liquid (default: see the source)")
    parser.add_argument("--molecules", type=int, default=67, help="of EMC, 15 atoms each (default: 67)")
    parser.add_argument(
        "--trained",
        nargs=2,
        type=Path,
        metavar=("MODEL", "BOX"),
        help="files of a study; no --liquid-models by default then",
    )
    parser.add_argument("--repeat", type=int, default=1, help="boxes of --trained along each edge (default: 1)")
    parser.add_argument("--growth", type=int, nargs="*", default=[], help="boxes of so many molecules, ours alone")
    parser.add_argument("--seconds", type=float, default=1.0, help="of one turn (default: 1)")
    parser.add_argument("--rounds", type=int, default=3, help="turns that are timed (default: 3)")
    parser.add_argument("--threads", type=int, default=1, help="of torch on a CPU (default: 1)")
    arguments = parser.parse_args()
    arguments.device = device = resolve_device(arguments.device)
    torch.set_num_threads(arguments.threads)
    of_molecules, of_liquids = arguments.molecule_models, arguments.liquid_models
    of_molecules = MOLECULE_MODELS[device] if of_molecules is None else of_molecules
    if of_liquids is None:
        of_liquids = [] if arguments.trained else LIQUID_MODELS[device]
    print(f"torch {torch.__version__}, {device}, {arguments.threads} CPU threads, float32")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for size in of_molecules:
            for count in arguments.replicas:
                ways = molecules(count, size, device, folder)
                report(f"{count} x paracetamol, {size}, NVT", ways, arguments)
        boxes = [
            (f"liquid EMC, {size}", saved(model([1, 6, 8], size), folder), liquid(arguments.molecules))
            for size in of_liquids
        ]
        larger = [(name, file, liquid(count)) for name, file, _ in boxes for count in arguments.growth]
        if arguments.trained:
            file, box = arguments.trained
            boxes.append((box.name, file, ase.io.read(box) * ((arguments.repeat,) * 3)))
        for name, file, start in boxes:
            for corrected in (False, True):
                title = f"{len(start)} atoms of {name}, NPT, MACE{' + CSO' if corrected else ''}"
                report(title, liquids(file, start, device, corrected), arguments)
        for name, file, start in larger:
            ways = liquids(file, start, device, corrected=False, alone=True)
            report(f"{len(start)} atoms of {name}, NPT, MACE", ways, arguments)


if __name__ == "__main__":
    main()
