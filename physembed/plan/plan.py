"""The plan of a study: jobs, reasons, hours and memory of each stage, as a table."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from graphlib import TopologicalSorter

from physembed import stages
from physembed.plan.numbers import Point, key, seconds_at
from physembed.plan.sizes import Sizes
from physembed.plan.work import WORK, Case
from physembed.progress import format_duration
from physembed.stages.values import named
from physembed.study import Study

ORDER = (
    "molecule", "gaff_topology", "given_topology", "gaff_md", "frames", "starts", "bond_sampling", "labels",
    "pretraining_frames", "pretraining", "given_model", "conformations", "weights", "training", "learning",
    "round_training", "committee", "evaluation", "stability", "force_metrics", "before_collapse", "survival",
    "survival_against_labels",
    "figures", "metric_figures", "tables", "box", "gaff_npt", "reference_frames", "liquid_round",
    "reference_labels", "liquid_training", "liquid_model", "scan", "tuning", "npt", "density",
    "corrected_model", "certificate", "viscosity_run", "viscosity", "structure", "volume_scan",
)  # fmt: skip
"""Stages in the order of the table; those of the report come last."""
REASONS = (
    ("Forced execution", "forced"),
    ("Incomplete output files", "was interrupted"),
    ("Missing output files", "missing output"),
    ("Params have changed", "settings changed"),
    ("Code has changed", "code changed"),
    ("Software environment definition has changed", "environment changed"),
    ("Updated input files", "newer input"),
    ("Set of input files has changed", "other inputs"),
    ("Input files updated by another job", "follows another"),
)
"""Snakemake's reasons for a job and their short forms in the plan; if there are several, the first counts."""
CODE_VALUE = re.compile(r"'[0-9a-f]{16}'")
"""The `code` parameter of a rule, among changed parameters."""


@dataclass(frozen=True)
class PlannedJob:
    """A job that Snakemake would run."""

    rule: str
    wildcards: dict[str, str]
    reason: str
    """The reason given by Snakemake."""
    threads: int
    mem_mb: int
    gpu: bool
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


@dataclass(frozen=True)
class Estimate:
    """Estimated cost of a job."""

    seconds: float
    """Seconds of a CPU core, or of a GPU; 0 for a job that is short or not measured."""
    source: str
    """`measured`, `short` (seconds or minutes, not included in totals) or `not measured`."""
    gpu: bool = False
    """Whether the number was measured on a GPU."""


@dataclass(frozen=True)
class CostedJob:
    """A planned job with its estimated cost."""

    job: PlannedJob
    estimate: Estimate

    @property
    def wall_seconds(self) -> float:
        """Estimated duration; the work of a CPU job is divided by its threads."""
        return self.estimate.seconds / (1 if self.estimate.gpu else self.job.threads)

    @property
    def cpu_hours(self) -> float:
        """Hours of the cores that it occupies."""
        return self.wall_seconds * self.job.threads / 3600

    @property
    def gpu_hours(self) -> float:
        """Hours of a GPU."""
        return self.wall_seconds / 3600 if self.estimate.gpu else 0.0


@dataclass(frozen=True)
class Plan:
    """All jobs, stage by stage."""

    jobs: list[CostedJob]

    def stages(self) -> dict[str, list[CostedJob]]:
        """Jobs by rule."""
        stages: dict[str, list[CostedJob]] = {}
        for job in self.jobs:
            stages.setdefault(job.job.rule, []).append(job)
        return stages

    def longest_chain(self) -> list[CostedJob]:
        """The chain of dependent jobs with the longest duration: the time with an unlimited number of machines."""
        makers = {path: index for index, job in enumerate(self.jobs) for path in job.job.outputs}
        before = {
            index: {makers[path] for path in job.job.inputs if path in makers} for index, job in enumerate(self.jobs)
        }
        ends: dict[int, float] = {}
        last: dict[int, int | None] = {}
        for index in TopologicalSorter(before).static_order():
            last[index] = max(before[index], key=ends.__getitem__, default=None)
            began = 0.0 if last[index] is None else ends[last[index]]  # type: ignore[index]
            ends[index] = began + self.jobs[index].wall_seconds
        chain: list[CostedJob] = []
        step = max(ends, key=ends.__getitem__, default=None)
        while step is not None:
            chain.append(self.jobs[step])
            step = last[step]
        return chain[::-1]


def trials_of(jobs: Sequence[PlannedJob], study: Study, sizes: Sizes) -> dict[str, tuple[str, str]]:
    """The trials that the jobs need, each with its liquid model or "", by the key of their cost."""
    wanted = {}
    for job in jobs:
        if job.rule in WORK and WORK[job.rule].amount(_case(job, study, sizes)) > 0:
            wanted[key(study, *_trial(job))] = _trial(job)
    return wanted


def make_plan(jobs: Sequence[PlannedJob], study: Study, sizes: Sizes, numbers: Mapping[str, Sequence[Point]]) -> Plan:
    """Estimate every long job: its work times the cost measured by a trial.

    Stages are sorted in the order of the workflow.
    """
    order = {rule: number for number, rule in enumerate(ORDER)}
    ordered = sorted(jobs, key=lambda job: (order.get(job.rule, len(order)), job.rule, job.outputs))
    return Plan([CostedJob(job, _estimate(job, study, sizes, numbers)) for job in ordered])


def _trial(job: PlannedJob) -> tuple[str, str]:
    """The trial of a job, and its liquid model (empty for molecules)."""
    trial = WORK[job.rule].trial
    return trial, job.wildcards["model"] if trial.startswith("liquid_") else ""


def _case(job: PlannedJob, study: Study, sizes: Sizes) -> Case:
    function = getattr(stages, job.rule)
    return Case(study, sizes, job.wildcards, function(study, **named(function, job.wildcards)))


def _estimate(job: PlannedJob, study: Study, sizes: Sizes, numbers: Mapping[str, Sequence[Point]]) -> Estimate:
    work = WORK.get(job.rule)
    if work is None:
        return Estimate(0.0, "short")
    case = _case(job, study, sizes)
    amount = work.amount(case)
    if amount == 0:
        return Estimate(0.0, "short")
    points = numbers.get(key(study, *_trial(job)))
    if not points:
        return Estimate(0.0, "not measured")
    return Estimate(amount * seconds_at(points, work.atoms(case)), "measured", points[0].gpu)


def short_reason(reason: str) -> str:
    """Short form of the reason for a job."""
    for words, short in REASONS:
        if words in reason:
            if short == "settings changed":
                change = reason.split(words, 1)[1]
                code = CODE_VALUE.search(change) is not None
                return "code changed" if code and "{" not in change else short
            return short
    return "not said"


def as_text(plan: Plan) -> str:
    """The plan as a table, with totals and notes."""
    if not plan.jobs:
        return "Nothing to be done: all results exist and are up to date."
    header = ("stage", "jobs", "why", "CPU h", "GPU h", "memory", "estimate")
    rows = [header, *(_row(rule, jobs) for rule, jobs in plan.stages().items()), _total(plan.jobs)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(header))]
    left = {0, 2, 6}
    lines = [
        "  ".join(
            cell.ljust(width) if column in left else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    sources = {job.estimate.source for job in plan.jobs}
    notes = []
    if "measured" in sources:
        chain = plan.longest_chain()
        seconds = sum(job.wall_seconds for job in chain)
        names = " -> ".join(dict.fromkeys(job.job.rule for job in chain))
        notes.append(f"Longest chain of jobs: {format_duration(seconds)} ({names}).")
    if "not measured" in sources:
        notes.append("Not measured yet: add --calibrate (make plan CALIBRATE=1), which runs trials of minutes here.")
    if "short" in sources:
        notes.append("Short jobs take seconds, or a few minutes, and are not counted.")
    return "\n".join([*lines, "", *notes])


def _row(rule: str, jobs: list[CostedJob]) -> tuple[str, ...]:
    reasons = Counter(short_reason(job.job.reason) for job in jobs)
    why = ", ".join(reason if len(reasons) == 1 else f"{reason} ({count})" for reason, count in reasons.most_common())
    sources = Counter(job.estimate.source for job in jobs)
    source = ", ".join(name if len(sources) == 1 else f"{name} ({count})" for name, count in sources.most_common())
    memory = f"{max(job.job.mem_mb for job in jobs) / 1000:.1f} GB"
    return (rule, str(len(jobs)), why, *_hours(jobs), memory, source)


def _total(jobs: list[CostedJob]) -> tuple[str, ...]:
    return ("total", str(len(jobs)), "", *_hours(jobs), f"{max(job.job.mem_mb for job in jobs) / 1000:.1f} GB", "")


def _hours(jobs: list[CostedJob]) -> tuple[str, str]:
    """CPU and GPU hours of jobs."""
    sources = {job.estimate.source for job in jobs}
    if sources == {"short"}:
        return "-", "-"
    if "not measured" in sources:
        return "?", "?" if any(job.job.gpu for job in jobs) else "-"
    gpu = sum(job.gpu_hours for job in jobs)
    return _number(sum(job.cpu_hours for job in jobs)), _number(gpu) if gpu else "-"


def _number(hours: float) -> str:
    """Hours with two significant digits, at most two decimals."""
    if hours < 0.005:
        return "<0.01"
    return f"{hours:.{2 if hours < 1 else 1 if hours < 10 else 0}f}"
