"""The tables of liquids and of measurements (`config/liquids.tsv`, `config/experiment.tsv`): reading and checking."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from physembed.config.base import NAME_MAX_LENGTH, NAME_PATTERN, PATTERNS
from physembed.errors import PhysEmbedError
from physembed.liquids.rows import Row, read_rows, to_float
from physembed.molecules.chemistry import SINGLET, molecule_problem, read_smiles
from physembed.molecules.table import RESERVED

if TYPE_CHECKING:
    from rdkit.Chem import Mol

LIQUID_COLUMNS = ("name", "components", "temperature_K", "pressure_bar", "molecules", "comment")
"""Columns of the table of liquids; all except `comment` are required."""
EXPERIMENT_COLUMNS = ("components", "temperature_K", "density_g_cm3", "viscosity_mPa_s", "source", "dubious")
"""Columns of the table of measurements; all except the last are required, cells of unknown values stay empty."""
QUANTITIES = ("density", "viscosity")
"""Allowed values in the column `dubious`."""
SUM_TOLERANCE = 1e-3
"""Tolerance of the sum of mass fractions, which are rounded in print (1/3 as 0.333)."""
SAME_COMPOSITION = 1e-6
"""Mass fractions of a liquid and of its measurement differ by less than this."""
SAME_TEMPERATURE_K = 1.0
"""A measurement within this belongs to a liquid: a density changes by 0.1 % per K, and 298 K often means 298.15 K."""
TEMPERATURE_K = (100.0, 2000.0)
"""Only a few gases are liquid below this; 25 degrees Celsius entered as 25 K are caught."""
PRESSURE_BAR = (-1000.0, 1e5)
DENSITY_G_CM3 = (0.2, 5.0)
VISCOSITY_MPA_S = (0.02, 1e4)
"""Gases have 0.01 mPa s, the least viscous liquids 0.1 to 0.2."""
ATMOSPHERE = {101.325: "kPa", 760.0: "Torr", 14.696: "psi"}
"""One atmosphere in units other than bar."""

Composition = tuple[tuple[str, float], ...]
"""Names of components and their mass fractions, sorted by name."""


@dataclass(frozen=True)
class Component:
    """One kind of molecule in a liquid."""

    name: str
    """Name of the molecule and of its folder in results/<study>/."""
    smiles: str
    """SMILES; hydrogens may be implicit."""
    mass_fraction: float
    """Mass fraction in the liquid."""


@dataclass(frozen=True)
class LiquidSpec:
    """A row of the table of liquids: a composition at given conditions."""

    name: str
    """Name of the liquid and of its folder in results/<study>/liquids/."""
    components: tuple[Component, ...]
    """Components in the order of the table."""
    temperature_K: float
    """Temperature."""
    pressure_bar: float
    """Pressure; negative values are tension."""
    molecules: int
    """Molecules in the box, all components together."""
    comment: str | None = None
    """Free text."""

    @property
    def composition(self) -> Composition:
        """Names and mass fractions, independent of the order in the table."""
        return tuple(sorted((component.name, component.mass_fraction) for component in self.components))


@dataclass(frozen=True)
class Measurement:
    """A row of the table of measurements; at least one of density and viscosity is known."""

    composition: Composition
    """Names of the components and their mass fractions, sorted by name."""
    temperature_K: float
    """Temperature."""
    density_g_cm3: float | None
    """Density."""
    viscosity_mPa_s: float | None
    """Viscosity; the midpoint if the literature gives a range."""
    viscosity_low_mPa_s: float | None
    """Lower end of the range, or the viscosity itself."""
    viscosity_high_mPa_s: float | None
    """Upper end of the range, or the viscosity itself."""
    source: str
    """Source of the values."""
    dubious: tuple[str, ...]
    """Which of density and viscosity should not be trusted: they are shown, but do not enter mean deviations."""


def read_liquids(path: str | Path) -> list[LiquidSpec]:
    """The liquids of a tab-separated table, with all rows checked; docs/how-to/liquids.md describes the columns.

    Raises:
        PhysEmbedError: one line with the file, the line, the liquid, the column, the value and the problem.
    """
    liquids, lines_of = [], dict[str, str]()
    smiles_of: dict[str, tuple[str, str, str]] = {}
    for row in read_rows(Path(path), "liquids.table", LIQUID_COLUMNS, optional={"comment"}):
        name = row.cells["name"]
        if problem := _name_problem(name):
            row.refuse("name", f"{problem}; columns are separated by single tabs")
        if name.lower() in lines_of:
            row.refuse("name", f"is listed twice (ignoring case), first in {lines_of[name.lower()]}")
        lines_of[name.lower()] = row.line
        liquid = LiquidSpec(
            name=name,
            components=_components(row),
            temperature_K=_temperature(row),
            pressure_bar=_pressure(row),
            molecules=_molecules(row),
            comment=row.cells.get("comment") or None,
        )
        for component in liquid.components:
            _check_same_component(row, component, smiles_of)
        _check_counts(row, liquid)
        liquids.append(liquid)
    return liquids


def read_experiment(path: str | Path) -> list[Measurement]:
    """The measurements of a tab-separated table, with all rows checked; docs/how-to/liquids.md describes the columns.

    Raises:
        PhysEmbedError: one line with the file, the line, the components, the column, the value and the problem.
    """
    found: list[Measurement] = []
    lines: list[str] = []
    for row in read_rows(Path(path), "liquids.experiment", EXPERIMENT_COLUMNS, optional=["dubious"]):
        density = viscosity = low = high = None
        if row.cells["density_g_cm3"]:
            density = row.number("density_g_cm3", DENSITY_G_CM3, "g/cm^3", hint=_density_hint)
        if row.cells["viscosity_mPa_s"]:
            low, high = _viscosity(row)
            viscosity = (low + high) / 2
        if density is None and viscosity is None:
            row.refuse("density_g_cm3", "this row has neither a density nor a viscosity; give at least one")
        if not row.cells["source"]:
            row.refuse("source", "give the source of the values")
        measurement = Measurement(
            composition=tuple(sorted((name, fraction) for name, _, fraction in _parts(row, with_smiles=False))),
            temperature_K=_temperature(row),
            density_g_cm3=density,
            viscosity_mPa_s=viscosity,
            viscosity_low_mPa_s=low,
            viscosity_high_mPa_s=high,
            source=row.cells["source"],
            dubious=_dubious(row, {"density": density, "viscosity": viscosity}),
        )
        for other, line in zip(found, lines, strict=True):
            same = _same_composition(other.composition, measurement.composition)
            if same and math.isclose(other.temperature_K, measurement.temperature_K, abs_tol=1e-6):
                row.refuse(
                    "components", f"composition and temperature are listed twice, first in {line}; merge both rows"
                )
        found.append(measurement)
        lines.append(row.line)
    return found


def _dubious(row: Row, values: Mapping[str, float | None]) -> tuple[str, ...]:
    """The quantities named in the column `dubious`."""
    names = row.cells.get("dubious", "").split()
    for name in names:
        if name not in QUANTITIES:
            row.refuse("dubious", f"names the values that should not be trusted: {' or '.join(QUANTITIES)}, or both")
        if values[name] is None:
            row.refuse("dubious", f"the row has no {name}")
    return tuple(names)


def measured(liquid: LiquidSpec, measurements: Sequence[Measurement]) -> Measurement | None:
    """The measurement for a liquid's composition nearest to its temperature, if within 1 K; else None.

    Raises:
        PhysEmbedError: two measurements are equally near.
    """
    offset = {
        index: abs(measurement.temperature_K - liquid.temperature_K)
        for index, measurement in enumerate(measurements)
        if _same_composition(measurement.composition, liquid.composition)
    }
    near = sorted((index for index in offset if offset[index] <= SAME_TEMPERATURE_K), key=offset.__getitem__)
    if not near:
        return None
    if len(near) > 1 and math.isclose(offset[near[0]], offset[near[1]], abs_tol=1e-6):
        first, second = (measurements[index].temperature_K for index in near[:2])
        raise PhysEmbedError(
            f"liquid {liquid.name}: measurements at {first:g} K and {second:g} K are equally near to its "
            f"{liquid.temperature_K:g} K; remove one, or set the temperature of the liquid to one of them"
        )
    return measurements[near[0]]


def elements(liquid: LiquidSpec) -> set[int]:
    """Atomic numbers of the elements in a liquid, including hydrogen."""
    return {number for component in liquid.components for number in _atomic_numbers(component.smiles)}


def masses_u(liquid: LiquidSpec) -> list[float]:
    """Mass of a molecule of each component, u."""
    from ase.data import atomic_masses

    return [float(atomic_masses[_atomic_numbers(component.smiles)].sum()) for component in liquid.components]


def box_length_A(liquid: LiquidSpec, density_g_cm3: float) -> float:
    """Length of the cubic box with the liquid's molecules at a density, Å."""
    from physembed.liquids.composition import cube_length_A, molecule_counts

    masses = masses_u(liquid)
    counts = molecule_counts(masses, [component.mass_fraction for component in liquid.components], liquid.molecules)
    return cube_length_A(sum(mass * count for mass, count in zip(masses, counts, strict=True)), density_g_cm3)


def _same_composition(first: Composition, second: Composition) -> bool:
    return [name for name, _ in first] == [name for name, _ in second] and all(
        abs(a - b) < SAME_COMPOSITION for (_, a), (_, b) in zip(first, second, strict=True)
    )


def _name_problem(name: str) -> str | None:
    if re.fullmatch(NAME_PATTERN, name) is None or len(name) > NAME_MAX_LENGTH:
        return PATTERNS[NAME_PATTERN]
    return None


def _temperature(row: Row) -> float:
    def hint(value: float) -> str:
        celsius = f"; {value:g} degrees Celsius is {value + 273.15:g} K" if -100 < value <= TEMPERATURE_K[0] else ""
        few = "no" if value <= 0 or value > TEMPERATURE_K[1] else "hardly any"
        return f": {few} organic liquid exists at {value:g} K{celsius}"

    return row.number("temperature_K", TEMPERATURE_K, "K", hint=hint)


def _pressure(row: Row) -> float:
    def hint(value: float) -> str:
        return f"; {value:g} Pa is {value / 1e5:g} bar"

    pressure = row.number("pressure_bar", PRESSURE_BAR, "bar", low_included=True, hint=hint)
    for atmosphere, unit in ATMOSPHERE.items():
        if abs(pressure / atmosphere - 1) < 1e-3:
            row.refuse(
                "pressure_bar",
                f"is one atmosphere in {unit}; in bar this is 1.01325 (write {1.002 * atmosphere:.4g} if {pressure:g} "
                "bar is intended)",
            )
    return pressure


def _density_hint(value: float) -> str:
    grams = value / 1000
    return f"; {value:g} kg/m^3 is {grams:g} g/cm^3" if DENSITY_G_CM3[0] < grams <= DENSITY_G_CM3[1] else ""


def _viscosity(row: Row) -> tuple[float, float]:
    """Lower and upper end of a viscosity, equal for a single number."""
    cell = row.cells["viscosity_mPa_s"]
    # Try a single number first, since the hyphen of 1e-3 is not a separator.
    texts = [cell] if to_float(cell) is not None else re.split(r"\s*[-–]\s*", cell)
    ends = [value for text in texts if (value := to_float(text)) is not None]
    if len(texts) > 2 or len(ends) != len(texts):
        row.refuse("viscosity_mPa_s", "must be a number, or a range as in 1.60-1.90, in mPa s")
    low, high = ends[0], ends[-1]
    if not VISCOSITY_MPA_S[0] < low <= high < VISCOSITY_MPA_S[1]:
        limits = f"must be above {VISCOSITY_MPA_S[0]:g} and below {VISCOSITY_MPA_S[1]:g} mPa s"
        small = 0 < low <= VISCOSITY_MPA_S[0]
        hint = f"; {low:g} Pa s is {1000 * low:g} mPa s, {low:g} P is {100 * low:g} mPa s" if small else ""
        row.refuse("viscosity_mPa_s", f"{limits}, the lower end of a range first{hint}")
    return low, high


def _parts(row: Row, *, with_smiles: bool) -> list[tuple[str, str, float]]:
    """Name, SMILES (empty without) and mass fraction of each part of the cell `components`."""
    form = "NAME SMILES MASS_FRACTION" if with_smiles else "NAME MASS_FRACTION"
    cell = row.cells["components"]
    texts = [part.strip() for part in cell.split(";")]
    parts: list[tuple[str, str, float]] = []
    for text in texts:
        words = text.split()
        if len(texts) == 1 and len(words) == len(form.split()) - 1:
            words.append("1")
        if len(words) != len(form.split()):
            row.refuse("components", f"must be {form}, with a semicolon between components", text)
        name, smiles = words[0], words[1] if with_smiles else ""
        if problem := _name_problem(name):
            row.refuse("components", problem, name)
        if name.lower() in (other.lower() for other, _, _ in parts):
            row.refuse("components", "this component is listed twice (ignoring case)", name)
        fraction = to_float(words[-1])
        if fraction is None or not 0 < fraction <= 1:
            row.refuse("components", f"{name}: a mass fraction must be above 0 and at most 1", words[-1])
        parts.append((name, smiles, fraction))
    total = sum(fraction for _, _, fraction in parts)
    if abs(total - 1) > SUM_TOLERANCE:
        row.refuse("components", f"the mass fractions add up to {total:g}, not to 1")
    return parts


def _components(row: Row) -> tuple[Component, ...]:
    components = tuple(Component(*part) for part in _parts(row, with_smiles=True))
    for component in components:
        if component.name.lower() in RESERVED:
            problem = "is the name of a folder or file of results/<study>/; choose another name"
            row.refuse("components", problem, component.name)
        if trouble := _smiles_problem(component.smiles):
            row.refuse("components", f"{component.name}: {trouble}", component.smiles)
    return components


def _smiles_problem(smiles: str) -> str | None:
    """Why GAFF or a closed-shell calculation cannot treat a component of a liquid, if so."""
    from rdkit import Chem

    molecule = read_smiles(smiles)
    if isinstance(molecule, str):
        return molecule
    if (fragments := len(Chem.GetMolFrags(molecule))) != 1:
        return f"contains {fragments} molecules; make each its own component (no salts: components are neutral)"
    if charge := Chem.GetFormalCharge(molecule):
        return f"has a charge of {charge:+d}; components of liquids are neutral"
    problem = molecule_problem(molecule, None)
    return problem and problem.partition(f"; {SINGLET}")[0]


def _check_same_component(row: Row, component: Component, known: dict[str, tuple[str, str, str]]) -> None:
    """Reject a component whose name denotes another molecule in an earlier row, or differs in capitalisation only."""
    from rdkit import Chem

    canonical = Chem.MolToSmiles(_molecule(component.smiles))
    name, smiles, line = known.setdefault(component.name.lower(), (component.name, canonical, row.line))
    if name != component.name:
        row.refuse("components", f"differs from {name!r} in {line} in capitalisation only", component.name)
    if smiles != canonical:
        row.refuse(
            "components", f"{name}: differs from {smiles!r}, the molecule of that name in {line}", component.smiles
        )


def _molecules(row: Row) -> int:
    cell = row.cells["molecules"]
    if re.fullmatch(r"[0-9]+", cell) is None or int(cell) < 1:
        row.refuse("molecules", "must be a whole number of 1 or more, in digits only")
    return int(cell)


def _check_counts(row: Row, liquid: LiquidSpec) -> None:
    """Reject a box that is too small for the fractions."""
    amounts = [
        component.mass_fraction / mass for component, mass in zip(liquid.components, masses_u(liquid), strict=True)
    ]
    if liquid.molecules < len(liquid.components):
        row.refuse("molecules", f"fewer than the {len(liquid.components)} components")
    for component, amount in zip(liquid.components, amounts, strict=True):
        share = liquid.molecules * amount / sum(amounts)
        if share < 0.5:
            needed = math.ceil(0.5 * sum(amounts) / amount)
            problem = f"too few: {component.name} would have {share:.2g} of a molecule; give {needed} or more"
            row.refuse("molecules", problem)


def _molecule(smiles: str) -> Mol:
    from rdkit import Chem

    return Chem.MolFromSmiles(smiles)


def _atomic_numbers(smiles: str) -> list[int]:
    """Atomic number of each atom, including implicit hydrogens."""
    atoms = list(_molecule(smiles).GetAtoms())
    return [atom.GetAtomicNum() for atom in atoms] + [1] * sum(atom.GetTotalNumHs() for atom in atoms)
