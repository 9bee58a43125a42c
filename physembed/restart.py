"""Where the saved state of a job lies, and what it belongs to.

Restart files lie outside the declared outputs, which Snakemake deletes before it runs a job again. Their folder is
named by a hash of everything that the job is given: its settings, its inputs and its code. Left out are the fields of
the configuration that are marked with `physembed.config.base.KeepsRuns`, and what stands under `EXTENDS` in the
settings; an input counts by its content unless the script says what the run takes of it.
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
"""Key, in the settings of a stage, of values that only extend a run and are no fields of the configuration."""


def sections(model: type[BaseModel] = Config) -> Iterator[tuple[str, type[BaseModel]]]:
    """Every section of a configuration by the name that it has in the settings of a stage.

    A section by name (`arms`, `models`) is called in the singular there.
    """
    for name, field in model.model_fields.items():
        by_name = get_args(field.annotation)
        inner = by_name[1] if len(by_name) == 2 else field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            yield (name.removesuffix("s") if by_name else name), inner
            yield from sections(inner)


def lasting(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a stage without those whose change leaves its restart files valid."""
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
    """The folder for the restart files of a job, made if it is not there.

    Args:
        job: the object that Snakemake hands to a script; used are `params.restart` (the folder in which it lies),
            `params.settings`, `input` and `params.code`, or `params.code_of_runs` where a rule has one: the code of the
            runs alone, without that of the analysis that decides which runs there are.
        taken: for inputs of which the run uses only a part, that part as plain values, by the name of the input;
            None for an input by which the run itself names its files. All others count by their content.

    Raises:
        ValueError: an input that has no name, or a name in `taken` that no input has.
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
