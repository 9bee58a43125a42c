"""Tables of densities, viscosities and tuned corrections, with the paper's Tables 1 and 2 beside them.

Every liquid has one measured value, that of the study, with which all of its rows are compared, including the paper's.
A run without a valid result keeps its row and gives the reason; it enters no mean.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from physembed.analysis.scan import confirmation
from physembed.errors import PhysEmbedError
from physembed.report.paper_liquids import paper_density, paper_rows, paper_viscosity, shown_paper_models

VARIANTS = ("uncorrected", "corrected")
HERE, PAPER = "this study", "paper"
"""Origin of a row."""
TUNED, HELD_OUT = "tuned", "held out"
"""Role of a liquid: whether its measured density was used for the correction."""
NOT_RUN = "not_run"
"""Status of a variant without a result, for example if no correction was found."""


@dataclass(frozen=True)
class LiquidFacts:
    """A liquid and its measured values."""

    name: str
    components: str
    """The composition as text, such as `EC:EMC 3:7 by mass`."""
    composition: Mapping[str, float]
    """SMILES to mass fraction (as requested, not as rounded to whole molecules)."""
    temperature_K: float
    density_g_cm3: float | None = None
    """Measured; None if there is no value."""
    density_source: str = ""
    viscosity_mPa_s: float | None = None
    """Measured; None if there is no value."""
    viscosity_source: str = ""
    dubious: Sequence[str] = ()
    """Which of `density` and `viscosity` should not be trusted."""


def deviation_percent(value: float | None, experiment: float | None) -> float:
    """(value - experiment) / experiment in percent; nan if either is missing."""
    if value is None or experiment is None:
        return math.nan
    return 100 * (value - experiment) / experiment


def _number(value: Any) -> float | None:
    """A number of a table, None for an empty cell."""
    return None if value is None or pd.isna(value) else float(value)


def _text(value: Any) -> str:
    return "" if value is None or pd.isna(value) else str(value)


@dataclass(frozen=True)
class _Quantity:
    """The quantity of a table."""

    name: str
    """`density` or `viscosity`."""
    unit: str
    """The unit as a suffix of column names."""
    value: str
    """Column of the value in the results."""
    error: str
    """Column of its standard error."""
    experiment: str
    """Field of `LiquidFacts` with the measured value."""
    source: str
    """Field of `LiquidFacts` with its source."""
    further: tuple[str, ...]
    """Numbers of a result that are copied to the table."""
    shown_if_not_ok: bool
    """Whether the table includes values that are not valid."""


_DENSITY = _Quantity(
    "density", "g_cm3", "density_g_cm3", "standard_error_g_cm3", "density_g_cm3", "density_source",
    ("degrees_of_freedom", "last_window_g_cm3", "length_ps", "effective_samples", "replicas", "replicas_ok"),
    shown_if_not_ok=True,
)  # fmt: skip
_VISCOSITY = _Quantity(
    "viscosity", "mPa_s", "viscosity_mPa_s", "standard_error_mPa_s", "viscosity_mPa_s", "viscosity_source",
    ("length_ps", "needed_ps", "replicas", "green_kubo_mPa_s", "time_decomposition_mPa_s"), shown_if_not_ok=False,
)  # fmt: skip


def _common(quantity: _Quantity, liquid: LiquidFacts, model: str, origin: str, role: str) -> dict[str, Any]:
    return {
        "model": model, "origin": origin, "liquid": liquid.name, "components": liquid.components,
        "temperature_K": liquid.temperature_K, "role": role,
        f"experiment_{quantity.unit}": getattr(liquid, quantity.experiment),
        "experiment_source": getattr(liquid, quantity.source), "experiment_dubious": quantity.name in liquid.dubious,
    }  # fmt: skip


def _of_variant(quantity: _Quantity, variant: str, liquid: LiquidFacts, result: Mapping[str, Any]) -> dict[str, Any]:
    """The columns of one variant from its result."""
    shown = quantity.shown_if_not_ok or result["status"] == "ok"
    value = _number(result.get(quantity.value)) if shown else None
    columns = {
        quantity.unit: value,
        f"standard_error_{quantity.unit}": _number(result.get(quantity.error)) if shown else None,
        "deviation_percent": deviation_percent(value, getattr(liquid, quantity.experiment)),
        "status": str(result["status"]),
        "reason": _text(result.get("reason")),
        **{
            name: _number(result.get(name)) if shown or not name.endswith(quantity.unit) else None
            for name in quantity.further
        },
    }
    return {f"{variant}_{name}": value for name, value in columns.items()}


def _result_rows(
    quantity: _Quantity, table: pd.DataFrame, liquids: Sequence[LiquidFacts], tuned_on: Mapping[str, str]
) -> list[dict[str, Any]]:
    """Rows of this study: a row for each liquid and model that has a result.

    Raises:
        PhysEmbedError: two results of the same, a liquid that is not listed, or an unknown variant.
    """
    names = [liquid.name for liquid in liquids]
    results: dict[tuple[str, str, str], Any] = {}
    for found in table.to_dict("records"):
        key = (str(found["model"]), str(found["liquid"]), str(found["variant"]))
        if key in results:
            raise PhysEmbedError(f"report: two results for {', '.join(key)}; give one")
        if key[1] not in names or key[2] not in VARIANTS:
            known = f"known liquids: {', '.join(names)}; variants: {', '.join(VARIANTS)}"
            raise PhysEmbedError(f"report: result for {', '.join(key)}; {known}")
        results[key] = found
    rows = []
    for liquid in liquids:
        for model in dict.fromkeys(model for model, name, _ in results if name == liquid.name):
            role = TUNED if liquid.name == tuned_on[model] else HELD_OUT
            row = _common(quantity, liquid, model, HERE, role)
            for variant in VARIANTS:
                result = results.get((model, liquid.name, variant), {"status": NOT_RUN})
                row |= _of_variant(quantity, variant, liquid, result)
            rows.append(row)
    return rows


def _assembled(
    quantity: _Quantity, rows: list[dict[str, Any]], liquids: Sequence[LiquidFacts], of_paper: Sequence[str]
) -> pd.DataFrame:
    """The rows, ordered by liquid, always with all columns."""
    unit, order = quantity.unit, [liquid.name for liquid in liquids]
    columns = ["model", "origin", "liquid", "components", "temperature_K", "role"]
    columns += [f"experiment_{unit}", "experiment_source", "experiment_dubious", *of_paper]
    names = (unit, f"standard_error_{unit}", "deviation_percent", "status", "reason", *quantity.further)
    columns += [f"{variant}_{name}" for variant in VARIANTS for name in names]
    rows = sorted(rows, key=lambda row: order.index(row["liquid"]))
    texts = {"model", "origin", "liquid", "components", "role", "experiment_source", "paper_experiment_mPa_s"}
    numbers = [name for name in columns if name not in texts and not name.endswith(("_status", "_reason", "_dubious"))]
    # A column without any value would otherwise have dtype object.
    return pd.DataFrame(rows, columns=columns).astype(dict.fromkeys(numbers, float) | {"experiment_dubious": bool})


def _of_paper(paper: pd.DataFrame, liquid: LiquidFacts, models: Collection[str]) -> list[dict[str, Any]]:
    """The paper's rows for a liquid and these of its models."""
    rows = paper_rows(paper, liquid.composition, liquid.temperature_K)
    return [
        {str(key): value for key, value in row.items()} for row in rows[rows["model"].isin(models)].to_dict("records")
    ]


def density_table(densities: pd.DataFrame, liquids: Sequence[LiquidFacts], tuned_on: Mapping[str, str]) -> pd.DataFrame:
    """Densities of each liquid by each model, before and after, and the paper's for the same liquid.

    Args:
        densities: `density.csv` of all models, liquids and variants, with columns model, liquid, variant
            (density_g_cm3, standard_error_g_cm3, degrees_of_freedom, status, reason, length_ps, effective_samples,
            last_window_g_cm3, replicas, replicas_ok).
        liquids: facts of every liquid, in the order of the study.
        tuned_on: the liquid whose measured density each model was tuned to.

    Returns:
        A row per liquid and model; the paper's models follow those of the study. model, origin (`this study` or
        `paper`), liquid, components, temperature_K, role (`tuned` or `held out`), experiment_g_cm3, experiment_source,
        experiment_dubious (such a value enters no mean), paper_experiment_g_cm3; then of each variant, after
        `uncorrected_` and `corrected_`: g_cm3, standard_error_g_cm3, deviation_percent (from the study's experiment),
        status (`ok`, what is wrong, or `not_run`), reason, degrees_of_freedom (of the standard error),
        last_window_g_cm3, length_ps, effective_samples, replicas, replicas_ok. The density of a run that is not
        `ok` should not be interpreted. The paper's models are those that the study's are named after, or both.

    Raises:
        PhysEmbedError: two results of the same, a liquid that is not listed, or an unknown variant.
    """
    rows, paper = _result_rows(_DENSITY, densities, liquids, tuned_on), paper_density()
    beside = shown_paper_models(list(tuned_on))
    for liquid in liquids:
        for found in _of_paper(paper, liquid, beside):
            role = TUNED if found["tuned_on"] == "yes" else HELD_OUT
            row = _common(_DENSITY, liquid, found["model"], PAPER, role)
            row["paper_experiment_g_cm3"] = found["density_experiment_g_cm3"]
            for variant in VARIANTS:
                result = {"status": "ok", "density_g_cm3": found[f"density_{variant}_g_cm3"]}
                row |= _of_variant(_DENSITY, variant, liquid, result)
            rows.append(row)
    return _assembled(_DENSITY, rows, liquids, ["paper_experiment_g_cm3"])


def viscosity_table(
    viscosities: pd.DataFrame, liquids: Sequence[LiquidFacts], tuned_on: Mapping[str, str]
) -> pd.DataFrame:
    """Viscosities of each liquid by each model, before and after, and the paper's for the same liquid.

    No viscosity is ever tuned to; `tuned` marks the liquid whose density was.

    Args:
        viscosities: `viscosity.csv` of all models, liquids and variants, with columns model, liquid, variant
            (viscosity_mPa_s, standard_error_mPa_s, status, reason, needed_ps, length_ps, replicas, green_kubo_mPa_s,
            time_decomposition_mPa_s).
        liquids: facts of every liquid, in the order of the study.
        tuned_on: the liquid whose measured density each model was tuned to.

    Returns:
        As `density_table`, with mPa_s for g_cm3, and of each variant needed_ps, replicas, green_kubo_mPa_s and
        time_decomposition_mPa_s besides length_ps. A variant that is not `ok` has the required length, but no value.
        paper_experiment_mPa_s is text, because the paper also gives ranges; bamboo_mPa_s is the value quoted by the
        paper for the BAMBOO force field.

    Raises:
        PhysEmbedError: two results of the same, a liquid that is not listed, or an unknown variant.
    """
    rows, paper = _result_rows(_VISCOSITY, viscosities, liquids, tuned_on), paper_viscosity()
    beside = shown_paper_models(list(tuned_on))
    for liquid in liquids:
        tuned = {row["model"] for row in _of_paper(paper_density(), liquid, beside) if row["tuned_on"] == "yes"}
        for found in _of_paper(paper, liquid, beside):
            role = TUNED if found["model"] in tuned else HELD_OUT
            row = _common(_VISCOSITY, liquid, found["model"], PAPER, role)
            row |= {
                "paper_experiment_mPa_s": str(found["viscosity_experiment_cP"]),
                "bamboo_mPa_s": found["bamboo_cP"],
            }
            for variant in VARIANTS:
                result = {
                    "status": "ok",
                    "viscosity_mPa_s": found[f"viscosity_{variant}_cP"],
                    "standard_error_mPa_s": found[f"{variant}_err_cP"],
                }
                row |= _of_variant(_VISCOSITY, variant, liquid, result)
            rows.append(row)
    return _assembled(_VISCOSITY, rows, liquids, ["paper_experiment_mPa_s", "bamboo_mPa_s"])


def of_model(table: pd.DataFrame, model: str) -> pd.DataFrame:
    """Rows of one model in `density_table` or `viscosity_table`, and the corresponding rows of the paper."""
    beside = (table["origin"] == PAPER) & table["model"].isin(shown_paper_models([model]))
    return table[beside | ((table["origin"] == HERE) & (table["model"] == model))]


def mean_absolute_errors(table: pd.DataFrame) -> pd.DataFrame:
    """Mean absolute deviation from experiment before and after, over the same liquids.

    A liquid counts if it has a measured value that is not dubious and both variants are `ok`. Tuning liquids are listed
    separately, because they agree by construction.

    Args:
        table: from `density_table` or `viscosity_table`.

    Returns:
        quantity (`density` or `viscosity`), unit, model, origin, role, liquids (that count), left_out (that do not),
        and of each variant {variant}_mae in that unit and {variant}_mae_percent of the measured values; nan if
        none counts.
    """
    column = "g_cm3" if "experiment_g_cm3" in table else "mPa_s"
    quantity, unit = ("density", "g/cm^3") if column == "g_cm3" else ("viscosity", "mPa s")
    experiment = table[f"experiment_{column}"]
    counts = experiment.notna() & ~table["experiment_dubious"].astype(bool)
    for variant in VARIANTS:
        counts &= table[f"{variant}_status"] == "ok"
    rows = []
    # Evidence first: this study before the paper, held-out before tuned.
    for origin in (HERE, PAPER):
        for model in dict.fromkeys(table.loc[table["origin"] == origin, "model"]):
            for role in (HELD_OUT, TUNED):
                group = table[(table["origin"] == origin) & (table["model"] == model) & (table["role"] == role)]
                if group.empty:
                    continue
                good = group[counts.loc[group.index]]
                row = {"quantity": quantity, "unit": unit, "model": model, "origin": origin, "role": role}
                row |= {"liquids": len(good), "left_out": len(group) - len(good)}
                for variant in VARIANTS:
                    row[f"{variant}_mae"] = (good[f"{variant}_{column}"] - experiment.loc[good.index]).abs().mean()
                    row[f"{variant}_mae_percent"] = good[f"{variant}_deviation_percent"].abs().mean()
                rows.append(row)
    columns = ["quantity", "unit", "model", "origin", "role", "liquids", "left_out"]
    return pd.DataFrame(rows, columns=[*columns, *(f"{v}_mae{kind}" for v in VARIANTS for kind in ("", "_percent"))])


def only_corrected(table: pd.DataFrame) -> pd.DataFrame:
    """Rows of held-out liquids of this study that have a number after the correction but none before it.

    They enter no mean of `mean_absolute_errors`, which compares the same liquids before and after.

    Args:
        table: from `density_table` or `viscosity_table`.

    Returns:
        The rows with a measured value that is not dubious, a corrected result that is `ok` and an uncorrected one that
        is not: of a liquid that evaporates without the correction, for instance.
    """
    experiment = table["experiment_g_cm3" if "experiment_g_cm3" in table else "experiment_mPa_s"]
    known = experiment.notna() & ~table["experiment_dubious"].astype(bool)
    here = (table["origin"] == HERE) & (table["role"] == HELD_OUT)
    return table[known & here & (table["corrected_status"] == "ok") & (table["uncorrected_status"] != "ok")]


def tuning_table(tunings: Mapping[str, pd.DataFrame], densities: pd.DataFrame) -> pd.DataFrame:
    """The tuned a1 of each model and alpha, and the deviation of the confirmation run from the target.

    The confirmation run is the corrected NPT run of the tuning liquid, with the first alpha; it is independent of the
    runs of the scan.

    Args:
        tunings: `tuning.csv` of each model.
        densities: see `density_table`.

    Returns:
        model and the columns of `tuning.csv`; confirming_status, confirming_g_cm3, confirming_standard_error_g_cm3,
        confirming_deviation_percent from the target, confirming_deviation_errors (the same in standard errors of run
        and tuning together) and confirming_p_value (the run confirms the tuning unless this is below 0.05; see
        `physembed.analysis.scan.confirmation`). The last three are nan unless both are `ok`.
    """
    tables = []
    for model, tuning in tunings.items():
        rows = []
        for index, row in enumerate(tuning.to_dict("records")):
            run = densities[
                (densities["model"] == model)
                & (densities["liquid"] == row["tuned_on"])
                & (densities["variant"] == "corrected")
            ].to_dict("records")
            confirming = run[0] if run and index == 0 else {"status": NOT_RUN}
            counts = confirming["status"] == "ok" and row["status"] == "ok"
            density = _number(confirming.get("density_g_cm3"))
            error = _number(confirming.get("standard_error_g_cm3"))
            in_errors = p_value = in_percent = math.nan
            if counts and density is not None and error is not None:
                in_errors, p_value = confirmation(
                    density, error, float(confirming["degrees_of_freedom"]), row["target_g_cm3"],
                    row["standard_error_g_cm3"], row["degrees_of_freedom"],
                )  # fmt: skip
                in_percent = deviation_percent(density, row["target_g_cm3"])
            rows.append(
                {
                    "model": model,
                    **row,
                    "confirming_status": confirming["status"],
                    "confirming_g_cm3": density,
                    "confirming_standard_error_g_cm3": error,
                    "confirming_deviation_percent": in_percent,
                    "confirming_deviation_errors": in_errors,
                    "confirming_p_value": p_value,
                }
            )
        tables.append(pd.DataFrame(rows))
    numbers = ["confirming_g_cm3", "confirming_standard_error_g_cm3"]
    return pd.concat(tables, ignore_index=True).astype(dict.fromkeys(numbers, float))
