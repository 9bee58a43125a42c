"""The tables of liquids and measurements: what is refused and how, and which measurement belongs to a liquid."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from rdkit import Chem
from rdkit.Chem import Descriptors

from physembed.errors import PhysEmbedError
from physembed.liquids.table import (
    EXPERIMENT_COLUMNS,
    LIQUID_COLUMNS,
    Component,
    LiquidSpec,
    Measurement,
    box_length_A,
    elements,
    masses_u,
    measured,
    read_experiment,
    read_liquids,
)

ROOT = Path(__file__).parents[2]
EC, EMC = "O=C1OCCO1", "CCOC(=O)OC"
TESTED = f"EC {EC} 0.3; EMC {EMC} 0.7"
PAPER = """
EC 1.0 313.15, EMC 1.0 298.15, EC:EMC 0.5 298.15, EC:EMC 0.3 293.15, EC:EMC 0.3 298.15, EC:EMC 0.3 303.15,
EC:EMC 0.3 313.15, EA 1.0 298.15, DMC 1.0 298.15
"""
"""The rows of the paper's Tables 1 and 2: system, mass fraction of its first component and temperature."""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def table(*rows: str, columns: tuple[str, ...] = LIQUID_COLUMNS) -> Path:
    path = Path("table.tsv")
    path.write_text("\n".join(["\t".join(columns), *rows]) + "\n")
    return path


def liquids(*rows: str) -> list[LiquidSpec]:
    return read_liquids(table(*rows))


def experiment(*rows: str) -> list[Measurement]:
    return read_experiment(table(*rows, columns=EXPERIMENT_COLUMNS))


def row(name: str = "x", components: str = TESTED, temperature: str = "298.15", pressure: str = "1",
        molecules: str = "92") -> str:  # fmt: skip
    return "\t".join((name, components, temperature, pressure, molecules))


# A row, and the column, the value and the advice of its message.
BAD_LIQUIDS = [
    (row(components=f"EC {EC} 0.3; EMC {EMC} 0.6"), "components", f"'EC {EC} 0.3; EMC {EMC} 0.6'", "add up to 0.9"),
    (row(components=f"EC {EC} 0.3; EMC {EMC} 0.7011"), "components", "7011'", "not to 1"),
    (row(components=f"EC {EC} 0.5"), "components", f"'EC {EC} 0.5'", "add up to 0.5"),
    (row(components=f"EC {EC} 0; EMC {EMC} 1"), "components", "'0'", "EC: a mass fraction must be above 0"),
    (row(components=f"EC {EC} -0.1; EMC {EMC} 1.1"), "components", "'-0.1'", "above 0"),
    (row(components=f"EC {EC} 30%; EMC {EMC} 70%"), "components", "'30%'", "above 0 and at most 1"),
    (row(components=f"EC {EC} nan; EMC {EMC} 1"), "components", "'nan'", "above 0 and at most 1"),
    (row(components=f"EC {EC}; EMC {EMC}"), "components", f"'EC {EC}'", "NAME SMILES MASS_FRACTION, with a semicolon"),
    (row(components=f"EC {EC} 0.3, EMC {EMC} 0.7"), "components", f"'EC {EC} 0.3, EMC {EMC} 0.7'", "semicolon"),
    (row(components=f"EC {EC} 1;"), "components", "''", "semicolon between components"),
    (row(components=""), "components", "''", "NAME SMILES MASS_FRACTION"),
    (row(components=f"EC {EC} 0.3; EC {EMC} 0.7"), "components", "'EC'", "is listed twice"),
    (row(components=f"EC {EC} 0.3; ec {EC} 0.7"), "components", "'ec'", "is listed twice"),
    (row(components=f"E/C {EC}"), "components", "'E/C'", "must be a valid folder name"),
    (row(components=f"liquids {EC}"), "components", "'liquids'", "is the name of a folder"),
    (row(components="DMC CCOC(=O)OCC"), "components", "'CCOC(=O)OCC'", "DMC: differs from 'COC(=O)OC'"),
    (row(components="Dmc COC(=O)OC"), "components", "'Dmc'", "differs from 'DMC' in line 3 in capitalisation only"),
    (row(components="A C1CC"), "components", "'C1CC'", "A: is not a SMILES that RDKit can read"),
    (row(components="A C(C)(C)(C)(C)C"), "components", "'C(C)(C)(C)(C)C'", "valence"),
    (row(components="A C[Si](C)(C)C"), "components", "'C[Si](C)(C)C'", "GAFF has no parameters for 'Si'"),
    (row(components="A C[CH2]"), "components", "'C[CH2]'", "has an odd number of electrons (17)"),
    (row(components="A [O][O]"), "components", "'[O][O]'", "has 2 unpaired electrons"),
    (row(components="A CC[NH3+]"), "components", "'CC[NH3+]'", "a charge of +1; components of liquids are neutral"),
    (row(components="A [Li+].[Cl-]"), "components", "'[Li+].[Cl-]'", "contains 2 molecules"),
    (row(temperature="0"), "temperature_K", "'0'", "must be above 100 and at most 2000 K"),
    (row(temperature="25"), "temperature_K", "'25'", "liquid exists at 25 K; 25 degrees Celsius is 298.15 K"),
    (row(pressure="101325"), "pressure_bar", "'101325'", "101325 Pa is 1.01325 bar"),
    (row(pressure="101.325"), "pressure_bar", "'101.325'", "one atmosphere in kPa; in bar this is 1.01325"),
    (row(pressure="760"), "pressure_bar", "'760'", "one atmosphere in Torr"),
    (row(components="A O=O"), "components", "'O=O'", "has a triplet as its ground state"),
    (row(components="A [2H]OC"), "components", "'[2H]OC'", "holds the isotope 2H"),
    (row(components="A [Ar]"), "components", "'[Ar]'", "GAFF has no parameters for 'Ar'"),
    (row(temperature="-20"), "temperature_K", "'-20'", "liquid exists at -20 K; -20 degrees Celsius is 253.15 K"),
    (row(temperature="2001"), "temperature_K", "'2001'", "at most 2000 K"),
    (row(temperature="inf"), "temperature_K", "'inf'", "must be a number, in K"),
    (row(temperature="25 C"), "temperature_K", "'25 C'", "must be a number, in K"),
    (row(temperature=""), "temperature_K", "''", "must be a number, in K"),
    (row(pressure="-1001"), "pressure_bar", "'-1001'", "at least -1000 and at most 100000 bar"),
    (row(pressure="101325"), "pressure_bar", "'101325'", "at most 100000 bar"),
    (row(molecules="1"), "molecules", "'1'", "fewer than the 2 components"),
    (row(components=f"EC {EC} 0.01; EMC {EMC} 0.99", molecules="20"), "molecules", "'20'", "EC would have 0.24 of a"),
    (row(molecules="0"), "molecules", "'0'", "whole number of 1 or more"),
    (row(molecules="92.5"), "molecules", "'92.5'", "whole number"),
    (row(molecules="-3"), "molecules", "'-3'", "whole number"),
    (row("Known"), "name", "'Known'", "is listed twice (ignoring case), first in line 3"),
    (row("a/b"), "name", "'a/b'", "must be a valid folder name"),
    (row(""), "name", "''", "must be a valid folder name"),
]  # fmt: skip


@pytest.mark.parametrize(("bad", "column", "value", "advice"), BAD_LIQUIDS, ids=[case[0] for case in BAD_LIQUIDS])
def test_liquid_refused(bad: str, column: str, value: str, advice: str, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(PhysEmbedError) as raised:
        liquids("# a comment", row("known", "DMC COC(=O)OC"), "", bad)
    message = str(raised.value)
    place = "line 5: name" if column == "name" else f"line 5 (x): {column}"
    assert message.startswith(f"table.tsv: {place}: ")
    shown = message.removeprefix(f"table.tsv: {place}: ")
    assert value in shown.split(": ")[0]
    assert advice in message
    assert len(message.splitlines()) == 1
    assert capfd.readouterr() == ("", "")


def test_too_few_molecules_say_how_many_would_do() -> None:
    components = f"EC {EC} 0.01; EMC {EMC} 0.99"
    with pytest.raises(PhysEmbedError, match=r"give 43 or more$"):
        liquids(row(components=components, molecules="42"))
    assert liquids(row(components=components, molecules="43"))


@pytest.mark.parametrize(
    ("header", "advice"),
    [
        ("name\tcomponents\ttemperature_K\tpressure_bar", "no column 'molecules'"),
        ("name\tcomponents\ttemperature\tpressure_bar\tmolecules", "did you mean 'temperature_K'?"),
        ("name\tname\tcomponents", "'name': this column is listed twice"),
        ("name components", "columns are separated by single tabs"),
    ],
)
def test_header_refused(header: str, advice: str) -> None:
    Path("table.tsv").write_text(f"{header}\n{row()}\n")
    with pytest.raises(PhysEmbedError, match=r"^table.tsv: line 1: ") as raised:
        read_liquids("table.tsv")
    assert advice in str(raised.value)


def test_cell_too_many_and_files_refused() -> None:
    with pytest.raises(PhysEmbedError, match=r"^table.tsv: line 2: 'extra': one cell too many"):
        liquids(row() + "\tcomment\textra")
    with pytest.raises(PhysEmbedError, match=r"^config: liquids.table: 'none.tsv': no such file"):
        read_liquids("none.tsv")
    with pytest.raises(PhysEmbedError, match=r"^config: liquids.experiment: 'table.tsv': has no rows"):
        experiment()
    Path("binary.tsv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(PhysEmbedError, match=r"^config: liquids.table: 'binary.tsv': cannot be read"):
        read_liquids("binary.tsv")


def test_liquids_are_read() -> None:
    """The order of components is the table's, that of the composition is not; SMILES may be written in any way."""
    swapped = f"EMC COC(=O)OCC 0.7; EC {EC} 0.3"
    first, second, pure = liquids(row("a") + "\tours", row("b", swapped, "313.15", "-5.5"), row("c", f"EC {EC}"))
    assert first == LiquidSpec("a", (Component("EC", EC, 0.3), Component("EMC", EMC, 0.7)), 298.15, 1.0, 92, "ours")
    assert [component.name for component in second.components] == ["EMC", "EC"]
    assert first.composition == second.composition == (("EC", 0.3), ("EMC", 0.7))
    assert (second.temperature_K, second.pressure_bar, second.comment) == (313.15, -5.5, None)
    assert pure.composition == (("EC", 1.0),)


def test_elements_and_masses() -> None:
    mixture, fluorinated = liquids(row("a"), row("b", "TFE OCC(F)(F)F"))
    assert elements(mixture) == {1, 6, 8}
    assert elements(fluorinated) == {1, 6, 8, 9}
    expected = [Descriptors.MolWt(Chem.MolFromSmiles(smiles)) for smiles in (EC, EMC)]
    assert masses_u(mixture) == pytest.approx(expected, abs=0.01)


def test_box_length() -> None:
    """100 molecules of dimethyl carbonate, 90.08 g/mol, at 1.063 g/cm^3."""
    (dmc,) = liquids(row("a", "DMC COC(=O)OC", molecules="100"))
    volume = 100 * 90.08 / 1.063 / 6.02214e23 * 1e24
    assert box_length_A(dmc, 1.063) == pytest.approx(volume ** (1 / 3), rel=1e-4)


def measurement(components: str = "EC 0.3; EMC 0.7", temperature: str = "298.15", density: str = "1.09",
                viscosity: str = "0.83", source: str = "a book") -> str:  # fmt: skip
    return "\t".join((components, temperature, density, viscosity, source))


BAD_MEASUREMENTS = [
    (measurement(density="1094"), "density_g_cm3", "'1094'", "at most 5 g/cm^3; 1094 kg/m^3 is 1.094 g/cm^3"),
    (measurement(density="0.1"), "density_g_cm3", "'0.1'", "must be above 0.2"),
    (measurement(density="-1"), "density_g_cm3", "'-1'", "must be above 0.2"),
    (measurement(density="1,09"), "density_g_cm3", "'1,09'", "must be a number, in g/cm^3"),
    (measurement(density="", viscosity=""), "density_g_cm3", "''", "neither a density nor a viscosity"),
    (measurement(viscosity="0"), "viscosity_mPa_s", "'0'", "above 0.02 and below 10000 mPa s"),
    (measurement(viscosity="-0.8"), "viscosity_mPa_s", "'-0.8'", "above 0"),
    (measurement(viscosity="10000"), "viscosity_mPa_s", "'10000'", "below 10000"),
    (measurement(viscosity="1.9-1.6"), "viscosity_mPa_s", "'1.9-1.6'", "lower end of a range first"),
    (measurement(viscosity="1-2-3"), "viscosity_mPa_s", "'1-2-3'", "a range as in 1.60-1.90"),
    (measurement(viscosity="high"), "viscosity_mPa_s", "'high'", "must be a number, or a range"),
    (measurement(source=""), "source", "''", "give the source of the values"),
    (measurement("EC 0.3; EMC 0.6"), "components", "'EC 0.3; EMC 0.6'", "add up to 0.9"),
    (measurement("EC; EMC"), "components", "'EC'", "NAME MASS_FRACTION"),
    (measurement(f"EC {EC} 1"), "components", f"'EC {EC} 1'", "NAME MASS_FRACTION"),
    (measurement(temperature="0"), "temperature_K", "'0'", "must be above 100"),
    (measurement(temperature="40"), "temperature_K", "'40'", "40 degrees Celsius is 313.15 K"),
    (measurement(viscosity="0.000585"), "viscosity_mPa_s", "'0.000585'", "0.000585 Pa s is 0.585 mPa s"),
    (measurement("EMC 0.5; EC 0.5"), "components", "'EMC 0.5; EC 0.5'", "are listed twice, first in line 2"),
]


@pytest.mark.parametrize(
    ("bad", "column", "value", "advice"), BAD_MEASUREMENTS, ids=[case[0] for case in BAD_MEASUREMENTS]
)
def test_measurement_refused(bad: str, column: str, value: str, advice: str) -> None:
    with pytest.raises(PhysEmbedError) as raised:
        experiment(measurement("EC 0.5; EMC 0.5"), bad)
    message = str(raised.value)
    label = "" if column == "components" else " (EC 0.3; EMC 0.7)"
    assert message.startswith(f"table.tsv: line 3{label}: {column}: {value}: ")
    assert advice in message
    assert len(message.splitlines()) == 1


@pytest.mark.parametrize(
    ("cell", "low", "high"),
    [("0.83", 0.83, 0.83), ("1.60-1.90", 1.6, 1.9), ("1.6 – 1.9", 1.6, 1.9), ("8e-1", 0.8, 0.8)],
)
def test_viscosity_may_be_a_range(cell: str, low: float, high: float) -> None:
    (read,) = experiment(measurement(viscosity=cell))
    assert (read.viscosity_low_mPa_s, read.viscosity_high_mPa_s) == (low, high)
    assert read.viscosity_mPa_s == pytest.approx((low + high) / 2)


def test_empty_cells_are_not_known() -> None:
    density, viscosity = experiment(measurement(viscosity=""), measurement("EC", density=""))
    assert (density.density_g_cm3, density.viscosity_mPa_s, density.viscosity_low_mPa_s) == (1.09, None, None)
    assert (viscosity.density_g_cm3, viscosity.viscosity_mPa_s) == (None, 0.83)
    assert viscosity.composition == (("EC", 1.0),)


def test_measurement_of_a_liquid() -> None:
    (liquid,) = liquids(row(temperature="298"))
    found = experiment(
        measurement("EMC 0.7; EC 0.3", "298.15", "1.01"),
        measurement("EMC 0.7; EC 0.3", "297.6", "1.02"),
        measurement("EC 0.300001; EMC 0.699999", "298", "1.03"),
        measurement("EC", "298", "1.04"),
        measurement("EC 0.3; DMC 0.7", "298", "1.05"),
    )
    nearest = measured(liquid, found)
    assert nearest is not None
    assert nearest.density_g_cm3 == 1.01
    assert measured(liquid, found[2:]) is None
    assert measured(liquid, []) is None


@pytest.mark.parametrize(
    ("temperature", "belongs"), [("299", True), ("297", True), ("299.001", False), ("296.9", False)]
)
def test_measurement_within_a_kelvin(temperature: str, belongs: bool) -> None:
    (liquid,) = liquids(row(temperature="298"))
    found = experiment(measurement(temperature=temperature))
    assert measured(liquid, found) == (found[0] if belongs else None)


def test_equally_near_measurements_are_refused() -> None:
    (liquid,) = liquids(row(temperature="298"))
    found = experiment(measurement(temperature="297.5"), measurement(temperature="298.5"))
    with pytest.raises(PhysEmbedError, match=r"^liquid x: measurements at 297.5 K and 298.5 K are equally near"):
        measured(liquid, found)
    third = experiment(measurement(temperature="298.1", density="1.01"))
    nearest = measured(liquid, [*found, *third])
    assert nearest is not None
    assert nearest.density_g_cm3 == 1.01


def test_our_tables_hold_the_liquids_of_the_paper(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every row of the paper's tables is a liquid of ours and has a measured density; sizes are those of a fair box."""
    monkeypatch.chdir(ROOT)
    ours = read_liquids("config/liquids.tsv")
    found = read_experiment("config/experiment.tsv")
    wanted = set()
    for words in (text.split() for text in PAPER.replace("\n", " ").split(",")):
        names, fraction = words[0].split(":"), float(words[1])
        fractions = [fraction] if len(names) == 1 else [fraction, 1 - fraction]
        wanted.add((tuple(sorted(zip(names, fractions, strict=True))), float(words[2])))
    assert {(liquid.composition, liquid.temperature_K) for liquid in ours} == wanted
    for liquid in ours:
        measurement = measured(liquid, found)
        assert measurement is not None
        assert measurement.density_g_cm3 is not None
        assert measurement.viscosity_mPa_s is not None
        assert box_length_A(liquid, measurement.density_g_cm3) > 2.05 * 10.0
        smiles = {component.name: component.smiles for component in liquid.components}
        atoms = {name: Chem.AddHs(Chem.MolFromSmiles(text)).GetNumAtoms() for name, text in smiles.items()}
        assert 900 < liquid.molecules * min(atoms.values()) <= liquid.molecules * max(atoms.values()) < 1500
    assert {smiles for liquid in ours for smiles in (c.smiles for c in liquid.components)} == {
        EC, EMC, "COC(=O)OC", "CCOC(C)=O",
    }  # fmt: skip


def test_our_measurements_are_plain_values(monkeypatch: pytest.MonkeyPatch) -> None:
    """Density falls with temperature for one composition, and each source is named."""
    monkeypatch.chdir(ROOT)
    found = read_experiment("config/experiment.tsv")
    with Path("config/experiment.tsv").open(encoding="utf-8") as handle:
        rows = list(csv.DictReader(handle, delimiter="\t"))
    assert len(rows) == len(found) > 0
    assert all(row["source"] for row in rows)
    series: dict[tuple, list[tuple[float, float]]] = {}
    for entry in found:
        assert entry.density_g_cm3 is not None
        series.setdefault(entry.composition, []).append((entry.temperature_K, entry.density_g_cm3))
    for points in series.values():
        densities = [density for _, density in sorted(points)]
        assert densities == sorted(densities, reverse=True)


def test_our_viscosities_fall_with_temperature_or_are_marked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of EC:EMC 3:7 rise twice, so none of them may enter a mean deviation."""
    monkeypatch.chdir(ROOT)
    series: dict[tuple, list[tuple[float, float]]] = {}
    found = read_experiment("config/experiment.tsv")
    for entry in found:
        if entry.viscosity_mPa_s is not None and "viscosity" not in entry.dubious:
            series.setdefault(entry.composition, []).append((entry.temperature_K, entry.viscosity_mPa_s))
    for points in series.values():
        viscosities = [viscosity for _, viscosity in sorted(points)]
        assert viscosities == sorted(viscosities, reverse=True)
    marked = [entry for entry in found if entry.dubious]
    assert len(marked) == 5
    assert all(entry.composition == (("EC", 0.3), ("EMC", 0.7)) for entry in marked)


def test_marks_of_dubious_values() -> None:
    plain, one, both = experiment(
        measurement("EC"), measurement("EMC") + "\tviscosity", measurement("DMC") + "\tdensity viscosity"
    )
    assert (plain.dubious, one.dubious, both.dubious) == ((), ("viscosity",), ("density", "viscosity"))
    # A table of one's own may do without the column.
    (without,) = read_experiment(table(measurement("EC"), columns=EXPERIMENT_COLUMNS[:-1]))
    assert without.dubious == ()
    for cell, problem in (
        ("yes", "names the values that should not be trusted"),
        ("viscosity", "the row has no viscosity"),
    ):
        with pytest.raises(PhysEmbedError, match=f"line 2 .*dubious: '{cell}': {problem}"):
            experiment(measurement("EC", viscosity="") + f"\t{cell}")
