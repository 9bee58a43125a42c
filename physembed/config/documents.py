"""Documents generated from the configuration models: `config/schema.json` and the tables of `config/README.md`.

Run `python -m physembed.config.documents` in the root of the project to write both.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from physembed.config import Config
from physembed.config.files import BY_NAME
from physembed.files import atomic

BEGIN, END = "<!-- tables: written by python -m physembed.config.documents -->\n", "<!-- end of the tables -->\n"
UNITS = {
    "_per_ps": "1/ps",
    "_kcal_mol_A2": "kcal/mol/Å²",
    "_kcal_mol_rad2": "kcal/mol/rad²",
    "_g_cm3": "g/cm³",
    "_per_bar": "1/bar",
    "_hours": "h",
    "_eV_A": "eV/Å",
    "_K": "K",
    "_fs": "fs",
    "_ps": "ps",
    "_A": "Å",
    "_degrees": "°",
    "_steps": "steps",
}
"""Unit by the suffix of a key; the first match is used."""
TYPES = {
    "number": "number",
    "integer": "whole number",
    "boolean": "`true`, `false`",
    "string": "text",
    "null": "`null`",
}
NAMED = {
    "arms": "Default: an arm `original` with `bonds_per_frame: 0`, and an arm `adaptive` with the defaults below.",
    "models": "Default: none; config.yaml has the paper's two.",
}
"""Default contents of the sections by name."""
BOUNDS = {"exclusiveMinimum": ">", "minimum": "≥", "exclusiveMaximum": "<", "maximum": "≤"}


def json_schema() -> str:
    """The JSON schema of a configuration, for editors: the text of `config/schema.json`."""
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **Config.model_json_schema()}
    for name in BY_NAME:  # an overlay drops an entry with null
        by_name = schema["properties"][name]["patternProperties"]
        schema["properties"][name]["patternProperties"] = {
            pattern: {"anyOf": [entry, {"type": "null"}]} for pattern, entry in by_name.items()
        }
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def markdown_table() -> str:
    """Every key with its default, unit, allowed values and meaning: one Markdown table per section."""
    schema = Config.model_json_schema()
    return "\n".join(_sections("", schema, schema["$defs"]))


def _sections(key: str, section: dict[str, Any], definitions: dict[str, Any]) -> Iterator[str]:
    """The table of a section, followed by those of its subsections."""
    plain, nested = [], []
    for name, field in section["properties"].items():
        (inner,) = field.get("patternProperties", {"": field}).values()  # sections by name: arms, models
        if "$ref" in inner:
            path = f"{key}.{name}".lstrip(".") + (".&lt;name&gt;" if inner is not field else "")
            intro = f"{field['description']} {NAMED[name]} " if inner is not field else ""
            nested.append((path, intro, definitions[inner["$ref"].rpartition("/")[2]]))
        else:
            plain.append((name, field))
    yield (f"### {key}\n\n" if key else "### Top level\n\n") + (
        f"{section['intro']}\n\n{_table(plain)}" if key else _table(plain)
    )
    for path, intro, inner in nested:
        yield from _sections(path, {**inner, "intro": intro + inner["description"]}, definitions)


def _table(fields: list[tuple[str, dict[str, Any]]]) -> str:
    lines = ["| key | default | unit | values | meaning |", "| --- | --- | --- | --- | --- |"]
    for key, field in fields:
        unit = next((unit for end, unit in UNITS.items() if key.endswith(end)), "")
        given = field.get("default", "none: required")
        default = json.dumps(given) if not isinstance(given, str) else given
        lines.append(
            f"| `{key}` | `{default}` | {unit} | {_values(field)} | {' '.join(field['description'].split())} |"
        )
    return "\n".join(lines) + "\n"


def _values(field: dict[str, Any]) -> str:
    """The allowed values of a field, in words."""
    if "anyOf" in field:
        return " or ".join(_values(branch) for branch in field["anyOf"])
    if "enum" in field or "const" in field:
        return ", ".join(f"`{choice}`" for choice in field.get("enum", [field.get("const")]))
    if field["type"] == "array":
        low, high = field.get("minItems"), field.get("maxItems")
        return f"{'list' if high is None else f'{low} values'}, each {_values(field['items'])}"
    limits = [f"{sign} {field[name]:.10g}" for name, sign in BOUNDS.items() if name in field]
    return " ".join([TYPES[field["type"]], ", ".join(limits)]).strip()


def readme(text: str) -> str:
    """Return `text` of config/README.md with its tables regenerated.

    Raises:
        ValueError: if `text` lacks the marks that enclose the tables.
    """
    before, _, rest = text.partition(BEGIN)
    _, mark, after = rest.partition(END)
    if not mark:
        raise ValueError(f"config/README.md lacks the lines {BEGIN!r} and {END!r}")
    return f"{before}{BEGIN}\n{markdown_table()}\n{END}{after}"


def main() -> None:
    """Write both documents."""
    page = Path("config/README.md")
    texts = {Path("config/schema.json"): json_schema(), page: readme(page.read_text(encoding="utf-8"))}
    for path, text in texts.items():
        with atomic(path) as temporary:
            temporary.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
