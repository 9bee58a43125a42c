"""What jobs of earlier runs took: benchmark files, with the settings that stand in the provenance beside the results.

A benchmark holds the last start of a job: one that was killed and went on from its restart files shows only its
last part, and a stability run whose replicas have all collapsed ended early.
"""

from __future__ import annotations

import csv
import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

from physembed.config.base import Section
from physembed.plan.costs import Case, Cost
from physembed.plan.sizes import Sizes, atoms_of_inpcrd
from physembed.study import Study

SIMILAR = 10.0
"""An earlier job serves as a measure of one that is up to so many times longer or shorter."""
SAME = 1.02
"""Work within this factor counts as the same."""


@dataclass(frozen=True)
class RuleFiles:
    """Where a rule writes its benchmark and its provenance: paths with wildcards in braces, as in the rule."""

    benchmark: str
    provenance: str


@dataclass(frozen=True)
class Measurement:
    """A finished job of an earlier run."""

    rule: str
    gpu: bool
    model_seconds: float
    """What the cost model says of it."""
    seconds: float
    """What it took: of a CPU core, or of the GPU."""


@dataclass(frozen=True)
class Estimate:
    """What a job would take."""

    seconds: float
    """Seconds of a CPU core, or of the GPU."""
    source: str
    """`measured`, `scaled` (an earlier job of similar size), or `model`."""


def estimate(rule: str, case: Case, cost: Cost, measured: Iterable[Measurement]) -> Estimate:
    """Seconds of a job: from the earlier jobs of this rule that are nearest in work, or from the cost model."""
    expected = cost(case)
    similar = [
        (distance, item)
        for item in measured
        if item.rule == rule
        and item.gpu == case.gpu
        and (distance := abs(math.log(expected / item.model_seconds))) <= math.log(SIMILAR)
    ]
    if not similar:
        return Estimate(expected, "model")
    least = min(distance for distance, _ in similar)
    nearest = [item for distance, item in similar if distance <= least + math.log(SAME)]
    ratio = median(item.seconds / item.model_seconds for item in nearest)
    return Estimate(expected * ratio, "measured" if least <= math.log(SAME) else "scaled")


def measurements(root: Path, files: Mapping[str, RuleFiles], study: Study, sizes: Sizes, costs: Mapping[str, Cost],
                 ) -> list[Measurement]:  # fmt: skip
    """All finished jobs below `root` (the folder that holds `results/`) whose work the cost model can tell.

    Left out are jobs whose provenance is not theirs, whose device is not known, or whose molecule, liquid, arm or
    model the study does not know well enough to say what the work was.
    """
    found = []
    for rule, paths in files.items():
        if rule not in costs:
            continue
        pattern = _pattern(paths.benchmark)
        for benchmark in sorted(root.glob(re.sub(r"\{\w+\}", "*", paths.benchmark))):
            match = pattern.fullmatch(benchmark.relative_to(root).as_posix())
            if match is None:
                continue
            wildcards = match.groupdict()
            provenance = root / paths.provenance.format(**wildcards)
            if not provenance.is_file():
                continue
            record = json.loads(provenance.read_text())
            gpu = used_gpu(record)
            if record["stage"] != rule or gpu is None:
                continue
            case = _past_case(root, wildcards, record["settings"], study, sizes, gpu)
            seconds = benchmark_seconds(benchmark, gpu=gpu)
            if case is not None and seconds is not None:
                found.append(Measurement(rule, gpu, costs[rule](case), seconds))
    return found


def _pattern(template: str) -> re.Pattern[str]:
    """A template's paths; a wildcard that stands twice must have one value."""
    parts = re.split(r"\{(\w+)\}", template)
    text = re.escape(parts[0])
    for index in range(1, len(parts), 2):
        name = parts[index]
        text += f"(?P={name})" if name in parts[1:index:2] else f"(?P<{name}>[^/]+)"
        text += re.escape(parts[index + 1])
    return re.compile(text)


def benchmark_seconds(path: str | Path, *, gpu: bool) -> float | None:
    """Core seconds of a job, or wall seconds for one on a GPU; None for a file without a time.

    Snakemake looks at a job's CPU time only now and then, so that the mean load over the whole time tells more.
    """
    with Path(path).open() as file:
        row = next(csv.DictReader(file, delimiter="\t"), None)
    if row is None:
        return None
    wall, load, cpu = (_number(row.get(key)) for key in ("s", "mean_load", "cpu_time"))
    if wall is None or gpu:
        return wall
    times = [time for time in (wall * load / 100 if load else None, cpu) if time]
    return max(times, default=wall)


def _number(text: str | None) -> float | None:
    """A cell's number; Snakemake writes `-` or `NA` for what it could not see."""
    return None if text in (None, "", "-", "NA") else float(text)


def used_gpu(record: Mapping[str, Any]) -> bool | None:
    """Whether a job ran on a GPU; None where its record does not tell."""
    sections = [record["settings"], *record["settings"].values()]
    devices = {section["device"] for section in sections if isinstance(section, dict) and "device" in section}
    if devices <= {"cpu"}:
        return False
    if devices == {"cuda"}:
        return True
    host = record.get("host", {})
    return host["gpu"] is not None if "gpu" in host else None


def overlaid(section: Any, values: Mapping[str, Any]) -> Any:
    """A section of the configuration with other values, those of its own sections included; unknown keys count not."""
    changed = {}
    for key, value in values.items():
        present = getattr(section, key) if key in type(section).model_fields else None
        if key in type(section).model_fields and isinstance(value, dict) == isinstance(present, Section | dict):
            changed[key] = overlaid(present, value) if isinstance(present, Section) else value
    return section.model_copy(update=changed)


def _past_case(
    root: Path, wildcards: dict[str, str], settings: dict[str, Any], study: Study, sizes: Sizes, gpu: bool
) -> Case | None:
    """An earlier job as the cost model sees it, or None if something that it treated is not known."""
    folder = root / "results" / wildcards["study"]
    values = dict(settings)
    if molecule := wildcards.get("molecule"):
        known = _atoms(folder / molecule / "topology/topology.inpcrd", sizes.molecules.get(molecule))
        if known is None:
            return None
        sizes = sizes.with_molecule(molecule, known)
        for name in ("provenance.json", "starts_provenance.json"):
            path = folder / molecule / "frames" / name
            if path.is_file():
                frames = json.loads(path.read_text())["settings"]["frames"]
                values["frames"] = values.get("frames", {}) | frames
    if (liquid := wildcards.get("liquid")) and "model" not in wildcards:
        known = _atoms(folder / "liquids" / liquid / "box/topology.inpcrd", sizes.liquids.get(liquid))
        if known is None:
            return None
        sizes = sizes.with_liquid(liquid, known)
    if model := wildcards.get("model"):
        if model not in {item.name for item in study.models} or (liquid and liquid not in sizes.liquids):
            return None
        models = [
            replace(item, settings=overlaid(item.settings, values)) if item.name == model else item
            for item in study.models
        ]
        study = replace(study, models=models)
        # The training of a model of liquids is no section of the configuration but part of the model.
        values.pop("training", None)
    named = {wildcards.get("arm"), wildcards.get("labelled")} - {None, "validation"}
    if not named <= set(study.config.arms):
        return None
    return Case(replace(study, config=overlaid(study.config, values)), sizes, wildcards, gpu)


def _atoms(path: Path, known: int | None) -> int | None:
    return atoms_of_inpcrd(path) if path.is_file() else known
