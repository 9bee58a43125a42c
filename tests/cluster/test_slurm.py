"""The workflow on a real Slurm, which tests/cluster/slurm runs on this machine: about six minutes on two cores."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import ase.io
import numpy as np
import pytest

from physembed.config import GaffMD
from physembed.molecules.gaff_md import GaffRun
from physembed.molecules.reading import load_topology
from tests.workflow.conftest import Checkout, copy_repository

pytestmark = pytest.mark.cluster

CLUSTER = Path(__file__).parent / "slurm"
CONFIG = "tests/cluster/cluster.yaml"
# Targets go after these, of which the last takes one value.
ON_SLURM = [
    "--default-resources", "slurm_partition=fake", "--workflow-profile", "profiles/slurm", "--max-threads", "2",
    "--slurm-status-command", "squeue", "--slurm-init-seconds-before-status-checks", "6",
]  # fmt: skip
TOPOLOGY = "results/cluster/methanol/topology/topology.prmtop"
TRAJECTORY = "results/cluster/methanol/gaff_md/trajectory.xyz"
FRAME_INTERVAL = 50_000
"""Steps, of 1 fs, from frame to frame of the long run."""
PATIENCE_SECONDS = 600


@dataclass(frozen=True)
class Request:
    """What a job asks of Slurm."""

    cpus: int
    memory_mb: int
    minutes: int
    gpus: str
    """As `1` or `model:1`; empty without a GPU."""


@dataclass(frozen=True)
class SlurmJob:
    """A job as reported by Slurm; the plugin's comment contains its rule and wildcards."""

    number: int
    comment: str
    state: str
    log: Path
    asked: Request

    @classmethod
    def read(cls, line: str) -> SlurmJob:
        """From a line of `scontrol show job --oneliner`."""
        value = dict(re.findall(r"(\S+?)=(\S*)", line))
        days, hours, minutes = re.fullmatch(r"(?:(\d+)-)?(\d+):(\d+):00", value["TimeLimit"]).groups(default="0")
        memory, unit = re.fullmatch(r"(\d+)([MG])", value["MinMemoryNode"]).groups()
        asked = Request(
            cpus=int(value["NumCPUs"]),
            memory_mb=int(memory) * (1024 if unit == "G" else 1),
            minutes=(int(days) * 24 + int(hours)) * 60 + int(minutes),
            gpus=re.sub(r"^gres:gpu:|.*:0$", "", value.get("TresPerJob", "")),
        )
        return cls(int(value["JobId"]), value["Comment"], value["JobState"], Path(value["StdOut"]), asked)


def jobs(study: Checkout, rule: str = "") -> list[SlurmJob]:
    """The study's jobs that Slurm knows, ended ones too, of one rule or of all, in the order of submission."""
    lines = subprocess.run(["scontrol", "show", "job", "--oneliner"], check=True, text=True, capture_output=True).stdout
    known = [SlurmJob.read(line) for line in lines.splitlines() if f" WorkDir={study.root} " in line]
    return [job for job in known if job.comment.startswith(f"rule_{rule}")]


@contextmanager
def begun(study: Checkout, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """A call of Snakemake that submits to Slurm; its output is added to snakemake.log in the copy."""
    environment = os.environ | {"PYTHONPATH": str(study.root), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "snakemake", "--configfile", study.config, *ON_SLURM, *arguments]
    with (study.root / "snakemake.log").open("ab") as log:
        process = subprocess.Popen(command, cwd=study.root, env=environment, stdout=log, stderr=log)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def said(study: Checkout) -> str:
    """The end of what Snakemake said of this study."""
    return (study.root / "snakemake.log").read_text()[-6000:]


def wait(study: Checkout, process: subprocess.Popen[bytes], what: str, happened: Callable[[], bool]) -> None:
    """Wait until something has happened, which it has to while this call of Snakemake runs."""
    end = time.monotonic() + PATIENCE_SECONDS
    while not happened():
        assert process.poll() is None, f"Snakemake ended before {what}:\n{said(study)}"
        assert time.monotonic() < end, f"waited in vain until {what}:\n{said(study)}\n{jobs(study)}"
        time.sleep(0.5)


def run(study: Checkout, *targets: str) -> None:
    """A call of Snakemake that has to end well."""
    with begun(study, *targets) as process:
        assert process.wait(PATIENCE_SECONDS) == 0, said(study)


def scancel(study: Checkout, job: SlurmJob) -> None:
    subprocess.run(["scancel", str(job.number)], check=True)
    end = time.monotonic() + 60
    while next(each for each in jobs(study) if each.number == job.number).state != "CANCELLED":
        assert time.monotonic() < end, f"job {job.number} was not cancelled"
        time.sleep(0.5)


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    started = subprocess.run([CLUSTER, "start"], text=True, capture_output=True)
    if started.returncode == 77:
        pytest.skip(started.stderr.strip())
    assert started.returncode == 0, started.stdout + started.stderr
    yield
    subprocess.run([CLUSTER, "stop"], check=True)


@pytest.fixture(scope="module", autouse=True)
def whole_study(cluster: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], Checkout]]:
    """The whole study, begun before the first test, beside whose jobs it runs; calling this waits for its end."""
    study = copy_repository(tmp_path_factory.mktemp("whole"), CONFIG)
    # The model of the GPU, which the profile has as a comment.
    profile = study.root / "profiles/slurm/profile.v9+.yaml"
    uncommented = re.sub(r"^# (?=set-resources:|  )", "", profile.read_text(), flags=re.MULTILINE)
    profile.write_text(uncommented.replace("h100", "fake"))
    with begun(study) as process:

        def finished() -> Checkout:
            assert process.wait(2 * PATIENCE_SECONDS) == 0, said(study)
            return study

        yield finished


def make_long(study: Checkout, seconds: float, scratch: Path) -> int:
    """Let the study's GAFF MD last so many seconds of its one core on this machine; the number of its frames."""
    structure = load_topology(study.root / TOPOLOGY, (study.root / TOPOLOGY).with_suffix(".inpcrd"))
    trial = GaffMD(equilibration_ps=0, duration_ps=1000, frame_interval_steps=FRAME_INTERVAL)
    took = []
    for attempt in range(3):
        began = time.process_time()
        written = len(GaffRun(structure, trial, 1, scratch / str(attempt)).run())
        took.append(time.process_time() - began)
    # The shortest: other processes only make it longer.
    frames = round(written / min(took) * seconds)
    study.edit(CONFIG, "duration_ps: 2\n", f"duration_ps: {frames * FRAME_INTERVAL / 1000}\n")
    study.edit(CONFIG, "frame_interval_steps: 20\n", f"frame_interval_steps: {FRAME_INTERVAL}\n")
    return frames


def test_job_that_is_cut_off_cancelled_and_orphaned_goes_on(tmp_path: Path) -> None:
    study = copy_repository(tmp_path / "study", CONFIG)
    run(study, TOPOLOGY)
    # Longer than the lifetime of a one-minute job: Slurm checks limits every 30 s, and SIGKILL follows after 5 s.
    frames = make_long(study, 130, tmp_path)
    outputs = [(study.root / TRAJECTORY).parent / name for name in ("trajectory.xyz", "bond_lengths.csv")]
    log = study.root / "results/cluster/methanol/logs/gaff_md.log"

    def half_written() -> None:
        """As if the job were at writing its results."""
        for path in outputs:
            path.write_text("half")

    def saved() -> float:
        files = list((study.root / "results/cluster/restart/gaff_md/methanol").glob("*/gaff_md.npz"))
        assert len(files) <= 1, "the restart files of another run would not be gone on from"
        return files[0].stat().st_mtime if files else 0

    def state(attempt: int) -> str:
        known = jobs(study, "gaff_md")
        return known[attempt].state if len(known) > attempt else "not submitted"

    resumed = []

    def reach_next_save(process: subprocess.Popen[bytes], attempt: int) -> SlurmJob:
        """Wait until the job of this attempt has resumed and saved its state."""
        wait(study, process, f"attempt {attempt} ran", lambda: state(attempt) == "RUNNING")
        before = saved()
        wait(study, process, f"attempt {attempt} saved", lambda: saved() > before)
        # Its own log: a rerun job starts a new log.
        resumed.append(int(re.search(r"GAFF MD: resuming at (\d+)/", log.read_text())[1]))
        return jobs(study, "gaff_md")[attempt]

    # Looks at the job 25, 60 and 105 s after its start.
    patient = ["--slurm-init-seconds-before-status-checks", "25"]
    with begun(study, TRAJECTORY, *patient, "--set-resources", "gaff_md:runtime=1") as snakemake:
        wait(study, snakemake, "the time limit", lambda: state(0) == "TIMEOUT")
        assert saved()
        # Submitted again without another call, because of the profile's `retries`.
        orphan = reach_next_save(snakemake, 1)
        half_written()
        snakemake.kill()
        snakemake.wait()
    assert orphan.asked.minutes == 1
    assert state(1) == "RUNNING"

    # As docs/how-to/clusters.md says.
    scancel(study, orphan)
    refused = study.snakemake(*ON_SLURM, TRAJECTORY)
    assert refused.returncode != 0
    assert "--unlock" in refused.stdout + refused.stderr
    assert study.snakemake("--unlock").returncode == 0
    assert study.planned(*ON_SLURM, TRAJECTORY) == {"gaff_md": 1}
    with begun(study, TRAJECTORY) as snakemake:
        cancelled = reach_next_save(snakemake, 2)
        half_written()
        scancel(study, cancelled)
        wait(study, snakemake, "the job was submitted again", lambda: state(3) != "not submitted")
        assert not any(path.exists() for path in outputs)
        assert saved()
        assert snakemake.wait(PATIENCE_SECONDS) == 0, said(study)

    attempts = jobs(study, "gaff_md")
    assert [job.state for job in attempts] == ["TIMEOUT", "CANCELLED", "CANCELLED", "COMPLETED"]
    assert [job.comment for job in jobs(study) if job not in attempts] == [
        "rule_molecule_wildcards_cluster_methanol",
        "rule_gaff_topology_wildcards_cluster_methanol",
    ]
    resumed.append(int(re.search(r"GAFF MD: resuming at (\d+)/", log.read_text())[1]))
    assert 0 < resumed[0] < resumed[1] < resumed[2] < frames
    times = [frame.info["time_fs"] for frame in ase.io.read(study.root / TRAJECTORY, ":")]
    np.testing.assert_allclose(times, FRAME_INTERVAL * np.arange(1.0, frames + 1))
    # Slurm's logs of the jobs that failed are kept, where docs/how-to/clusters.md says.
    of_slurm = study.root / ".snakemake/slurm_logs/rule_gaff_md/cluster_methanol"
    kept = {job.number: job.log for job in attempts if job.log.exists()}
    assert kept.keys() >= {attempts[0].number, cancelled.number}
    assert all(path == of_slurm / f"{number}.log" for number, path in kept.items())
    assert attempts[-1].number not in kept
    assert "DUE TO TIME LIMIT" in kept[attempts[0].number].read_text()


@dataclass(frozen=True)
class Declared:
    """What a rule declares for a job, as a dry run shows it."""

    request: Request
    log: Path


def declared(study: Checkout) -> dict[str, Declared]:
    """Every job of the study, by the comment that the plugin gives it."""
    shown = study.snakemake("--dry-run", "--forceall", "--cores", "all", *ON_SLURM)
    assert shown.returncode == 0, shown.stderr
    found = {}
    for block in re.split(r"^(?=rule )", shown.stdout, flags=re.MULTILINE)[1:]:
        rule = block.split(":")[0].removeprefix("rule ")
        of_rule = dict(re.findall(r"^ +(\w+): (.*)$", block.split("\n\n")[0], re.MULTILINE))
        if "wildcards" not in of_rule:
            continue  # `all`, which runs nothing
        wildcards = [item.split("=")[1] for item in of_rule["wildcards"].split(", ")]
        resources = dict(item.split("=") for item in of_rule["resources"].split(", "))
        model, gpus = resources.get("gpu_model"), int(resources.get("gpu", 0))
        request = Request(
            cpus=int(of_rule.get("threads", 1)),
            memory_mb=int(resources["mem_mb"]),
            minutes=int(resources["runtime"]),
            gpus=(f"{model}:{gpus}" if model else str(gpus)) if gpus else "",
        )
        found[f"rule_{rule}_wildcards_{'_'.join(wildcards)}"] = Declared(request, Path(of_rule["log"]))
    return found


def test_whole_study_asks_for_what_the_rules_declare(whole_study: Callable[[], Checkout]) -> None:
    study = whole_study()
    assert (study.root / "results/cluster/summary.html").exists()
    ran, rules = jobs(study), declared(study)
    assert {job.state for job in ran} == {"COMPLETED"}
    assert {job.comment: job.asked for job in ran} == {name: rule.request for name, rule in rules.items()}
    assert len(ran) == len(rules)
    # Not all alike, or this would show little.
    for name in ("cpus", "memory_mb", "minutes", "gpus"):
        assert len({getattr(job.asked, name) for job in ran}) > 1, name
    assert {(job.comment.split("_")[1], job.asked.gpus) for job in ran if job.asked.gpus} == {("training", "fake:1")}


def test_logs_of_the_whole_study_lie_where_the_documentation_says(whole_study: Callable[[], Checkout]) -> None:
    study = whole_study()
    logs = {rule.log for rule in declared(study).values()}
    assert {log.parent for log in logs} == {Path("results/cluster/methanol/logs"), Path("results/cluster/logs")}
    assert all((study.root / log).is_file() for log in logs)
    assert not list((study.root / ".snakemake/slurm_logs").rglob("*.log"))
