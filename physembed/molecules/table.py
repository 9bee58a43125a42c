"""The table of molecules (`config/molecules.tsv`): reading it and checking its rows before anything runs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NoReturn

from physembed.config.base import NAME_MAX_LENGTH, NAME_PATTERN, PATTERNS
from physembed.config.messages import nearest, shown
from physembed.errors import PhysEmbedError
from physembed.molecules.chemistry import molecule_problem, read_smiles, read_structure, spin_problem

if TYPE_CHECKING:
    from rdkit.Chem import Mol

COLUMNS = ("name", "smiles", "structure", "topology", "coordinates", "comment", "multiplicity")
"""Columns of the table; unused ones may be left out."""
RESERVED = frozenset({
    "benchmarks", "figures", "liquids", "logs", "models", "overview.html", "provenance.json", "report.html", "restart",
    "summary.html", "tables",
})  # fmt: skip
"""Other files and folders in results/<study>/, whose names molecules must not have."""
COORDINATES_OF = {".prmtop": (".inpcrd", ".rst7"), ".parm7": (".inpcrd", ".rst7"), ".top": (".gro",)}
"""Suffixes of the coordinates for each suffix of a topology (AMBER, AMBER, GROMACS)."""
STRUCTURE_ENDINGS = (".sdf", ".mol")


@dataclass(frozen=True)
class MoleculeSpec:
    """A row of the table. Exactly one of `smiles`, `structure` and `topology` with `coordinates` is given."""

    name: str
    """Name of the molecule and of its folder in results/<study>/."""
    smiles: str | None = None
    """SMILES; hydrogens may be implicit."""
    structure: str | None = None
    """Path of an SDF or MOL file with 3D coordinates and all hydrogens."""
    topology: str | None = None
    """Path of the molecule's own topology: AMBER prmtop or parm7, or GROMACS top."""
    coordinates: str | None = None
    """Path of the coordinates for `topology`: AMBER inpcrd or rst7, or GROMACS gro."""
    comment: str | None = None
    """Free text."""
    multiplicity: int | None = None
    """2 S + 1, if given; a molecule whose electrons are all paired needs none."""


@dataclass(frozen=True)
class _Row:
    """A molecule and its location in the table."""

    spec: MoleculeSpec
    place: str

    def refuse(self, column: str, problem: str) -> NoReturn:
        name = "" if column == "name" else f" ({self.spec.name})"
        raise PhysEmbedError(f"{self.place}{name}: {column}: {shown(getattr(self.spec, column))}: {problem}")


def read_table(path: str | Path, names: Sequence[str] | Literal["all"] = "all") -> list[MoleculeSpec]:
    """The molecules of a tab-separated table; config/README.md describes its columns.

    The form of every row is checked, files and chemistry only for the requested molecules. Lines that start with
    `#` and empty lines are ignored. Paths in the table are relative to the working directory.

    Args:
        path: the table.
        names: the requested molecules, or `all`.

    Returns:
        The requested molecules, in the order of `names`, or of the table for `all`.

    Raises:
        PhysEmbedError: one line with the file, the line, the column and the value.
    """
    rows = _read_rows(Path(path))
    if names != "all":
        by_name = {row.spec.name: row for row in rows}
        for name in names:
            if name not in by_name:
                hint = nearest(name, list(by_name))
                raise PhysEmbedError(f"config: molecules.names: {name!r}: no such molecule in {path}; {hint}")
        rows = [by_name[name] for name in names]
    for row in rows:
        _check_source(row)
    return [row.spec for row in rows]


def _read_rows(path: Path) -> list[_Row]:
    key = f"config: molecules.table: {str(path)!r}"
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise PhysEmbedError(f"{key}: no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise PhysEmbedError(f"{key}: cannot be read as UTF-8 text: {error}") from None
    lines = [
        (f"{path}: line {number}", [cell.strip() for cell in line.split("\t")])
        for number, line in enumerate(text.split("\n"), 1)
        if line.strip() and not line.startswith("#")
    ]
    if len(lines) < 2:
        raise PhysEmbedError(f"{key}: holds no molecules; the first line names the columns, each other a molecule")
    header = _header(*lines[0])
    rows: list[_Row] = []
    lines_of: dict[str, str] = {}
    for place, cells in lines[1:]:
        row = _row(place, header, cells)
        folder = row.spec.name.lower()
        if folder in lines_of:
            row.refuse("name", f"is listed twice (ignoring case), first in {lines_of[folder]}")
        lines_of[folder] = place.removeprefix(f"{path}: ")
        rows.append(row)
    return rows


def _header(place: str, cells: list[str]) -> list[str]:
    for cell in cells:
        if cell not in COLUMNS:
            hint = nearest(cell, COLUMNS) if cell.isidentifier() else "columns are separated by single tabs"
            raise PhysEmbedError(f"{place}: {cell!r}: unknown column; {hint}")
        if cells.count(cell) > 1:
            raise PhysEmbedError(f"{place}: {cell!r}: this column is listed twice")
    if "name" not in cells:
        raise PhysEmbedError(f"{place}: no column 'name'; the first line names the columns: {', '.join(COLUMNS)}")
    return cells


def _row(place: str, header: list[str], cells: list[str]) -> _Row:
    """One row, its name checked."""
    # Editors may remove tabs at the end of a line, so cells may be missing but there are never too many.
    if len(cells) > len(header):
        extra = cells[len(header)]
        raise PhysEmbedError(f"{place}: {extra!r}: one cell too many, the first line names {len(header)} columns")
    values = {column: cell for column, cell in zip(header, cells, strict=False) if cell}
    text = values.pop("multiplicity", "")
    if text and re.fullmatch(r"[1-9]", text) is None:
        problem = "must be a whole number (2 S + 1: 1 for a singlet, 2 for a radical)"
        raise PhysEmbedError(f"{place} ({values.get('name', '')}): multiplicity: {shown(text)}: {problem}")
    multiplicity = int(text) if text else None
    row = _Row(MoleculeSpec(name=values.pop("name", ""), multiplicity=multiplicity, **values), place)
    name = row.spec.name
    if re.fullmatch(NAME_PATTERN, name) is None or len(name) > NAME_MAX_LENGTH:
        row.refuse("name", f"{PATTERNS[NAME_PATTERN]}; columns are separated by single tabs")
    if name.lower() in RESERVED:
        row.refuse("name", "is taken by a folder or file of results/<study>/; choose another")
    return row


def _check_source(row: _Row) -> None:
    """Reject a row whose files are missing or whose molecule the workflow cannot treat."""
    spec = row.spec
    given = [column for column in ("smiles", "structure", "topology", "coordinates") if getattr(spec, column)]
    match given:
        case ["smiles"]:
            _check_smiles(row, str(spec.smiles))
        case ["structure"]:
            _check_structure(row, _existing(row, "structure", STRUCTURE_ENDINGS))
        case ["topology", "coordinates"]:
            topology = _existing(row, "topology", tuple(COORDINATES_OF))
            _check_topology(row, topology, _existing(row, "coordinates", COORDINATES_OF[topology.suffix.lower()]))
        case ["topology"]:
            row.refuse("topology", "needs a file in the column 'coordinates' as well")
        case ["coordinates"]:
            row.refuse("coordinates", "needs a file in the column 'topology' as well")
        case _:
            found = " and ".join(given) or "none of them"
            row.refuse("name", f"give smiles, or structure, or topology with coordinates; this row gives {found}")


def _existing(row: _Row, column: str, endings: Sequence[str]) -> Path:
    path = Path(getattr(row.spec, column))
    if path.suffix.lower() not in endings:
        row.refuse(column, f"must end in {' or '.join(endings)}")
    if not path.exists():
        row.refuse(column, "no such file (paths are relative to the working directory)")
    if not path.is_file():
        row.refuse(column, "is not a file")
    return path


def _check_topology(row: _Row, topology: Path, coordinates: Path) -> None:
    # ParmEd takes half a second to import, which a study without user topologies need not pay.
    from physembed.molecules.checks import check_given

    try:
        composition = check_given(topology, coordinates)
    except PhysEmbedError as error:
        row.refuse("topology", str(error))
    if problem := spin_problem(list(composition.numbers), composition.charge, row.spec.multiplicity):
        row.refuse("topology", problem)


def _check_smiles(row: _Row, smiles: str) -> None:
    if len(smiles.split()) > 1:
        row.refuse("smiles", "a SMILES holds no blanks; columns are separated by single tabs")
    _check_molecule(row, "smiles", read_smiles(smiles))


def _check_structure(row: _Row, path: Path) -> None:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        row.refuse("structure", f"cannot be read as text: {error}")
    if len([record for record in text.split("$$$$") if record.strip()]) > 1:
        row.refuse("structure", "holds more than one molecule; give each its own file and row")
    _check_molecule(row, "structure", read_structure(text))


def _check_molecule(row: _Row, column: str, molecule: Mol | str) -> None:
    """Reject what could not be read, and what GAFF or xTB cannot treat."""
    problem = molecule if isinstance(molecule, str) else molecule_problem(molecule, row.spec.multiplicity)
    if problem:
        row.refuse(column, problem)


def atomic_numbers_of(spec: MoleculeSpec) -> set[int]:
    """Elements of a molecule of a checked table, hydrogen included."""
    if spec.topology and spec.coordinates:
        from physembed.molecules.checks import check_given

        return set(check_given(Path(spec.topology), Path(spec.coordinates)).numbers)
    molecule = read_smiles(spec.smiles) if spec.smiles else read_structure(Path(str(spec.structure)).read_text())
    if isinstance(molecule, str):
        raise ValueError(f"{spec.name}: a checked row can be read, but: {molecule}")
    from rdkit.Chem import AddHs

    return {atom.GetAtomicNum() for atom in AddHs(molecule).GetAtoms()}
