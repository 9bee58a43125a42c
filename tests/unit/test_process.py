"""Settings of the process of a job: what they change, and that a stage has them before torch is loaded."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from ctypes.util import find_library
from pathlib import Path

import pytest

FAULTS = """
import ctypes, resource
from physembed.process import keep_memory

{call}
c = ctypes.CDLL(None)
c.malloc.restype, c.malloc.argtypes, c.free.argtypes = ctypes.c_void_p, [ctypes.c_size_t], [ctypes.c_void_p]
c.memset.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t]
for _ in range(10):
    block = c.malloc(64 << 20)
    c.memset(block, 1, 64 << 20)
    c.free(block)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
"""
STAGE = """
import os, sys
from types import SimpleNamespace
from physembed.stage import stage

job = SimpleNamespace(
    rule="rule", log=["log"], input=[], resources={}, params=SimpleNamespace(settings={}, code=""),
    output=SimpleNamespace(provenance="provenance.json"),
)
assert "torch" not in sys.modules
with stage(job):
    open("policy", "w").write(os.environ["OMP_WAIT_POLICY"])
"""


def run(code: str, **environment: str) -> str:
    inherited = {name: value for name, value in os.environ.items() if name not in ("OMP_WAIT_POLICY", "KMP_BLOCKTIME")}
    command = [sys.executable, "-c", code]
    return subprocess.run(command, env=inherited | environment, check=True, text=True, capture_output=True).stdout


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="mallopt is glibc's")
def test_freed_memory_is_kept_and_costs_no_page_faults_again() -> None:
    # 10 blocks of 64 MiB, one after another: 16384 pages of 4 KiB each, unless the system makes them larger.
    faults, kept = (int(run(FAULTS.format(call=call))) for call in ("", "assert keep_memory()"))
    pages = 10 * (64 << 20) // os.sysconf("SC_PAGESIZE")
    if faults < pages:
        pytest.skip("this system has pages so large that few are faulted")
    assert faults - kept > 0.8 * pages


def test_stage_lets_threads_sleep_before_torch_is_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    monkeypatch.chdir(tmp_path)
    run(STAGE)
    assert (tmp_path / "policy").read_text() == "passive"
    run(STAGE, OMP_WAIT_POLICY="active")
    assert (tmp_path / "policy").read_text() == "active"


LISTS = """
import sys
from physembed.process import leave_out_warp

assert leave_out_warp()
import ase, numpy as np, torch
from ase.neighborlist import neighbor_list
from torch_sim.neighbors import torchsim_nl

assert not any(name.split(".")[0] == "warp" for name in sys.modules)
rng = np.random.default_rng(1)
for length in (5.0, 9.0, 20.0):
    atoms = ase.Atoms("H12", rng.uniform(0, length, (12, 3)), cell=[length, length + 1, length + 2], pbc=True)
    positions, cell = torch.from_numpy(atoms.positions), torch.from_numpy(atoms.cell.array.T.copy())[None]
    pairs, _, shifts = torchsim_nl(positions, cell, torch.tensor([True] * 3), 6.0, torch.zeros(12, dtype=torch.long))
    found = sorted(map(tuple, torch.cat([pairs.T, shifts.round().long()], dim=1).tolist()))
    i, j, images = neighbor_list("ijS", atoms, 6.0)
    assert found == sorted(map(tuple, np.column_stack([i, j, images]).tolist())) and found, length
"""


@pytest.mark.skipif(find_library("cuda") is not None, reason="with NVIDIA's driver nothing is left out")
def test_neighbour_lists_without_warp_find_the_same_pairs() -> None:
    """In boxes smaller than the cutoff, of its size, and larger than twice it."""
    run(LISTS)


COMPILER = """
import sys
from importlib.util import find_spec
from physembed.process import postpone_dynamo

postpone_dynamo()
postpone_dynamo()
{use}
import torch

double = torch.compile(lambda x: 2 * x, backend="eager")
assert double(torch.ones(3)).tolist() == [2, 2, 2]
assert "torch._dynamo.convert_frame" in sys.modules
"""
MODELS = """
import mace.modules

# The CUDA kernels of cuEquivariance, where NVIDIA's driver lets them be imported, use the compiler at once.
assert "torch._dynamo.convert_frame" not in sys.modules or "cuequivariance_ops_torch" in sys.modules
"""
SUBMODULE = """
import torch._dynamo.utils
from torch._dynamo import convert_frame, utils

assert utils is torch._dynamo.utils is sys.modules["torch._dynamo.utils"]
assert convert_frame.CleanupManager is utils.CleanupManager, "the submodule was executed twice"
assert find_spec("torch._dynamo.utils") is utils.__spec__ and utils.__spec__.origin.endswith("utils.py")
"""


@pytest.mark.parametrize("use", [MODELS, SUBMODULE], ids=["models", "submodule"])
def test_the_compiler_of_torch_is_imported_when_it_is_used(use: str) -> None:
    """MACE's modules load without it, torch's `compile` still works, and so do its submodules, imported first."""
    run(COMPILER.format(use=use))
