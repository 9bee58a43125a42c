"""The command line for models: `physembed run`, `physembed check` and `physembed card`."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import ase.io

from physembed.errors import PhysEmbedError

if TYPE_CHECKING:
    from ase import Atoms

    from physembed.export.engines import Conditions

ENGINES = ("torch-sim", "ase", "openmm", "lammps")
PICKLE = "Model files are pickles, which can run any code when they are loaded: load only files that you trust."


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; what is wrong is told in one line on standard error, with exit code 1."""
    given = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    try:
        given.command(given)
    except PhysEmbedError as error:
        print(f"physembed: {error}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="physembed", description=f"Models of PhysEmbed in other engines. {PICKLE}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    run = commands.add_parser("run", help="MD with a model", description=f"MD with a model in an engine. {PICKLE}")
    run.add_argument("model", help="corrected_model.pt or any MACE file; several, with commas, are a committee")
    run.add_argument("structure", type=Path, help="file that ASE reads; its last frame is the start")
    run.add_argument("--engine", choices=ENGINES, default="torch-sim", help="default: %(default)s")
    ensemble = run.add_mutually_exclusive_group(required=True)
    ensemble.add_argument("--npt", type=float, metavar="K", help="constant pressure, at this temperature in K")
    ensemble.add_argument("--nvt", type=float, metavar="K", help="constant volume, at this temperature in K")
    ensemble.add_argument(
        "--nve", type=float, metavar="K", help="constant energy, momenta drawn at this temperature in K"
    )
    run.add_argument("--ps", type=float, required=True, metavar="PS", help="length of the run in ps")
    run.add_argument("--pressure", type=float, default=1.01325, metavar="BAR", help="in bar; default: %(default)s")
    run.add_argument("--timestep", type=float, default=1.0, metavar="FS", help="in fs; default: %(default)s")
    run.add_argument(
        "--record", type=float, default=100.0, metavar="FS", help="time between records in fs; default: 100"
    )
    run.add_argument("--output", type=Path, default=Path("run"), help="folder for series.csv and trajectory.xyz")
    _common(run)
    run.set_defaults(command=_run)

    check = commands.add_parser(
        "check",
        help="a certificate that all engines agree",
        description=f"Energies, forces, stresses and short runs in every engine that is installed. {PICKLE}",
    )
    check.add_argument("model", help="corrected_model.pt or any MACE file")
    check.add_argument("structure", type=Path, help="file that ASE reads; up to three of its frames are compared")
    check.add_argument("--nve-ps", type=float, default=1.0, metavar="PS", help="constant energy, in ps; default: 1")
    check.add_argument(
        "--npt-ps", type=float, default=0.0, metavar="PS", help="constant pressure, in ps; default: none"
    )
    check.add_argument("--temperature", type=float, default=298.15, metavar="K", help="in K; default: %(default)s")
    check.add_argument("--timestep", type=float, default=0.5, metavar="FS", help="in fs; default: %(default)s")
    check.add_argument("--output", type=Path, help="folder for certificate.csv and certificate.md; default: print it")
    _common(check)
    check.set_defaults(command=_check)

    card = commands.add_parser("card", help="what a corrected model is", description=f"Print its card. {PICKLE}")
    card.add_argument("model", type=Path, help="corrected_model.pt")
    card.set_defaults(command=_card)
    return parser


def _common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="of the model")
    parser.add_argument("--dtype", choices=("float64", "float32"), default="float64", help="of the model")
    parser.add_argument("--seed", type=int, default=1, help="of momenta and noise; default: 1")


def _frames(path: Path) -> list[Atoms]:
    try:
        frames = ase.io.read(path, ":")
    except Exception as error:  # a file that is no structure can end ASE's readers in any way
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise PhysEmbedError(f"{path}: no structure that ASE can read ({reason})") from error
    if not isinstance(frames, list) or not frames:
        raise PhysEmbedError(f"{path}: holds no structure")
    return frames


def _conditions(given: argparse.Namespace) -> Conditions:
    from physembed.export.engines import Conditions

    ensembles = {"npt": given.npt, "nvt": given.nvt, "nve": given.nve}
    (name,) = [name for name, kelvin in ensembles.items() if kelvin is not None]
    return Conditions(name, ensembles[name], given.pressure, given.timestep, seed=given.seed)  # type: ignore[arg-type]


def _run(given: argparse.Namespace) -> None:
    from physembed.export.runs import run
    from physembed.trajectory import write_trajectory

    files = given.model.split(",")
    result = run(
        given.engine,
        files[0] if len(files) == 1 else files,
        _frames(given.structure)[-1],
        _conditions(given),
        duration_ps=given.ps,
        record_interval_fs=given.record,
        device=given.device,
        dtype=given.dtype,
    )
    given.output.mkdir(parents=True, exist_ok=True)
    result.series.to_csv(given.output / "series.csv", index=False)
    write_trajectory(given.output / "trajectory.xyz", result.frames)
    second_half = result.series.iloc[len(result.series) // 2 :].mean()
    shown = {"temperature_K": "K", "density_g_cm3": "g/cm^3"}
    means = ", ".join(f"{second_half[name]:.4g} {unit}" for name, unit in shown.items() if name in second_half)
    print(f"mean over the second half: {means}; {given.output}/series.csv and {given.output}/trajectory.xyz")


def _check(given: argparse.Namespace) -> None:
    from physembed.export.certificate import check, markdown
    from physembed.export.engines import Conditions

    frames = _frames(given.structure)
    frames = [frames[row] for row in sorted({0, len(frames) // 2, len(frames) - 1})]
    conditions = Conditions(temperature_K=given.temperature, timestep_fs=given.timestep, seed=given.seed)
    table = check(given.model, frames, conditions, nve_ps=given.nve_ps, npt_ps=given.npt_ps, device=given.device)
    text = markdown(table, Path(given.model).name)
    if given.output is None:
        print(text)
    else:
        given.output.mkdir(parents=True, exist_ok=True)
        table.to_csv(given.output / "certificate.csv", index=False)
        (given.output / "certificate.md").write_text(text, encoding="utf-8")
    if (table["verdict"] == "failed").any():
        failed = table[table["verdict"] == "failed"].iloc[0]
        raise PhysEmbedError(
            f"check: {given.model}: {failed['engine']}: {failed['check']}: {failed['value']:.3g} where at most "
            f"{failed['limit']:.3g} {failed['unit']} is allowed"
        )


def _card(given: argparse.Namespace) -> None:
    from physembed.models.corrected import card_of

    print(card_of(given.model))
