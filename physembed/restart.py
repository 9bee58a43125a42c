"""Location of the saved state of a job, and what it depends on.

Restart files are kept outside the declared outputs, which Snakemake deletes before it reruns a job. Their folder is
named by a hash of everything that the job receives: its settings, its inputs and its code. Excluded are configuration
fields that are marked with `physembed.config.base.KeepsRuns`, and values under `EXTENDS` in the
settings; an input counts by its content unless the script declares which part of it the run uses.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel

from physembed.config.base import keeping_runs
from physembed.config.root import Config
from physembed.provenance import file_hash, settings_hash

EXTENDS = "extends"
"""Key, in the settings of a stage, of values that only extend a run but are not configuration fields."""


def sections(model: type[BaseModel] = Config) -> Iterator[tuple[str, type[BaseModel]]]:
    """Every section of a configuration by its name in the settings of a stage.

    For sections by name (`arms`, `models`), this is the singular.
    """
    for name, field in model.model_fields.items():
        by_name = get_args(field.annotation)
        inner = by_name[1] if len(by_name) == 2 else field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            yield (name.removesuffix("s") if by_name else name), inner
            yield from sections(inner)


def lasting(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a stage without those that may change without invalidating its restart files."""
    kept: dict[str, set[str]] = {}
    for name, section in sections():
        kept.setdefault(name, set()).update(keeping_runs(section))

    def without(values: Mapping[str, Any], left_out: set[str]) -> dict[str, Any]:
        return {
            key: without(value, kept.get(key, set())) if isinstance(value, Mapping) else value
            for key, value in values.items()
            if key not in left_out
        }

    return without(settings, {EXTENDS})


def restart_folder(job: Any, **taken: Any) -> Path:
    """The folder for the restart files of a job, created if it does not exist.

    Args:
        job: the object that Snakemake passes to a script; used are `params.restart` (the parent folder),
            `params.settings`, `input` and `params.code`, or `params.code_of_runs` if the rule has one: the code of the
            runs only, without that of the analysis that decides which runs are made.
        taken: for inputs of which the run uses only a part, that part as plain values, by the name of the input;
            None for an input by which the run itself names its files. All others count by their content.

    Raises:
        ValueError: an input without a name, or a name in `taken` that is not an input.
    """
    inputs = {name: [value] if isinstance(value, str) else list(value) for name, value in job.input.items()}
    if sum(map(len, inputs.values())) != len(job.input) or not set(taken) <= set(inputs):
        raise ValueError(f"restart: inputs {list(job.input)} have the names {list(inputs)}, taken are {list(taken)}")
    contents = {name: taken.get(name, list(map(file_hash, paths))) for name, paths in inputs.items()}
    code = getattr(job.params, "code_of_runs", job.params.code)
    key = settings_hash([lasting(job.params.settings), code, contents])
    folder = Path(job.params.restart) / key
    folder.mkdir(parents=True, exist_ok=True)
    return folder
