"""What the commands of `physembed` do; `physembed.cli` has their arguments."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from physembed.errors import PhysEmbedError
from physembed.files import check_writable

if TYPE_CHECKING:
    from physembed.export.conditions import Conditions

CERTIFICATE = ("certificate.csv", "certificate.md")
RUN = ("series.csv", "trajectory.xyz")


def run(given: argparse.Namespace) -> None:
    """MD in an engine."""
    from physembed.export.runs import run
    from physembed.export.structures import read_structures
    from physembed.trajectory import write_trajectory

    _check_output(given, (given.output / name for name in RUN))
    result = run(
        given.engine,
        given.model.split(","),
        read_structures(given.structure)[-1],
        _conditions(given),
        duration_ps=given.ps,
        record_interval_fs=given.record,
        device=given.device,
        dtype=given.dtype,
    )
    given.output.mkdir(parents=True, exist_ok=True)
    result.series.to_csv(given.output / RUN[0], index=False)
    write_trajectory(given.output / RUN[1], result.frames)
    second_half = result.series.iloc[len(result.series) // 2 :].mean()
    shown = {"temperature_K": "K", "density_g_cm3": "g/cm^3"}
    means = ", ".join(f"{second_half[name]:.4g} {unit}" for name, unit in shown.items() if name in second_half)
    print(f"mean over the second half: {means}; {given.output}/series.csv and {given.output}/trajectory.xyz")


def check(given: argparse.Namespace) -> None:
    """A certificate."""
    from physembed.export.certificate import check, markdown
    from physembed.export.conditions import Conditions
    from physembed.export.structures import read_structures

    if given.output is not None:
        _check_output(given, (given.output / name for name in CERTIFICATE))
    frames = read_structures(given.structure)
    frames = [frames[row] for row in sorted({0, len(frames) // 2, len(frames) - 1})]
    conditions = Conditions(temperature_K=given.temperature, timestep_fs=given.timestep, seed=given.seed)
    files = given.model.split(",")
    table = check(files, frames, conditions, nve_ps=given.nve_ps, npt_ps=given.npt_ps, device=given.device)
    text = markdown(table, ", ".join(Path(file).name for file in files))
    if given.output is None:
        print(text)
    else:
        given.output.mkdir(parents=True, exist_ok=True)
        table.to_csv(given.output / CERTIFICATE[0], index=False)
        (given.output / CERTIFICATE[1]).write_text(text, encoding="utf-8")
    if (table["verdict"] == "failed").any():
        failed = table[table["verdict"] == "failed"].iloc[0]
        raise PhysEmbedError(
            f"check: {given.model}: {failed['engine']}: {failed['check']}: {failed['value']:.3g} where at most "
            f"{failed['limit']:.3g} {failed['unit']} is allowed"
        )


def card(given: argparse.Namespace) -> None:
    """The card of a model."""
    from physembed.models.corrected import card_of

    print(card_of(given.model))


def committee(given: argparse.Namespace) -> None:
    """Several models as one file."""
    from physembed.models.committee import write_committee

    _check_output(given, [given.output])
    write_committee(given.output, given.models)
    print(f"{given.output}: a committee of {len(given.models)} models")


def export(given: argparse.Namespace) -> None:
    """Input for LAMMPS."""
    from physembed.export.lammps_script import DATA, PICKLE, SCRIPT, write_inputs
    from physembed.export.structures import read_structures

    names = [DATA, SCRIPT, *([PICKLE] if given.to == "mliap" else [])]
    _check_output(given, (given.output / name for name in names))
    write_inputs(
        given.output,
        given.to,
        given.model.split(","),
        read_structures(given.structure)[-1],
        _conditions(given),
        duration_ps=given.ps,
        record_interval_fs=given.record,
    )
    print((given.output / SCRIPT).read_text(encoding="utf-8").splitlines()[0].lstrip("# ") + f" (in {given.output})")


def lammps(given: argparse.Namespace) -> None:
    """Run an input script of LAMMPS."""
    from physembed.export.lammps_script import run_script

    run_script(given.script, device=given.device, dtype=given.dtype)


def _conditions(given: argparse.Namespace) -> Conditions:
    from physembed.export.conditions import Conditions

    ensembles = {"npt": given.npt, "nvt": given.nvt, "nve": given.nve}
    (name,) = [name for name, kelvin in ensembles.items() if kelvin is not None]
    return Conditions(name, ensembles[name], given.pressure, given.timestep, seed=given.seed)  # type: ignore[arg-type]


def _check_output(given: argparse.Namespace, paths: Iterable[Path]) -> None:
    """Refuse, before anything is computed, output that cannot be written or would take the place of another.

    Raises:
        PhysEmbedError: there is such a file, or no permission.
    """
    for path in paths:
        nearest = path.parent
        while not nearest.exists():
            nearest = nearest.parent
        if not nearest.is_dir():
            raise PhysEmbedError(f"{path}: {nearest} is a file, not a folder; choose another --output")
        check_writable(path.parent)
        if path.is_dir():
            raise PhysEmbedError(f"{path}: is a folder; choose another --output")
        if path.exists() and not given.overwrite:
            raise PhysEmbedError(f"{path}: is there already; choose another --output, or give --overwrite")
