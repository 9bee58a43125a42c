"""The plan of a study: jobs, reasons, hours and memory of each stage, as a table."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from graphlib import TopologicalSorter

from physembed.plan.costs import Case, Cost
from physembed.plan.history import Estimate, Measurement, estimate
from physembed.plan.sizes import Sizes
from physembed.progress import format_duration
from physembed.study import Study

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
"""What Snakemake says of a job and what the plan makes of it; of several the first counts."""
CODE_VALUE = re.compile(r"'[0-9a-f]{16}'")
"""The `code` parameter of a rule, among changed parameters."""


@dataclass(frozen=True)
class PlannedJob:
    """A job that Snakemake would run."""

    rule: str
    wildcards: dict[str, str]
    reason: str
    """Snakemake's words."""
    threads: int
    mem_mb: int
    gpu: bool
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


@dataclass(frozen=True)
class CostedJob:
    """A planned job and what it would take; no estimate if the cost model does not know its rule."""

    job: PlannedJob
    estimate: Estimate | None

    @property
    def wall_seconds(self) -> float:
        """How long it would last; the work of a job on the CPU is spread over its threads."""
        if self.estimate is None:
            return 0.0
        return self.estimate.seconds / (1 if self.job.gpu else self.job.threads)

    @property
    def cpu_hours(self) -> float:
        """Hours of the cores that it holds."""
        return self.wall_seconds * self.job.threads / 3600

    @property
    def gpu_hours(self) -> float:
        """Hours of a GPU."""
        return self.wall_seconds / 3600 if self.job.gpu else 0.0


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
        """The jobs that follow each other for the longest time: what remains however many machines there are."""
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


def make_plan(
    jobs: Sequence[PlannedJob],
    study: Study,
    sizes: Sizes,
    costs: Mapping[str, Cost],
    measured: Sequence[Measurement],
) -> Plan:
    """Estimate every job: from earlier jobs of similar size where there are some, else from the cost model.

    Stages come in the order of `costs`, those that it does not know last.
    """
    by_rule: dict[str, list[Measurement]] = {}
    for item in measured:
        by_rule.setdefault(item.rule, []).append(item)
    order = {rule: number for number, rule in enumerate(costs)}
    costed = []
    for job in sorted(jobs, key=lambda job: (order.get(job.rule, len(order)), job.rule, job.outputs)):
        cost = costs.get(job.rule)
        case = Case(study, sizes, job.wildcards, job.gpu)
        found = None if cost is None else estimate(job.rule, case, cost, by_rule.get(job.rule, []))
        costed.append(CostedJob(job, found))
    return Plan(costed)


def short_reason(reason: str) -> str:
    """Why a job runs, in two words."""
    for words, short in REASONS:
        if words in reason:
            if short == "settings changed":
                change = reason.split(words, 1)[1]
                code = CODE_VALUE.search(change) is not None
                return "code changed" if code and "{" not in change else short
            return short
    return "not said"


def as_text(plan: Plan) -> str:
    """The plan as a table, with totals and what they rest on."""
    if not plan.jobs:
        return "Nothing to be done: all results are there and up to date."
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
    chain = plan.longest_chain()
    seconds = sum(job.wall_seconds for job in chain)
    stages = " -> ".join(dict.fromkeys(job.job.rule for job in chain))
    notes = [f"Longest chain of jobs: {format_duration(seconds)} ({stages})."]
    if any(job.job.gpu for job in plan.jobs):
        notes.append("GPU hours are of an NVIDIA H200; stages with device `auto` are planned for a GPU.")
    if unknown := sorted({job.job.rule for job in plan.jobs if job.estimate is None}):
        notes.append(f"Not in the totals, because the cost model does not know them: {', '.join(unknown)}.")
    return "\n".join([*lines, "", *notes])


def _row(rule: str, jobs: list[CostedJob]) -> tuple[str, ...]:
    reasons = Counter(short_reason(job.job.reason) for job in jobs)
    why = ", ".join(reason if len(reasons) == 1 else f"{reason} ({count})" for reason, count in reasons.most_common())
    sources = Counter(job.estimate.source for job in jobs if job.estimate is not None)
    source = ", ".join(name if len(sources) == 1 else f"{name} ({count})" for name, count in sources.most_common())
    memory = f"{max(job.job.mem_mb for job in jobs) / 1000:.1f} GB"
    return (rule, str(len(jobs)), why, *_hours(jobs), memory, source or "?")


def _total(jobs: list[CostedJob]) -> tuple[str, ...]:
    return ("total", str(len(jobs)), "", *_hours(jobs), f"{max(job.job.mem_mb for job in jobs) / 1000:.1f} GB", "")


def _hours(jobs: list[CostedJob]) -> tuple[str, str]:
    """CPU and GPU hours of jobs."""
    if all(job.estimate is None for job in jobs):
        return "?", "?" if any(job.job.gpu for job in jobs) else "-"
    gpu = sum(job.gpu_hours for job in jobs)
    return _number(sum(job.cpu_hours for job in jobs)), _number(gpu) if gpu else "-"


def _number(hours: float) -> str:
    """Hours with two digits that count, as far as hundredths go."""
    if hours < 0.005:
        return "<0.01"
    return f"{hours:.{2 if hours < 1 else 1 if hours < 10 else 0}f}"
