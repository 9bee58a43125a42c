"""Cost of the CSO correction against the MACE step that it is added to, in one run.

A box of liquid EMC (1005 atoms by default) and untrained MACE models of two sizes: 16 channels (max_ell 2, r_max 5 Å),
and that of MACE-OFF23(S) (96 channels, r_max 4.5 Å). Both parts are called as in a step of MD, on lists that are kept,
for energy, forces and stress; what making the lists takes, once in some tens of steps, is printed apart. The calls take
turns; times are medians, on a CPU with one thread of the CPU time of the process.

    python benchmarks/cso.py
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch_sim
from models import liquid, random_mace

from physembed.cso import CONVENTIONS
from physembed.engine.device import resolve_device
from physembed.engine.liquid_model import load_liquid

SIZES = {
    "16 channels, max_ell 2": {"channels": 16, "max_ell": 2},
    "16 channels": {"channels": 16},
    "96 channels": {"channels": 96, "r_max": 4.5},
}


def now(device: str) -> float:
    """Seconds, after all that was queued on a GPU."""
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() if device == "cuda" or torch.get_num_threads() > 1 else time.process_time()


def milliseconds(calls: dict[str, Callable[[], object]], repeats: int, device: str) -> dict[str, float]:
    """Median time of each call; the first two turns warm up. A list that a call made is put in order untimed."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(repeats + 2):
        for name, call in calls.items():
            if "list" not in name:
                call()
            began = now(device)
            call()
            if turn > 1:
                times[name].append(1000 * (now(device) - began))
    return {name: statistics.median(values) for name, values in times.items()}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--molecules", type=int, nargs="+", default=[67], help="of EMC, 15 atoms each (default: 67)")
    parser.add_argument("--repeats", type=int, default=15, help="calls timed of each model (default: 15)")
    parser.add_argument("--dtype", choices=["float32", "float64"], default="float32")
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="cpu")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (default: 1)")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    device = resolve_device(arguments.device)
    print(f"{arguments.dtype}, {device}, {arguments.threads} thread(s); milliseconds")
    columns = (
        ("atoms", 6),
        ("MACE", 12),
        ("", 9),
        ("convention", 11),
        ("CSO", 9),
        ("CSO/MACE", 9),
        ("lists: MACE", 12),
        ("CSO", 7),
    )
    print(" ".join(f"{name:>{width}}" for name, width in columns))
    with tempfile.TemporaryDirectory() as folder:
        for count in arguments.molecules:
            for size, settings in SIZES.items():
                file = Path(folder) / f"{size}.model"
                torch.save(random_mace([1, 6, 8], **settings), file)
                for convention in CONVENTIONS:
                    model = load_liquid(file, device, arguments.dtype, convention=convention, alpha=0.05, a1=0.6)
                    state = torch_sim.io.atoms_to_state([liquid(count)], model.device, model.dtype)
                    base, cso = model.base, model.cso
                    structure = state.positions, state.row_vector_cell, state.pbc
                    calls = {
                        "MACE": lambda base=base, state=state: base(state),
                        "CSO": lambda cso=cso, state=state: cso(state),
                        "MACE list": lambda part=base, s=structure, state=state: part.list.made(
                            *s, part.reach, state.system_idx
                        ),
                        "CSO list": lambda part=cso, s=structure, state=state: part.list.made(
                            *s, part.reach, state.system_idx
                        ),
                    }
                    times = milliseconds(calls, arguments.repeats, device)
                    row = f"{15 * count:6d} {size:>12} {times['MACE']:9.2f} {convention:>11} {times['CSO']:9.2f}"
                    row += f" {times['CSO'] / times['MACE']:9.2f} {times['MACE list']:12.1f} {times['CSO list']:7.1f}"
                    print(row, flush=True)


if __name__ == "__main__":
    main()
