"""Settings of molecules and liquids that are valid by themselves but conflict with others: key, value and problem."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from ase.data import chemical_symbols

from physembed.config.liquids import LiquidModel, Structure
from physembed.config.root import Config
from physembed.durations import frame_count


def name_clashes(config: Config) -> Iterator[tuple[str, Any, str]]:
    """Yield key, value and problem of names of molecules, arms and seeds that are missing, repeated or reserved."""
    if config.molecules.names == [] and not config.liquids.models:
        yield "molecules.names", [], "with liquids.models empty as well there is nothing to run; fill one of the two"
    for key, values in (("training.seeds", config.training.seeds), ("molecules.names", config.molecules.names)):
        repeated = [value for value, count in Counter(values).items() if count > 1] if values != "all" else []
        for value in repeated:
            yield key, value, "is listed twice"
    if config.molecules.names != [] and not config.arms:
        yield "arms", {}, "names no training set; give one, or molecules.names: [] for a study of liquids only"
    folders: dict[str, str] = {}
    for name in config.arms:
        if name.lower() == "validation":
            yield "arms", name, "this name is reserved for the labels of the validation frames; choose another"
        if name.lower() in folders:
            yield "arms", name, f"differs from the arm {folders[name.lower()]!r} in capitalisation only"
        folders[name.lower()] = name


def molecule_clashes(config: Config) -> Iterator[tuple[str, Any, str]]:
    """Yield key, value and problem of each molecule setting that is valid by itself but conflicts with others."""
    md, frames, training, stability = config.gaff_md, config.frames, config.training, config.stability
    steps = round(md.duration_ps * 1000 / md.timestep_fs)
    wanted = frames.train + frames.validation + frames.starts
    frame_total = frame_count(md.duration_ps, md.timestep_fs, md.frame_interval_steps)
    if frame_total == 0:
        problem = f"the run has only {steps} steps (gaff_md.duration_ps {md.duration_ps:g}), so it writes no frame"
        yield "gaff_md.frame_interval_steps", md.frame_interval_steps, problem
    elif wanted > frame_total:
        others = f"with frames.validation {frames.validation} and frames.starts {frames.starts}"
        problem = f"{others} this requires {wanted} frames, but the GAFF run writes {frame_total}"
        yield "frames.train", frames.train, f"{problem}; lower one or raise gaff_md.duration_ps"
    if config.molecules.names != [] and config.metrics.clusters > frames.train:
        problem = f"more than there are training frames (frames.train {frames.train})"
        yield "metrics.clusters", config.metrics.clusters, problem
    if training.batch_size > frames.train:
        problem = f"larger than the training set (frames.train {frames.train})"
        yield "training.batch_size", training.batch_size, problem
    duration_fs = stability.duration_ps * 1000
    if duration_fs < stability.timestep_fs:
        problem = f"shorter than one step (stability.timestep_fs {stability.timestep_fs:g})"
        yield "stability.duration_ps", stability.duration_ps, problem
    elif stability.record_interval_fs > duration_fs:
        problem = f"longer than the run (stability.duration_ps {stability.duration_ps:g})"
        yield "stability.record_interval_fs", stability.record_interval_fs, problem
    ratio = stability.record_interval_fs / stability.timestep_fs
    if abs(ratio - round(ratio)) > 1e-6 * ratio:
        problem = f"must be a whole multiple of stability.timestep_fs {stability.timestep_fs:g}"
        yield "stability.record_interval_fs", stability.record_interval_fs, problem
    elif stability.check_interval_steps > round(ratio):
        problem = f"exceeds stability.record_interval_fs {stability.record_interval_fs:g} ({round(ratio)} steps)"
        yield "stability.check_interval_steps", stability.check_interval_steps, problem


def liquid_clashes(config: Config) -> Iterator[tuple[str, Any, str]]:
    """Yield key, value and problem of each liquid setting that is valid by itself but conflicts with others."""
    for name in config.liquids.models:
        if name not in config.models:
            known = ", ".join(config.models) or "none"
            yield "liquids.models", name, f"is not a key of `models` (known: {known})"
    for name, count in Counter(config.liquids.models).items():
        if count > 1:
            yield "liquids.models", name, "is listed twice"
    for name, model in config.models.items():
        yield from _model_clashes(f"models.{name}", model)
    scan, npt, viscosity = config.scan, config.npt, config.viscosity
    if len(set(scan.a1)) < 2:
        yield "scan.a1", scan.a1, "a scan needs at least two different points"
    if scan.method == "reweighted":
        for name in filter(config.models.get, config.liquids.models):
            runs = 1 + len(set(scan.start_a1)) * len(config.models[name].alphas)
            if runs > scan.max_runs:
                problem = (
                    f"the uncorrected run and one for each of scan.start_a1 and models.{name}.alphas are {runs} runs"
                )
                yield "scan.max_runs", scan.max_runs, f"{problem}; give at least {runs}"
    for key, section in (("npt", npt), ("scan", scan)):
        steps = section.duration_ps * 1000 / npt.record_interval_fs
        if steps < 10:
            problem = f"has {steps:.3g} records (npt.record_interval_fs {npt.record_interval_fs:g}); give 10 or more"
            yield f"{key}.duration_ps", section.duration_ps, problem
    if npt.longest_ps is not None and npt.longest_ps <= npt.duration_ps:
        yield "npt.longest_ps", npt.longest_ps, f"not longer than npt.duration_ps {npt.duration_ps:g}, the least length"
    for given, other in (("longest_ps", "standard_error_g_cm3"), ("standard_error_g_cm3", "longest_ps")):
        if getattr(npt, given) is not None and getattr(npt, other) is None:
            yield f"npt.{given}", getattr(npt, given), f"needs npt.{other}, with which it decides where a run ends"
    if npt.window_ps > npt.duration_ps:
        yield "npt.window_ps", npt.window_ps, f"longer than the run (npt.duration_ps {npt.duration_ps:g})"
    yield from _not_whole("npt.record_interval_fs", npt.record_interval_fs, "npt.timestep_fs", npt.timestep_fs)
    yield from _not_whole("npt.frame_interval_ps", npt.frame_interval_ps * 1000, "npt.record_interval_fs",
                          npt.record_interval_fs)  # fmt: skip
    yield from _not_whole("viscosity.block_fs", viscosity.block_fs, "viscosity.timestep_fs", viscosity.timestep_fs)
    if npt.frame_interval_ps > npt.duration_ps:
        yield (
            "npt.frame_interval_ps",
            npt.frame_interval_ps,
            f"longer than the run (npt.duration_ps {npt.duration_ps:g})",
        )
    yield from _structure_clashes(config.structure)
    gaff = config.gaff_npt
    if gaff.record_interval_ps > gaff.duration_ps:
        problem = f"longer than the run (gaff_npt.duration_ps {gaff.duration_ps:g})"
        yield "gaff_npt.record_interval_ps", gaff.record_interval_ps, problem


def _model_clashes(key: str, model: LiquidModel) -> Iterator[tuple[str, Any, str]]:
    if model.file and model.data:
        yield f"{key}.data", model.data, f"conflicts with `file` {model.file!r}; give only one of the two"
    if model.sha256 and not (model.file or model.data):
        yield f"{key}.sha256", model.sha256, "needs `file` or `data`, to which it belongs"
    for label in ("energy_key", "forces_key", "stress_key"):
        if label in model.model_fields_set and not model.data:
            yield f"{key}.{label}", getattr(model, label), "needs `data`, to which it belongs"
    if model.a1_range[0] >= model.a1_range[1]:
        yield f"{key}.a1_range", model.a1_range, "must be the lower end, then the upper end"
    for alpha, count in Counter(model.alphas).items():
        if alpha == 0:
            yield f"{key}.alphas", model.alphas, "0 is the uncorrected model, which is always run; remove it"
        elif count > 1:
            yield f"{key}.alphas", alpha, "is listed twice"


def _structure_clashes(structure: Structure) -> Iterator[tuple[str, Any, str]]:
    for key, names, count in (("rdf_pairs", structure.rdf_pairs, 2), ("adf_triplets", structure.adf_triplets, 3)):
        seen: set[tuple[str, ...]] = set()
        for name in names:
            elements = tuple(name.split("-"))
            if len(elements) != count or any(element not in chemical_symbols[1:] for element in elements):
                form = "C-O" if count == 2 else "C-O-C"
                yield (
                    f"structure.{key}",
                    name,
                    f"is not {count} element symbols joined by hyphens; write it as in {form}",
                )
            if elements in seen:
                yield f"structure.{key}", name, "is listed twice; remove one of them"
            seen |= {elements, elements[::-1]}
    for scale, count in Counter(structure.volume_scan_scales).items():
        if count > 1:
            yield "structure.volume_scan_scales", scale, "is listed twice; remove one of them"


def _not_whole(key: str, value: float, unit_key: str, unit: float) -> Iterator[tuple[str, Any, str]]:
    ratio = value / unit
    if ratio < 0.5 or abs(ratio - round(ratio)) > 1e-6 * ratio:
        yield key, value, f"must be a whole multiple of {unit_key} {unit:g}"
