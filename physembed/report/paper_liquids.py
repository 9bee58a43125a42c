"""The paper's Tables 1 and 2, densities and viscosities of its liquids, and which of their rows a liquid has."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from importlib.resources import files

import pandas as pd
from rdkit.Chem import CanonSmiles

SMILES = {"EC": "O=C1OCCO1", "EMC": "CCOC(=O)OC", "DMC": "COC(=O)OC", "EA": "CCOC(C)=O"}
"""Of the paper's pure liquids."""
TEMPERATURE_TOLERANCE_K = 0.5
"""The paper prints 298 K for 298.15 K."""
FRACTION_TOLERANCE = 0.005
"""Of a mass fraction."""


def paper_density() -> pd.DataFrame:
    """Table 1 of the paper: model, system, mass_fraction_EC, temperature_K, densities in g/cm^3, tuned_on (yes, no)."""
    return _read("paper_density.csv")


def paper_viscosity() -> pd.DataFrame:
    """Table 2 of the paper: model, system, mass_fraction_EC, temperature_K, viscosities in cP, which is mPa s."""
    return _read("paper_viscosity.csv")


def _read(name: str) -> pd.DataFrame:
    with files("physembed.report").joinpath(name).open() as handle:
        return pd.read_csv(handle, comment="#")


@functools.cache
def _composition(system: str, fraction_of_ec: float) -> dict[str, float]:
    """SMILES to mass fraction of a system of the paper."""
    pure = {system: 1.0} if system in SMILES else {"EC": fraction_of_ec, "EMC": 1 - fraction_of_ec}
    return {CanonSmiles(SMILES[name]): fraction for name, fraction in pure.items()}


def paper_rows(paper: pd.DataFrame, composition: Mapping[str, float], temperature_K: float) -> pd.DataFrame:
    """Rows of a table of the paper with this composition (to 0.005 by mass) and temperature (to 0.5 K).

    Args:
        paper: from `paper_density` or `paper_viscosity`.
        composition: SMILES to mass fraction.
        temperature_K: of the liquid.
    """
    here: dict[str, float] = {}
    for smiles, fraction in composition.items():
        name = CanonSmiles(smiles)
        here[name] = here.get(name, 0.0) + fraction

    def same(row: pd.Series) -> bool:
        there = _composition(str(row["system"]), float(row["mass_fraction_EC"]))
        return (
            abs(row["temperature_K"] - temperature_K) <= TEMPERATURE_TOLERANCE_K
            and set(here) == set(there)
            and all(abs(here[smiles] - there[smiles]) <= FRACTION_TOLERANCE for smiles in there)
        )

    return paper[[same(row) for _, row in paper.iterrows()]]


def shown_paper_models(names: Sequence[str]) -> list[str]:
    """The paper's models to set beside models of these names: those of the same names, or all if one has none.

    Only letters and digits count, as a key of the configuration holds no `/` or `(`.
    """

    def letters(name: str) -> str:
        return "".join(filter(str.isalnum, name.casefold()))

    known = list(dict.fromkeys(paper_density()["model"]))
    wanted = {letters(name) for name in names}
    return [model for model in known if letters(model) in wanted] if wanted <= set(map(letters, known)) else known
