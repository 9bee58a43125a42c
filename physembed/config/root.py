"""The whole configuration of a study: sections, defaults (the paper's protocol) and checks.

The models of this package are the single source of the defaults, of `config/schema.json` and of the tables in
`config/README.md`. `load` turns the merged dictionary that Snakemake read into a `Config` or raises a
`PhysEmbedError` with one line that names the key and the value. Nothing is written here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Annotated, Any

from pydantic import Field, ValidationError

from physembed.config.arms import Arm, Pretraining, arm_clashes, kind_of
from physembed.config.base import PATTERNS, Name, Positive, Section, Seed
from physembed.config.files import BY_NAME
from physembed.config.label_numbers import label_number_clashes, with_label_numbers
from physembed.config.liquids import (
    NPT,
    Certificate,
    GaffNPT,
    LiquidModel,
    Liquids,
    Scan,
    Structure,
    Viscosity,
    liquid_clashes,
)
from physembed.config.messages import complaints, shown
from physembed.config.molecules import (
    Frames,
    GaffMD,
    Labels,
    Metrics,
    Molecules,
    Stability,
    Topology,
    Training,
    molecule_clashes,
)
from physembed.errors import PhysEmbedError


class Jobs(Section):
    """How jobs are run; nothing here changes a result or reruns a job."""

    max_walltime_hours: Positive | None = None
    """A stability, learning, scan, NPT or viscosity job that runs longer saves its state; the next call resumes it."""
    per_gpu: Annotated[int, Field(ge=1, le=100)] = 1
    """Jobs that share a GPU of this machine, such as trainings and stability runs of several seeds."""


class Config(Section):
    """A study."""

    study: Name = "paper"
    """Results go to `results/<study>/`; two configurations must not share one."""
    seed: Seed = 2026
    """Seed of all random draws except those of training."""
    jobs: Jobs = Jobs()
    molecules: Molecules = Molecules()
    topology: Topology = Topology()
    gaff_md: GaffMD = GaffMD()
    frames: Frames = Frames()
    arms: dict[Name, Arm] = {
        "original": Arm(bonds_per_frame=0),
        "adaptive": Arm(),
    }
    """The recipes that are compared, by name."""
    pretraining: Pretraining = Pretraining()
    labels: Labels = Labels()
    metrics: Metrics = Metrics()
    training: Training = Training()
    stability: Stability = Stability()
    liquids: Liquids = Liquids()
    gaff_npt: GaffNPT = GaffNPT()
    models: dict[Name, LiquidModel] = {}
    """Models of liquids, by name; `liquids.models` selects those to run."""
    npt: NPT = NPT()
    scan: Scan = Scan()
    viscosity: Viscosity = Viscosity()
    structure: Structure = Structure()
    certificate: Certificate = Certificate()

    @property
    def arm_names(self) -> list[str]:
        """The arms: those that leave the frames as they are, then those that change them, take others', or take none.

        An overlay of the configuration can change the order of the arms in the file. Figures that show the first kinds
        only give them the same colours as those of all.
        """
        return sorted(self.arms, key=lambda name: kind_of(self.arms[name]))


def load(config: dict[str, Any]) -> Config:
    """Check a merged configuration.

    An arm or a model whose value is null is dropped; an arm with several numbers of labels becomes one arm for each.

    Raises:
        PhysEmbedError: one line that names the key and the value.
    """
    for section in BY_NAME if isinstance(config, dict) else ():
        if isinstance(named := config.get(section), dict):
            config = {**config, section: {name: value for name, value in named.items() if value is not None}}
    try:
        checked = Config.model_validate(config)
    except ValidationError as error:
        problems = complaints(error, Config, config, PATTERNS)
    else:
        problems = [f"{key}: {shown(value)}: {problem}" for key, value, problem in _clashes(checked)]
        if not problems:
            return with_label_numbers(checked)
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    raise PhysEmbedError(f"config: {problems[0]}{more}")


def _clashes(config: Config) -> Iterator[tuple[str, Any, str]]:
    """Yield key, value and problem of each setting that is valid by itself but conflicts with others."""
    yield from _clashing_names(config)
    yield from liquid_clashes(config)
    yield from molecule_clashes(config)
    problems = list(arm_clashes(config))
    yield from problems or label_number_clashes(config)


def _clashing_names(config: Config) -> Iterator[tuple[str, Any, str]]:
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
