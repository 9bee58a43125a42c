"""After a complete run of a liquid: what a change reruns and what it does not affect."""

from __future__ import annotations

import re

import ase.io
import numpy as np
import pandas as pd

from physembed.training.data import read_labelled
from physembed.training.data_check import Keys

from .conftest import LIQUIDS, Checkout

REPORT = {"liquid_figures", "liquid_tables", "summary"}
AFTER_NPT = {"density", "viscosity_run", "viscosity", "structure", "structure_figure"} | REPORT
AFTER_TUNING = {"npt", "corrected_model", "certificate", "volume_scan"} | AFTER_NPT
EXPERIMENT = "config/experiment.tsv"


def test_nothing_changed(finished_liquids: Checkout) -> None:
    assert finished_liquids.planned() == {}


def test_a_new_a1_reruns_no_training_and_only_the_missing_point(copy_of_finished_liquids: Checkout) -> None:
    study = copy_of_finished_liquids
    study.edit(LIQUIDS, "a1: [0.2, 0.8]", "a1: [0.2, 0.5, 0.8]")
    planned = study.planned()
    assert set(planned) == {"scan", "tuning"} | AFTER_TUNING
    assert planned["npt"] == 1, "the uncorrected run does not depend on a1"
    done = study.snakemake("--cores", "1", "results/minimal_liquids/models/tiny/scan/runs.csv")
    assert done.returncode == 0, done.stderr
    log = (study.root / "results/minimal_liquids/models/tiny/logs/scan.log").read_text()
    assert re.search(r"scan: 3 of 4 runs are finished", log)


def test_a_new_experimental_density_reruns_the_fit_alone(copy_of_finished_liquids: Checkout) -> None:
    study = copy_of_finished_liquids
    study.edit(EXPERIMENT, "1.063", "1.053")
    planned = study.planned()
    assert "scan" not in planned
    assert set(planned) == {"tuning"} | AFTER_TUNING
    assert planned["npt"] == 1, "only the corrected run follows the fit"


def test_a_new_experimental_viscosity_reruns_the_report_alone(copy_of_finished_liquids: Checkout) -> None:
    copy_of_finished_liquids.edit(EXPERIMENT, "0.583", "0.593")
    assert set(copy_of_finished_liquids.planned()) <= REPORT


def test_a_longer_npt_run_leaves_scan_and_training(copy_of_finished_liquids: Checkout) -> None:
    copy_of_finished_liquids.edit(LIQUIDS, "npt:\n  duration_ps: 0.05", "npt:\n  duration_ps: 0.06")
    planned = copy_of_finished_liquids.planned()
    # The card of the corrected model names the run that confirms it.
    assert set(planned) == {"npt", "corrected_model", "certificate"} | AFTER_NPT
    done = copy_of_finished_liquids.snakemake(
        "--cores", "1", "results/minimal_liquids/models/tiny/npt/DMC_298K/uncorrected/series.csv"
    )
    assert done.returncode == 0, done.stderr
    log = copy_of_finished_liquids.root / "results/minimal_liquids/models/tiny/logs/npt_DMC_298K_uncorrected.log"
    assert re.search(r"resuming at 0.05/0.06 ps", log.read_text())


def test_a_run_goes_on_until_its_density_is_known(copy_of_finished_liquids: Checkout) -> None:
    study = copy_of_finished_liquids
    until = "  longest_ps: 0.07\n  standard_error_g_cm3: 1.0e-9\n"
    study.edit(LIQUIDS, "npt:\n  duration_ps: 0.05\n", f"npt:\n  duration_ps: 0.05\n{until}")
    assert set(study.planned()) == {"npt", "corrected_model", "certificate"} | AFTER_NPT
    folder = study.root / "results/minimal_liquids/models/tiny"
    target = folder / "npt/DMC_298K/uncorrected"
    before = pd.read_csv(target / "series.csv")
    done = study.snakemake("--cores", "1", str((target / "series.csv").relative_to(study.root)))
    assert done.returncode == 0, done.stderr
    after = pd.read_csv(target / "series.csv")
    assert after.time_ps.max() == 0.07, "of so few frames no density is known"
    pd.testing.assert_frame_equal(after.head(len(before)), before, check_exact=True)
    assert "resuming at 0.05/0.07 ps" in (folder / "logs/npt_DMC_298K_uncorrected.log").read_text()


def test_more_npt_replicas_leave_those_that_are_there(copy_of_finished_liquids: Checkout) -> None:
    copy_of_finished_liquids.edit(LIQUIDS, "npt:\n  duration_ps: 0.05", "npt:\n  replicas: 2\n  duration_ps: 0.05")
    target = "results/minimal_liquids/models/tiny/npt/DMC_298K/uncorrected/series.csv"
    before = pd.read_csv(copy_of_finished_liquids.root / target)
    assert "liquid_training" not in copy_of_finished_liquids.planned()
    done = copy_of_finished_liquids.snakemake("--cores", "1", target)
    assert done.returncode == 0, done.stderr
    after = pd.read_csv(copy_of_finished_liquids.root / target)
    assert set(after.replica) == {0, 1}
    pd.testing.assert_frame_equal(after[after.replica == 0].reset_index(drop=True), before, check_exact=True)


def test_a_longer_viscosity_run_reruns_no_npt(copy_of_finished_liquids: Checkout) -> None:
    folder = copy_of_finished_liquids.root / "results/minimal_liquids/models/tiny/viscosity/DMC_298K/uncorrected"

    def recorded() -> dict[int, np.ndarray]:
        """The pressure tensors of each surviving replica."""
        runs = pd.read_csv(folder / "runs.csv")
        with np.load(folder / "pressure.npz") as file:
            return dict(zip(runs.replica[runs.status == "ok"], file["pressure_tensor"], strict=True))

    before = recorded()
    copy_of_finished_liquids.edit(LIQUIDS, "replicas: 2\n  duration_ps: 0.05", "replicas: 2\n  duration_ps: 0.052")
    assert set(copy_of_finished_liquids.planned()) == {"viscosity_run", "viscosity"} | REPORT
    target = str((folder / "pressure.npz").relative_to(copy_of_finished_liquids.root))
    done = copy_of_finished_liquids.snakemake("--cores", "1", target)
    assert done.returncode == 0, done.stderr
    after = recorded()
    assert after  # the model, which has learned next to nothing, may tear one apart in the time that was added
    for replica, blocks in after.items():
        assert len(blocks) > len(before[replica])
        assert np.array_equal(blocks[: len(before[replica])], before[replica])


def test_an_edit_of_the_analysis_repeats_no_md(copy_of_finished_liquids: Checkout) -> None:
    study = copy_of_finished_liquids
    # Of so few frames each is a candidate in any case, so that all numbers come out as they were.
    study.edit("physembed/analysis/density.py", "EQUILIBRATION_CANDIDATES = 100", "EQUILIBRATION_CANDIDATES = 1000")
    planned = study.planned()
    # The scan asks the analysis for its points, and the corrected run follows its tuning.
    assert {"scan", "tuning", "density"} <= set(planned) <= {"scan", "tuning", "liquid_training_figure"} | AFTER_TUNING
    assert planned["npt"] == 1
    folder = "results/minimal_liquids/models/tiny"
    targets = ("scan/runs.csv", "tuning/tuning.csv", "npt/DMC_298K/uncorrected/density.csv")
    done = study.snakemake("--cores", "1", *(f"{folder}/{target}" for target in targets))
    assert done.returncode == 0, done.stderr
    assert "scan: 3 of 3 runs are finished" in (study.root / folder / "logs/scan.log").read_text()
    left = study.planned()
    assert not {"scan", "tuning", "npt", "volume_scan"} & set(left), "their inputs are as they were"
    assert left["density"] == 1 and left["viscosity_run"] == 1, "those of the corrected run"


def test_another_density_begins_the_viscosity_run_anew(copy_of_finished_liquids: Checkout) -> None:
    """Pressures belong to the volume at which they were recorded: none of another volume is taken over."""
    study = copy_of_finished_liquids
    base = "results/minimal_liquids/models/tiny"
    target = f"{base}/viscosity/DMC_298K/uncorrected/pressure.npz"

    def volumes() -> np.ndarray:
        with np.load(study.root / target) as file:
            return np.array(file["volume_A3"])

    def rerun() -> str:
        done = study.snakemake("--cores", "1", target)
        assert done.returncode == 0, done.stderr
        log = study.root / base / "logs/viscosity_run_DMC_298K_uncorrected.log"
        text = log.read_text()
        log.unlink()
        return text

    before = volumes()
    # Only the script that computes the density changes; the runs and the code of `viscosity_run` stay as they are.
    study.edit("workflow/scripts/density.py", ").to_csv(", ").assign(effective_samples=7.0).to_csv(")
    assert "ps done in" not in rerun(), "what was recorded at this volume is kept"
    np.testing.assert_array_equal(volumes(), before)
    shifted = ").assign(density_g_cm3=lambda table: table.density_g_cm3 * 1.01).to_csv("
    study.edit("workflow/scripts/density.py", ").assign(effective_samples=7.0).to_csv(", shifted)
    text = rerun()
    assert "ps done in" in text and "resuming" not in text
    np.testing.assert_allclose(volumes(), before / 1.01, rtol=1e-9)


def test_the_estimate_of_viscosity_reruns_no_md(copy_of_finished_liquids: Checkout) -> None:
    copy_of_finished_liquids.edit(LIQUIDS, "viscosity:\n", "viscosity:\n  relative_error: 0.2\n")
    assert set(copy_of_finished_liquids.planned()) == {"viscosity"} | REPORT


def test_another_limit_of_a_job_reruns_no_work(copy_of_finished_liquids: Checkout) -> None:
    study = copy_of_finished_liquids
    study.edit("config/config.yaml", "max_walltime_hours: null", "max_walltime_hours: 24")
    assert study.planned() == {}


def test_another_liquid_leaves_the_first_alone(copy_of_finished_liquids: Checkout) -> None:
    study = copy_of_finished_liquids
    study.edit(LIQUIDS, "    reference:\n", "    reference:\n      liquids: [DMC_298K]\n")
    study.edit(LIQUIDS, "evaluate_on: [DMC_298K]", "evaluate_on: [DMC_298K, DMC_320K]")
    planned = study.planned()
    assert set(planned) == {"box", "gaff_npt", "npt"} | AFTER_NPT
    assert (planned["gaff_npt"], planned["npt"]) == (1, 2)


def test_training_change_remakes_no_labels(copy_of_finished_liquids: Checkout) -> None:
    copy_of_finished_liquids.edit(LIQUIDS, "epochs: 40", "epochs: 41")
    planned = copy_of_finished_liquids.planned()
    assert (
        set(planned) == {"liquid_training", "liquid_training_figure", "liquid_model", "scan", "tuning"} | AFTER_TUNING
    )


def test_a_round_of_reference_data_adds_its_own_frames(copy_of_finished_liquids: Checkout) -> None:
    """It leaves the frames and labels that are there, and a second one leaves the first."""
    study, model = copy_of_finished_liquids, "results/minimal_liquids/models/tiny"
    study.edit(
        LIQUIDS, "    reference:\n", "    reference:\n      rounds: 1\n      round_ps: 0.9\n      round_frames: 2\n"
    )
    planned = study.planned(f"{model}/training/mace.model")
    assert planned == {"liquid_round": 1, "reference_labels": 1, "liquid_training": 2}
    done = study.snakemake("--cores", "2", f"{model}/training/mace.model")
    assert done.returncode == 0, done.stderr
    folder = study.root / model
    runs = pd.read_csv(folder / "reference/DMC_298K~1_runs.csv")
    # So small a model may lose its molecules before a frame is left that the reference takes for them.
    frames = read_labelled(folder / "labels/DMC_298K~1.xyz", Keys())
    ledger = pd.read_csv(folder / "labels/DMC_298K~1_ledger.csv")
    assert runs["density_g_cm3"].round(6).tolist() == [0.8, 1.1] and len(ledger) == runs["frames"].sum() > 0
    assert {frame.info["origin"] for frame in frames} <= {"round"}
    used = [ase.io.read(folder / f"training/{part}.xyz", ":") for part in ("train", "validation")]
    before = ase.io.read(folder / "labels/DMC_298K.xyz", ":")
    assert sum(map(len, used)) == len(frames) + len(before)
    study.edit(LIQUIDS, "rounds: 1", "rounds: 2")
    again = study.planned(f"{model}/training/mace.model")
    assert again == {"liquid_round": 1, "reference_labels": 1, "liquid_training": 2}


def test_a_reweighted_scan_uses_the_runs_that_are_there(copy_of_finished_liquids: Checkout) -> None:
    study = copy_of_finished_liquids
    reweighted = "scan:\n  method: reweighted\n  start_a1: [0.8]\n  max_runs: 3\n  a1: [0.2, 0.8]"
    study.edit(LIQUIDS, "scan:\n  a1: [0.2, 0.8]", reweighted)
    assert {"scan", "tuning"} <= set(study.planned())
    folder = study.root / "results/minimal_liquids/models/tiny"
    done = study.snakemake("--cores", "1", "results/minimal_liquids/models/tiny/tuning/tuning.csv")
    assert done.returncode == 0, done.stderr
    assert "scan: 2 of 2 runs are finished" in (folder / "logs/scan.log").read_text()
    (row,) = pd.read_csv(folder / "tuning/tuning.csv").itertuples()
    assert row.method == "reweighted"
    assert row.status in ("unresolved", "unreachable")
    assert row.reason
    assert len(pd.read_csv(folder / "scan/runs.csv")) <= 3
    assert len(pd.read_csv(folder / "tuning/curve.csv")) > 10
