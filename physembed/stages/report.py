"""The settings of figures, tables and the summary: mostly names, in the order of their input files."""

from __future__ import annotations

from physembed.config.arms import label_sets, labelled_sets, sampling_arms, trained_arms
from physembed.config.label_numbers import label_series
from physembed.config.rounds import all_rounds, arm_of, round_of
from physembed.stages.values import Settings, data_sets
from physembed.study import Study


def figures(study: Study) -> Settings:
    """Arms, those trained, those with frames of their own, sets of labels, seeds and conditions of the runs.

    No other molecules, which change nothing in the figures of this one.
    """
    return {
        "arms": study.config.arm_names,
        "trained": trained_arms(study.config),
        "sampled": sampling_arms(study.config),
        "labelled": ["validation", *label_sets(study.config)],
        "seeds": study.config.training.seeds,
        "duration_ps": study.config.stability.duration_ps,
        "temperature_K": study.config.stability.temperature_K,
    }


def rounds(study: Study) -> Settings:
    """Molecule, arm and number of each round of learning, in the order of the files."""
    numbers = [[arm_of(name), round_of(study.config, name)] for name in all_rounds(study.config)]
    return {"rounds": [[molecule.name, *number] for molecule in study.molecules for number in numbers]}


def metric_figures(study: Study) -> Settings:
    """Arms, in the order of the files."""
    return {"arms": study.config.arm_names}


def viewer(study: Study) -> Settings:
    """Arms and seeds, in the order of the trajectories."""
    return {"arms": study.config.arm_names, "seeds": study.config.training.seeds}


def survival_against_labels(study: Study) -> Settings:
    """Arms that differ only in their number of labels, the labels behind them, and the conditions of the runs."""
    series = label_series(study.config)
    return {
        "series": series,
        "sources": {arm: labelled_sets(study.config, arm) for arm in series},
        "sampled": sampling_arms(study.config),
        "data_sets": len(data_sets(study)),
        "duration_ps": study.config.stability.duration_ps,
        "temperature_K": study.config.stability.temperature_K,
    }


def tables(study: Study) -> Settings:
    """As the figures, with the molecules, and the sets of labels behind the models of each arm."""
    return {
        "molecules": [molecule.name for molecule in study.molecules],
        "sources": {arm: labelled_sets(study.config, arm) for arm in study.config.arm_names},
        **figures(study),
    }


def summary(study: Study) -> Settings:
    """Molecules, models, liquids, and the whole configuration except values that affect no result."""
    return {
        "molecules": [molecule.name for molecule in study.molecules],
        "models": {model.name: model.liquids for model in study.models},
        "liquids": study.evaluated,
        "config": study.config.model_dump(mode="json", exclude={"jobs"}),
    }


def liquid_figures(study: Study, model: str) -> Settings:
    """What is known about each liquid of the model."""
    chosen = study.model(model)
    return {"liquids": [_facts(study, name) for name in chosen.liquids], "viscous": chosen.viscous}


def liquid_tables(study: Study) -> Settings:
    """What is known about each liquid, and the models to which it belongs."""
    return {
        "liquids": [_facts(study, name) for name in study.evaluated],
        "models": {model.name: model.liquids for model in study.models},
        "viscous": {model.name: model.viscous for model in study.models},
        "tuned_on": {model.name: model.settings.tune_on for model in study.models},
    }


def structure_figure(study: Study) -> Settings:
    """Nothing: the tables contain everything."""
    return {}


def liquid_training_figure(study: Study) -> Settings:
    """Nothing: the curve contains everything."""
    return {}


def _facts(study: Study, name: str) -> Settings:
    """The properties of a liquid that the tables list."""
    liquid, measured = study.liquids[name], study.measurements[name]
    mixture = len(liquid.components) > 1
    return {
        "name": name,
        "components": " ".join(
            f"{part.name} {part.mass_fraction:.3g}" if mixture else part.name for part in liquid.components
        ),
        "composition": {part.smiles: part.mass_fraction for part in liquid.components},
        "temperature_K": liquid.temperature_K,
        "density_g_cm3": measured and measured.density_g_cm3,
        "density_source": measured.source if measured else "",
        "viscosity_mPa_s": measured and measured.viscosity_mPa_s,
        "viscosity_source": measured.source if measured else "",
        "dubious": list(measured.dubious) if measured else [],
    }
