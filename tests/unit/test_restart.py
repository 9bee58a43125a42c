"""Restart folders: what a saved state belongs to, and what leaves it valid."""

from __future__ import annotations

import ast
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from snakemake.iocontainers import InputFiles

from physembed.config import NPT, Arm, GaffMD, Labels, LiquidModel, Scan, Stability, Training, Viscosity
from physembed.config.base import keeping_runs
from physembed.config.learning import Learning
from physembed.restart import lasting, restart_folder, sections

SCRIPTS = Path(__file__).parents[2] / "workflow/scripts"


class Job:
    """What Snakemake hands to a script, as far as restart folders go."""

    def __init__(self, root: Path, files: dict[str, str | list[str]], settings: dict[str, Any], code: str = "c"):
        self.root = root
        root.mkdir(exist_ok=True)
        self.input = InputFiles()
        for name, value in files.items():
            first = len(self.input)
            for path in [value] if isinstance(value, str) else value:
                (root / path).write_text(path)
                self.input.append(str(root / path))
            self.input._set_name(name, first, None if isinstance(value, str) else len(self.input))
        self.params = SimpleNamespace(restart=str(root / "restart"), settings=settings, code=code)


FILES: dict[str, str | list[str]] = {"model": "mace.model", "frames": ["a.xyz", "b.xyz"], "tuning": []}


def test_folder_belongs_to_settings_code_and_every_input(tmp_path: Path) -> None:
    settings = {"stability": Stability().model_dump(), "seed": 1}
    job = Job(tmp_path, FILES, settings)
    folder = restart_folder(job)
    assert folder.is_dir() and folder.parent == tmp_path / "restart"
    seen = {folder}
    for path in ("mace.model", "a.xyz", "b.xyz"):
        text = (tmp_path / path).read_text()
        (tmp_path / path).write_text("changed")
        seen.add(restart_folder(job))
        (tmp_path / path).write_text(text)
    seen.add(restart_folder(Job(tmp_path, FILES, settings, code="d")))
    seen.add(restart_folder(Job(tmp_path, FILES, settings | {"seed": 2})))
    seen.add(restart_folder(Job(tmp_path, FILES, settings | {"new": 2})))
    assert len(seen) == 7
    assert restart_folder(Job(tmp_path, FILES, dict(reversed(settings.items())))) == folder


def test_what_a_run_takes_of_an_input_stands_for_its_content(tmp_path: Path) -> None:
    files: dict[str, str | list[str]] = {"density": "density.csv", "trajectory": "trajectory.xyz"}
    job = Job(tmp_path, files, {})
    folder = restart_folder(job, density=1.05)
    (tmp_path / "density.csv").write_text("another error, the same density")
    assert restart_folder(job, density=1.05) == folder
    assert restart_folder(job, density=1.06) != folder
    (tmp_path / "trajectory.xyz").write_text("other frames")
    assert restart_folder(job, density=1.05) != folder


def test_runs_outlive_an_edit_of_the_analysis_that_chooses_them(tmp_path: Path) -> None:
    def folder(code: str, code_of_runs: str) -> Path:
        job = Job(tmp_path, FILES, {}, code)
        job.params.code_of_runs = code_of_runs
        return restart_folder(job)

    assert folder("c", "r") == folder("another fit", "r") != folder("c", "another integrator")


def test_names_that_no_input_has_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="taken are"):
        restart_folder(Job(tmp_path, FILES, {}), densty=1.0)
    job = Job(tmp_path, FILES, {})
    job.input = InputFiles([str(tmp_path / "mace.model")])  # without a name
    with pytest.raises(ValueError, match="have the names"):
        restart_folder(job)


KEPT = {
    Stability: {"duration_ps"},
    NPT: {"duration_ps", "longest_ps", "standard_error_g_cm3", "replicas", "window_ps"},
    Scan: set(Scan.model_fields),
    Viscosity: {"duration_ps", "relative_error"},
    LiquidModel: {"alphas", "a1_range"},
    Labels: {"max_force_eV_A", "bond_order_threshold", "max_rejected_fraction"},
    Learning: {"labels_per_round", "choose", "hot_ps", "stop_below"},
    GaffMD: set(),
    Training: set(),
    Arm: set(),
}


@pytest.mark.parametrize("section", KEPT, ids=lambda section: section.__name__)
def test_fields_that_leave_a_state_valid_are_these_and_no_others(section: type) -> None:
    assert keeping_runs(section) == KEPT[section]


def test_settings_without_what_extends() -> None:
    settings = {
        "npt": {"duration_ps": 1.0, "replicas": 2, "barostat": "langevin"},
        "scan": {"a1": [0.0], "method": "direct"},
        "model": {"alphas": [1.0], "convention": "d3", "training": {"epochs": 5}},
        "duration_ps": 7.0,  # no field of a section: it counts
        "extends": {"target_g_cm3": 1.0},
    }
    assert lasting(settings) == {
        "npt": {"barostat": "langevin"},
        "scan": {},
        "model": {"convention": "d3", "training": {"epochs": 5}},
        "duration_ps": 7.0,
    }


def test_sections_of_one_name_agree_about_their_fields() -> None:
    by_name: dict[str, list[type]] = {}
    for name, section in sections():
        by_name.setdefault(name, []).append(section)
    assert {"arm", "model", "training", "reference", "npt"} <= set(by_name)
    for name, same in by_name.items():
        for first in same:
            for second in same:
                shared = first.model_fields.keys() & second.model_fields.keys()
                assert keeping_runs(first) & shared == keeping_runs(second) & shared, name


def resuming() -> dict[str, dict[str, str]]:
    """The scripts that ask for a restart folder, with what they say of their inputs."""
    found = {}
    for path in SCRIPTS.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "restart_folder":
                assert [ast.unparse(argument) for argument in node.args] == ["snakemake"]
                found[path.stem] = {str(word.arg): ast.unparse(word.value) for word in node.keywords}
    return found


def test_inputs_that_count_otherwise_than_by_their_content() -> None:
    """An additional input in this list needs a reason: its changes have to enter the key in another way."""
    assert resuming() == {
        "gaff_md": {},
        "gaff_npt": {},
        "pretraining_frames": {},
        "pretraining": {},
        "training": {},
        "liquid_training": {},
        "liquid_round": {},
        "stability": {"starts": "None"},  # cohorts are named by the geometries of their starts
        # So are those of hot MD, to which the frames labelled before, the end of learning and the angles are nothing.
        "learning": {"starts": "None", "frames": "None", "round": "None", "angles": "None"},
        # Only compared, or copied, with what is trained.
        "round_training": {"train_before": "None", "model_before": "None", "curve_before": "None"},
        "scan": {},
        "npt": {"tuning": "correction"},
        "viscosity_run": {"tuning": "correction", "density": "density", "replicas": "begins"},
    }
