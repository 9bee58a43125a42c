"""What the settings of a job's process are worth: CPU time, page faults and context switches of one evaluation.

    python benchmarks/process.py --channels 64 --max-L 2              # as a stage runs
    python benchmarks/process.py --channels 64 --max-L 2 --default    # as Python starts

Isolated paracetamol molecules, untrained MACE, energy and forces in float32. Leave OMP_NUM_THREADS unset.
"""

from __future__ import annotations

import argparse
import resource
import time

from physembed.process import keep_memory, sleep_while_waiting


def main() -> None:
    """Time and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, value in {"threads": 1, "channels": 16, "max-L": 0, "replicas": 20, "evaluations": 5}.items():
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--default", action="store_true", help="leave the process as it is")
    arguments = parser.parse_args()
    if not arguments.default:
        keep_memory()
        sleep_while_waiting()

    # Only now: OpenMP reads its settings when torch is loaded.
    import torch
    import torch_sim as ts
    from models import random_mace, replicas

    from physembed.engine.mace import IsolatedMace

    torch.set_num_threads(arguments.threads)
    module = random_mace([1, 6, 7, 8], arguments.channels, max_L=arguments.max_L)
    model = IsolatedMace(module, torch.device("cpu"), torch.float32)
    state = ts.io.atoms_to_state(replicas(arguments.replicas), device=model.device, dtype=model.dtype)
    model(state)
    before, began, count = resource.getrusage(resource.RUSAGE_SELF), time.monotonic(), arguments.evaluations
    for _ in range(count):
        model(state)
    wall, after = (time.monotonic() - began) / count, resource.getrusage(resource.RUSAGE_SELF)
    figures = {name: (getattr(after, name) - getattr(before, name)) / count for name in dir(after) if name[:3] == "ru_"}
    print(
        f"user {figures['ru_utime']:.3f} s, system {figures['ru_stime']:.3f} s, wall {wall:.3f} s; "
        f"{figures['ru_minflt']:.0f} page faults, {figures['ru_nvcsw'] + figures['ru_nivcsw']:.0f} context switches; "
        f"{after.ru_maxrss / 1e6:.2f} GB at most"
    )


if __name__ == "__main__":
    main()
