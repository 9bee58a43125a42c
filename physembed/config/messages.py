"""Error messages for the configuration: pydantic's findings as one plain line with the key and the value."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

SENTENCES = {
    "greater_than": "must be greater than {gt:.10g}",
    "greater_than_equal": "must be at least {ge:.10g}",
    "less_than": "must be less than {lt:.10g}",
    "less_than_equal": "must be at most {le:.10g}",
    "finite_number": "must be a finite number",
    "float_type": "must be a number without quotes or unit",
    "int_type": "must be a whole number, in digits only",
    "bool_type": "must be true or false",
    "string_type": "must be text; put it in quotes if it is meant to be text",
    "list_type": "must be a list, as in [first, second]",
    "dict_type": "must be a section: indented lines of `key: value`",
    "model_type": "must be a section: indented lines of `key: value`",
    "literal_error": "must be {expected}",
    "too_short": "must have at least {min_length} entries",
    "too_long": "must have at most {max_length} entries",
    "string_too_long": "must have at most {max_length} characters",
    "invalid_key": "a key must be text",
}
"""Message by pydantic's error type; for other types pydantic's own message is used."""


def shown(value: Any) -> str:
    """A value as shown in a message: short and on one line."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def nearest(word: str, known: Sequence[str]) -> str:
    """The hint after an unknown word: the closest known one, or the list of known ones."""
    near = difflib.get_close_matches(word, known, 1, 0.4)
    listed = [*known[:12], "..."] if len(known) > 12 else known
    return f"did you mean {near[0]!r}?" if near else f"known: {', '.join(listed)}"


def complaints(error: ValidationError, model: type[BaseModel], config: Any, patterns: Mapping[str, str]) -> list[str]:
    """One line `key: value: problem` for each problem found when validating `config` with `model`.

    `patterns` contains the message for each pattern that text in the model must match.
    """
    lines = []
    for problem in error.errors():
        path = _path(problem["loc"], config)
        if problem["type"] == "literal_error" and len(path) < len(problem["loc"]):
            continue  # the branch of `all | list` that was not intended
        key = " ".join(".".join(map(str, path)).split()) or "the whole file"
        if problem["type"] == "missing":
            lines.append(f"{key}: the key {problem['loc'][-1]!r} is missing")
        elif problem["type"] == "extra_forbidden":
            lines.append(f"{key}: {shown(problem['input'])}: unknown key; {nearest(path[-1], _keys(model, path))}")
        else:
            lines.append(f"{key}: {shown(problem['input'])}: {_sentence(problem, patterns)}")
    return lines


def _path(location: Sequence[Any], config: Any) -> list[Any]:
    """Keys and indices of a location, without pydantic's names for union branches and the like."""
    path, value = [], config
    for part in location:
        if (isinstance(value, dict) and part in value) or (isinstance(value, list) and isinstance(part, int)):
            path.append(part)
            value = value[part]
    return path


def _keys(model: type[BaseModel], path: Sequence[Any]) -> list[str]:
    """The known keys in the section of the last part of `path`."""
    section: Any = model
    for part in path[:-1]:
        if isinstance(section, type) and issubclass(section, BaseModel):
            section = section.model_fields[part].annotation
        else:  # sections by name: dict[Name, Section]
            section = get_args(section)[-1]
    return list(section.model_fields)


def _sentence(problem: ErrorDetails, patterns: Mapping[str, str]) -> str:
    kind, value = problem["type"], problem["input"]
    if value is None and kind.endswith("_type"):
        return "has no value; give one, or remove the line to use the default"
    if kind in ("float_type", "int_type") and isinstance(value, str) and _is_number(value):
        if "e" in value.lower() and kind == "float_type":
            return "is text in YAML; an exponent needs a dot before and a sign after the e, as in 1.0e-2"
        return f"is text; {SENTENCES[kind]} (set it in a --configfile: --config makes text of nested values)"
    if kind == "string_pattern_mismatch":
        return patterns[problem["ctx"]["pattern"]]
    if kind in SENTENCES:
        return SENTENCES[kind].format(**problem.get("ctx", {}))
    return problem["msg"]


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
