"""The settings that the stages of liquids receive from a study."""

from __future__ import annotations

from physembed.liquids.table import elements
from physembed.restart import EXTENDS
from physembed.stages.values import Settings, composition, conditions, plain, task_seed
from physembed.study import Study

VOLUME_SCAN = ("volume_scan_scales", "volume_scan_frames", "volume_scan_labels")
"""Fields of `structure` for the rigid volume scan."""
POINTS = {
    "direct": ("method", "a1", "duration_ps"),
    "reweighted": ("method", "start_a1", "max_runs", "minimum_effective_samples", "duration_ps"),
}
"""Fields of `scan` on which the runs of a method depend."""
LENGTH = ("duration_ps", "longest_ps", "standard_error_g_cm3")
"""Fields of `npt` for the length of a run; those of a scan have their own."""


def box(study: Study, liquid: str) -> Settings:
    """Composition, size and density of the packing."""
    return {
        "components": composition(study, liquid),
        "molecules": study.liquids[liquid].molecules,
        "packing_density_g_cm3": study.config.gaff_npt.packing_density_g_cm3,
        "seed": task_seed(study, "box", liquid),
    }


def gaff_npt(study: Study, liquid: str) -> Settings:
    """Settings of the run."""
    return {
        "gaff_npt": plain(study.config.gaff_npt, without=("packing_density_g_cm3",)),
        **conditions(study, liquid),
        "seed": task_seed(study, "gaff_npt", liquid),
    }


def reference_frames(study: Study, model: str, liquid: str) -> Settings:
    """Runs, frames and their modifications; independent of other liquids and of the label method."""
    return {
        "reference": plain(
            study.model(model).settings.reference, without=("liquids", "method", "rounds", "round_ps", "round_frames")
        ),
        "components": composition(study, liquid),
        "parameter_set": study.config.topology.parameter_set,
        "seed": task_seed(study, "reference", model, liquid),
    }


def liquid_round(study: Study, model: str, liquid: str, round: str) -> Settings:
    """Length and frames of the MD of a round, and its conditions, those of the NPT runs.

    Without the number of rounds, so that another one leaves those that are there.
    """
    reference = study.model(model).settings.reference
    return {
        "reference": {"round_ps": reference.round_ps, "round_frames": reference.round_frames},
        "npt": {
            name: getattr(study.config.npt, name)
            for name in ("timestep_fs", "hydrogen_mass_u", "thermostat_ps", "dtype", "device")
        },
        "seed": task_seed(study, "reference", model, liquid, round),
    }


def reference_labels(study: Study, model: str) -> Settings:
    """As `labels`, with the method of the model's reference data."""
    method = study.model(model).settings.reference.method
    return {"labels": plain(study.config.labels) | {"method": method}}


def liquid_training(study: Study, model: str) -> Settings:
    """The trainer's settings including its seed, the hash of the data, and the names of its labels."""
    settings = study.model(model).settings
    names = {label: getattr(settings, f"{label}_key") for label in ("energy", "forces", "stress")}
    keys = names if settings.data else None
    return {"training": plain(settings.training), "sha256": settings.sha256, "keys": keys}


def liquid_model(study: Study, model: str) -> Settings:
    """The source of the model, and the elements of all its liquids.

    All elements together, so an additional liquid with the same elements changes nothing.
    """
    settings, liquids = study.model(model).settings, study.model(model).liquids
    return {
        "kind": "file" if settings.file else "data" if settings.data else "reference",
        "source": settings.file or settings.data,
        "sha256": settings.sha256 if settings.file else None,
        "elements": sorted(set().union(*(elements(study.liquids[name]) for name in liquids))),
    }


def scan(study: Study, model: str) -> Settings:
    """The runs of the tuning liquid, and their points; the target if the points depend on it."""
    settings = study.model(model).settings
    reweighted = study.config.scan.method == "reweighted"
    of_model = ("convention", "alphas", "a1_range") if reweighted else ("convention", "alphas")
    return {
        "npt": plain(study.config.npt, without=(*LENGTH, "window_ps", "replicas")),
        "scan": plain(study.config.scan, only=POINTS[study.config.scan.method]),
        "model": plain(settings, only=of_model),
        EXTENDS: {"target_g_cm3": study.target_density(model)} if reweighted else {},
        **conditions(study, settings.tune_on),
        "seed": task_seed(study, "scan", model),
    }


def tuning(study: Study, model: str) -> Settings:
    """The fit and its target."""
    settings, chosen = study.model(model).settings, study.config.scan
    return {
        "method": chosen.method,
        "alphas": settings.alphas,
        "a1_range": settings.a1_range,
        "convention": settings.convention,
        "tuned_on": settings.tune_on,
        "target_g_cm3": study.target_density(model),
        "minimum_effective_samples": chosen.minimum_effective_samples,
        **conditions(study, settings.tune_on),
    }


def corrected_model(study: Study, model: str) -> Settings:
    """What the card states besides the results: the name, the convention and the source of the target."""
    settings = study.model(model).settings
    measured = study.measurements[settings.tune_on]
    return {"model": model, "convention": settings.convention, "target_source": measured.source if measured else ""}


def certificate(study: Study, model: str) -> Settings:
    """Lengths of the runs, the conditions of the tuning liquid, and the device of the NPT runs."""
    return {
        **plain(study.config.certificate),
        **conditions(study, study.model(model).settings.tune_on),
        "device": study.config.npt.device,
        "seed": task_seed(study, "certificate", model),
    }


def npt(study: Study, model: str, liquid: str, variant: str) -> Settings:
    """Settings of the runs, without the window over which their end is averaged."""
    return {
        "npt": plain(study.config.npt, without=("window_ps",)),
        "convention": study.model(model).settings.convention,
        **conditions(study, liquid),
        "seed": task_seed(study, "npt", model, liquid, variant),
    }


def density(study: Study) -> Settings:
    """The window over which the end of the runs is averaged."""
    return {"window_ps": study.config.npt.window_ps}


def viscosity_run(study: Study, model: str, liquid: str, variant: str) -> Settings:
    """Settings of the runs, without the required accuracy of the viscosity."""
    return {
        "viscosity": plain(study.config.viscosity, without=("relative_error",)),
        "convention": study.model(model).settings.convention,
        **conditions(study, liquid),
        "seed": task_seed(study, "viscosity", model, liquid, variant),
    }


def viscosity(study: Study) -> Settings:
    """The required accuracy of a viscosity."""
    return {"relative_error": study.config.viscosity.relative_error}


def structure(study: Study) -> Settings:
    """Settings of the distributions."""
    return {"structure": plain(study.config.structure, without=VOLUME_SCAN)}


def volume_scan(study: Study, model: str) -> Settings:
    """Settings of the scan, and the label method if its frames are labelled."""
    labelled = study.config.structure.volume_scan_labels
    return {
        **plain(study.config.structure, only=VOLUME_SCAN),
        "convention": study.model(model).settings.convention,
        "dtype": study.config.npt.dtype,
        "device": study.config.npt.device,
        **(reference_labels(study, model) if labelled else {}),
    }
