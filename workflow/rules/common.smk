"""The checked study, and what each rule is given of it."""

import re
import sys

from physembed.errors import PhysEmbedError
from physembed.provenance import code_hash, derive_seed
from physembed.study import load_study

try:
    STUDY = load_study(config)
except PhysEmbedError as error:
    # One line, no traceback, before anything is written.
    sys.exit(str(error))

MOLECULES = {molecule.name: molecule for molecule in STUDY.molecules}
GIVEN_TOPOLOGY = [name for name, molecule in MOLECULES.items() if molecule.topology]
MADE_TOPOLOGY = [name for name in MOLECULES if name not in GIVEN_TOPOLOGY]
ARMS = list(STUDY.config.arms)
SEEDS = STUDY.config.training.seeds


def one_of(names):
    """A wildcard constraint: one of these names, or nothing at all if there are none."""
    return "|".join(map(re.escape, names)) or "(?!)"


wildcard_constraints:
    study=re.escape(STUDY.config.study),
    molecule=one_of(MOLECULES),
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


def code(script):
    """Hash of a script and of the library modules behind it; a change of it reruns the rule."""
    return code_hash(workflow.source_path(f"../scripts/{script}"))


def gpus(section):
    """GPUs that a stage asks for: none where the configuration sends it to the CPU."""
    return 0 if getattr(STUDY.config, section).device == "cpu" else 1
