"""Checks of the configuration files themselves, before Snakemake merges them.

Snakemake silently takes the last of two equal keys and forgets which file a value came from. `check_files` reads
the files again with the line numbers of their keys; no objects are constructed, so no tag in a file can run code.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import yaml

from physembed.config.messages import nearest
from physembed.errors import PhysEmbedError

BY_NAME = ("arms", "models")
"""Sections whose keys are names chosen by the user; `name: null` in an overlay drops one."""


def check_files(paths: Sequence[str | Path]) -> None:
    """Reject errors that the merged configuration no longer shows.

    These are a key that is listed twice in a section, an overlay that drops a name that no file before it has, and an
    empty `arms` or `models` in an overlay, which would have no effect.

    Args:
        paths: the files in the order in which they are merged: the complete configuration, then its overlays. Files
            that do not exist are left to Snakemake; a file that is listed again is read once.

    Raises:
        PhysEmbedError: one line with the file, the line numbers and the key; also if a file is not valid YAML.
    """
    known: dict[str, set[str]] = {section: set() for section in BY_NAME}
    read: set[Path] = set()
    for path in map(Path, paths):
        if path.resolve() in read or not path.is_file():
            continue
        root = _composed(path)
        for first, second, key in _repeated(root, ()):
            raise PhysEmbedError(
                f"{path}: lines {first} and {second}: {key} is listed twice; merge the two, or remove one of them"
            )
        for section in BY_NAME:
            _check_names(path, section, root, known[section], overlay=bool(read))
        read.add(path.resolve())


def _composed(path: Path) -> yaml.Node | None:
    """The nodes of a file, or None if it is empty. JSON is YAML except for tabs."""
    try:
        text = path.read_text(encoding="utf-8")
        return yaml.compose(text.replace("\t", " ") if _is_json(text) else text, Loader=yaml.SafeLoader)
    except UnicodeDecodeError as error:
        raise PhysEmbedError(f"{path}: not UTF-8 text ({error.reason} at byte {error.start})") from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        began = ""
        if error.context and error.context_mark:
            began = f" ({error.context} that began in line {error.context_mark.line + 1})"
        raise PhysEmbedError(f"{path}: {where}invalid YAML: {error.problem}{began}") from error
    except yaml.YAMLError as error:
        raise PhysEmbedError(f"{path}: invalid YAML: {' '.join(str(error).split())}") from error


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def _repeated(node: yaml.Node | None, path: tuple[str, ...]) -> Iterator[tuple[int, int, str]]:
    """Yield the line numbers of the first and the repeated use of each duplicate key, and its path."""
    if isinstance(node, yaml.MappingNode):
        lines: dict[tuple[str, str], int] = {}
        for key, value in node.value:
            name, line = str(key.value), key.start_mark.line + 1
            if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                if (key.tag, name) in lines:
                    yield lines[key.tag, name], line, ".".join([*path, name])
                lines.setdefault((key.tag, name), line)
            yield from _repeated(value, (*path, name))
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            yield from _repeated(value, (*path, str(index)))


def _check_names(path: Path, section: str, root: yaml.Node | None, known: set[str], *, overlay: bool) -> None:
    """Check the names in a section of one file and add them to `known`."""
    top = root.value if isinstance(root, yaml.MappingNode) else []
    for key, node in top:
        if key.value != section or not isinstance(node, yaml.MappingNode):
            continue
        if overlay and not node.value:
            raise PhysEmbedError(
                f"{path}: line {key.start_mark.line + 1}: {section}: {{}} has no effect because sections are merged; "
                f"drop {'an arm' if section == 'arms' else 'a model'} with null, as in {section}: {{name: null}} "
                f"(known: {', '.join(sorted(known)) or 'none'})"
            )
        for name, value in node.value:
            if not (isinstance(value, yaml.ScalarNode) and value.tag == "tag:yaml.org,2002:null"):
                known.add(str(name.value))
            elif overlay and name.value in known:
                known.remove(name.value)
            elif overlay:
                raise PhysEmbedError(
                    f"{path}: line {name.start_mark.line + 1}: {section}.{name.value}: null drops a name, but no file "
                    f"before this one defines it; {nearest(str(name.value), sorted(known))}"
                )
