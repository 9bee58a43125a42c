"""The checked study, and what many rules need of it."""

import re

from physembed import stages
from physembed.config.arms import (
    label_sets,
    sampling_arms,
    trained_arms,
    trained_at_once,
    trained_in_rounds,
    weights_frames,
)
from physembed.config.rounds import all_rounds
from physembed.engine.cards import visible_cards
from physembed.files import check_writable
from physembed.provenance import code_hash
from physembed.report import catalogue
from physembed.stages import inputs
from physembed.stages.values import data_sets, named
from physembed.study import load_study

STUDY = in_one_line(load_study, config)
MOLECULES = [molecule.name for molecule in STUDY.molecules]
ARMS = STUDY.config.arm_names
TRAINED = trained_arms(STUDY.config)
SAMPLED = sampling_arms(STUDY.config)
LABELLED = ["validation", *label_sets(STUDY.config)]
ROUNDS = all_rounds(STUDY.config)
TRAINED_AT_ONCE = trained_at_once(STUDY.config)
TRAINED_IN_ROUNDS = trained_in_rounds(STUDY.config)
WEIGHTED = [
    name for name in TRAINED_AT_ONCE + ROUNDS if weights_frames(STUDY.config, name)
]
GIVEN = [name for name in ARMS if name not in TRAINED]
SEEDS = STUDY.config.training.seeds
DATA_SETS = list(data_sets(STUDY))
MODELS = [model.name for model in STUDY.models]
VARIANTS = inputs.VARIANTS
GIVEN_TOPOLOGY = [name for name, spec in STUDY.structures.items() if spec.topology]
MADE_TOPOLOGY = [name for name in STUDY.structures if name not in GIVEN_TOPOLOGY]


def one_of(names):
    """A wildcard constraint: one of these names, or nothing at all if there are none."""
    return "|".join(map(re.escape, names)) or "(?!)"


wildcard_constraints:
    study=re.escape(STUDY.config.study),
    molecule=one_of(STUDY.structures),
    arm=one_of(ARMS),
    labelled=one_of(["validation", *SAMPLED, *ROUNDS]),
    seed=one_of(map(str, SEEDS)),
    data_set="|" + one_of(filter(None, DATA_SETS)),
    liquid=one_of(STUDY.liquids),
    model=one_of(MODELS),
    variant=one_of(VARIANTS),


def given(function, **more):
    """Params or input function: what a function of `physembed.stages` says of the study for a job's wildcards.

    It gets those of the wildcards that its arguments are named after, and `more`.
    """

    def of_job(wildcards):
        return function(STUDY, **(named(function, dict(wildcards.items())) | more))

    return of_job


def code(script, *data):
    """Hash of a script, the library modules behind it and data files of the library; a change reruns the rule."""
    return code_hash(workflow.source_path(f"../scripts/{script}"), *data)


def code_of_runs(script):
    """As `code`, without the analysis that decides how many runs are made or how long they are."""
    return code_hash(workflow.source_path(f"../scripts/{script}"), without="analysis")


def threads_of(most):
    """So many threads, but where jobs run on this machine no more than half of its cores.

    A job that needs all of them would wait until no other job is running. A cluster (`jobs` instead of `cores`) gives
    each job what it asks for, and a job's own process has its cores already.
    """
    settings = workflow.resource_settings
    here = workflow.is_main_process and settings.nodes is None and settings.cores
    return max(1, min(most, settings.cores // 2)) if here else most


def gpus(section):
    """GPUs that a stage asks for: none where this section of the configuration sends it to the CPU."""
    return 0 if section.device == "cpu" else 1


GPU_PERCENT = 100 // STUDY.config.jobs.per_gpu if visible_cards() else 0
"""Share of a GPU of this machine that a job takes, if it uses one and there is one."""


def training_gpus(wildcards):
    """GPUs that the training of a model of liquids asks for."""
    return gpus(STUDY.model(wildcards.model).settings.training)


def training_gpu_percent(wildcards):
    """Share of a GPU of this machine that it takes."""
    return training_gpus(wildcards) * GPU_PERCENT


def reported(path, item, **labels):
    """An output that stands in Snakemake's report as `physembed.report.catalogue` has it; `{name}` is the item's."""
    return report(
        path.replace("{name}", item.name),
        caption=f"../report/{item.caption_file}",
        category=item.category,
        labels=labels | {item.kind: item.title},
    )
