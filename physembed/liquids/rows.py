"""Rows of a tab-separated table: reading them, and rejecting a cell with its location."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from physembed.config.messages import nearest, shown
from physembed.errors import PhysEmbedError


@dataclass(frozen=True)
class Row:
    """The cells of a line and its location."""

    path: Path
    """The table."""
    line: str
    """The line, as in `line 3`."""
    cells: dict[str, str]
    """Cell by column; missing cells are empty."""
    label: str
    """The column that identifies rows."""

    def refuse(self, column: str, problem: str, value: str | None = None) -> NoReturn:
        """Raise an error with the location, the column, the value (the cell, if not given) and the problem."""
        label = "" if column == self.label else f" ({self.cells[self.label]})"
        text = shown(self.cells[column] if value is None else value)
        raise PhysEmbedError(f"{self.path}: {self.line}{label}: {column}: {text}: {problem}")

    def number(
        self,
        column: str,
        limits: tuple[float, float],
        unit: str,
        *,
        low_included: bool = False,
        hint: Callable[[float], str] = lambda _: "",
    ) -> float:
        """The number in a cell, above the first limit and not above the second.

        `hint` is appended to the limits and explains what a number beyond them may be.
        """
        low, high = limits
        text = self.cells[column]
        value = to_float(text)
        if value is None:
            self.refuse(column, f"must be a number, in {unit}")
        if not (low < value <= high or (low_included and value == low)):
            word = "at least" if low_included else "above"
            self.refuse(column, f"must be {word} {low:g} and at most {high:g} {unit}{hint(value)}")
        return value


def read_rows(path: Path, key: str, columns: Sequence[str], optional: Collection[str] = ()) -> list[Row]:
    """The rows of a tab-separated table; empty lines and lines that start with `#` are ignored.

    The first of `columns` identifies rows in messages; `key` is the configuration key that names the table.

    Raises:
        PhysEmbedError: the file cannot be read, its columns are not the expected ones, or a line has too many cells.
    """
    where = f"config: {key}: {str(path)!r}"
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise PhysEmbedError(f"{where}: no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise PhysEmbedError(f"{where}: cannot be read as UTF-8 text: {error}") from None
    lines = [
        (f"line {number}", [cell.strip() for cell in line.split("\t")])
        for number, line in enumerate(text.split("\n"), 1)
        if line.strip() and not line.startswith("#")
    ]
    if len(lines) < 2:
        raise PhysEmbedError(f"{where}: has no rows; the first line names the columns: {', '.join(columns)}")
    first, header = lines[0]
    for cell in header:
        if cell not in columns:
            hint = nearest(cell, columns) if cell.isidentifier() else "columns are separated by single tabs"
            raise PhysEmbedError(f"{path}: {first}: {cell!r}: unknown column; {hint}")
        if header.count(cell) > 1:
            raise PhysEmbedError(f"{path}: {first}: {cell!r}: this column is listed twice")
    for column in columns:
        if column not in header and column not in optional:
            raise PhysEmbedError(f"{path}: {first}: no column {column!r}; required are {', '.join(columns)}")
    rows = []
    for line, cells in lines[1:]:
        if len(cells) > len(header):
            extra = cells[len(header)]
            raise PhysEmbedError(
                f"{path}: {line}: {extra!r}: one cell too many, the first line names {len(header)} columns"
            )
        # Editors may remove tabs at the end of a line.
        rows.append(Row(path, line, dict.fromkeys(header, "") | dict(zip(header, cells, strict=False)), columns[0]))
    return rows


def to_float(text: str) -> float | None:
    """The finite number in a cell, or None."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
