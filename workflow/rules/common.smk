"""The checked study, and what each rule is given of it."""

import re
import sys

# Scripts run with the search path of this process, so that they find the library in any environment.
sys.path.insert(0, str(workflow.basedir))

from physembed.engine.cards import visible_cards
from physembed.errors import PhysEmbedError
from physembed.files import check_writable
from physembed.provenance import code_hash, derive_seed
from physembed.study import load_study


def in_one_line(check, argument):
    """What a check returns; what it complains of ends Snakemake with one line and no traceback."""
    try:
        return check(argument)
    except PhysEmbedError as error:
        sys.exit(str(error))


STUDY = in_one_line(load_study, config)

# The molecules of chain A, and with them the components of the liquids, which get their topologies alike.
MOLECULES = {molecule.name: molecule for molecule in STUDY.molecules}
STRUCTURES = MOLECULES | {component.name: component for component in STUDY.components}
GIVEN_TOPOLOGY = [name for name, molecule in STRUCTURES.items() if molecule.topology]
MADE_TOPOLOGY = [name for name in STRUCTURES if name not in GIVEN_TOPOLOGY]
ARMS = STUDY.config.arm_names
SEEDS = STUDY.config.training.seeds


def one_of(names):
    """A wildcard constraint: one of these names, or nothing at all if there are none."""
    return "|".join(map(re.escape, names)) or "(?!)"


wildcard_constraints:
    study=re.escape(STUDY.config.study),
    molecule=one_of(STRUCTURES),
    arm=one_of(ARMS),
    labelled=one_of(["validation", *ARMS]),
    seed=one_of(map(str, SEEDS)),


def settings(*sections):
    """Params function: these sections of the configuration and a seed of the task's own, as plain values."""

    def values(wildcards):
        chosen = {
            name: getattr(STUDY.config, name).model_dump(mode="json")
            for name in sections
        }
        names = [value for key, value in wildcards.items() if key != "study"]
        return {**chosen, "seed": derive_seed(STUDY.config.seed, *sections, *names)}

    return values


def code(script, *data):
    """Hash of a script, the library modules behind it and data files of the library; a change reruns the rule."""
    return code_hash(workflow.source_path(f"../scripts/{script}"), *data)


def gpus(section):
    """GPUs that a stage asks for: none where the configuration sends it to the CPU."""
    return 0 if getattr(STUDY.config, section).device == "cpu" else 1


GPU_PERCENT = 100 // STUDY.config.jobs.per_gpu if visible_cards() else 0
"""Share of a GPU of this machine that a job takes, if it uses one and there is one."""


def gpu_percent(section):
    """Share of a GPU of this machine that a stage takes."""
    return gpus(section) * GPU_PERCENT


# molecule


def molecule_source(wildcards):
    molecule = STRUCTURES[wildcards.molecule]
    return {"smiles": molecule.smiles, **settings()(wildcards)}


def structure_file(wildcards):
    return STRUCTURES[wildcards.molecule].structure or []


# topology


def given_files(wildcards):
    molecule = STRUCTURES[wildcards.molecule]
    return {"topology": molecule.topology, "coordinates": molecule.coordinates}


# frames


def frame_counts(*counts):
    """Params function: only the counts that this selection depends on, so that more starts retrain nothing."""

    def values(wildcards):
        chosen = {name: getattr(STUDY.config.frames, name) for name in counts}
        return {
            "frames": chosen,
            "seed": derive_seed(STUDY.config.seed, "frames", wildcards.molecule),
        }

    return values


# bond_sampling


def arm_settings(wildcards):
    arm = STUDY.config.arms[wildcards.arm].model_dump(mode="json")
    seed = derive_seed(
        STUDY.config.seed, "bond_sampling", wildcards.molecule, wildcards.arm
    )
    return {
        "arm": arm,
        "parameter_set": STUDY.config.topology.parameter_set,
        "seed": seed,
    }


# labels


def frames_to_label(wildcards):
    if wildcards.labelled == "validation":
        return "results/{study}/{molecule}/frames/validation.xyz"
    return "results/{study}/{molecule}/bond_sampling/{labelled}.xyz"


# training


def training_settings(wildcards):
    """Everything but the list of seeds, so that another seed leaves the models that are there alone."""
    chosen = STUDY.config.training.model_dump(mode="json", exclude={"seeds"})
    return {"training": chosen, "seed": int(wildcards.seed)}


# evaluation


def evaluation_settings(wildcards):
    return {"dtype": STUDY.config.training.dtype, "seeds": SEEDS}


# report


FIGURES = {
    "bond_lengths": ("Bond sampling", "Bond lengths before and after sampling"),
    "label_ledger": ("Labels", "What became of each frame"),
    "training_curves": ("Models", "Training curves"),
    "force_parity": ("Models", "Model forces against labels"),
    "error_by_stretch": ("Models", "Force error by bond stretch"),
    "survival": ("Stability", "Survival"),
    "collapse_fraction": ("Stability", "Collapsed runs beside the paper's"),
    "collapse_causes": ("Stability", "What fails first"),
}


def drawn(name):
    """A figure as an output that stands in Snakemake's report."""
    category, title = FIGURES[name]
    return report(
        f"results/{{study}}/figures/{{molecule}}/{name}.svg",
        caption=f"../report/{name}.rst",
        category=category,
        labels={"molecule": "{molecule}", "figure": title},
    )


def report_settings(wildcards):
    """What figures and tables state of the runs, and the molecules, arms and seeds in the order of the files."""
    stability = STUDY.config.stability
    return {
        "molecules": list(MOLECULES),
        "arms": ARMS,
        "seeds": SEEDS,
        "duration_ps": stability.duration_ps,
        "temperature_K": stability.temperature_K,
    }


def figure_settings(wildcards):
    """Another molecule changes nothing in the figures of this one."""
    return {
        key: value
        for key, value in report_settings(wildcards).items()
        if key != "molecules"
    }


def molecule_summary_files():
    """Input of the summary, by name, for the isolated molecules; nothing where the study has none."""
    if not MOLECULES:
        return {}

    def of_molecules(path, **more):
        return expand(f"results/{{{{study}}}}/{path}", molecule=MOLECULES, **more)

    return {
        "fractions": of_molecules("{molecule}/survival/collapse_fractions.csv"),
        "comparisons": of_molecules("{molecule}/survival/comparison.csv"),
        "figures": of_molecules("figures/{molecule}/{name}.svg", name=FIGURES),
        "stability": "results/{study}/tables/stability.csv",
        "model_errors": "results/{study}/tables/model_errors.csv",
        "labels": "results/{study}/tables/labels.csv",
    }


def summary_settings(wildcards):
    return {
        "molecules": list(MOLECULES),
        "models": {model.name: model.liquids for model in STUDY.models},
        "liquids": EVALUATED,
        # Without what changes no result.
        "config": STUDY.config.model_dump(mode="json", exclude={"jobs"}),
    }
