"""Tables of densities and viscosities: against arithmetic by hand, and the paper's rows beside the right liquids."""

from __future__ import annotations

import io
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from physembed.errors import PhysEmbedError
from physembed.report.liquid_page_tables import viscosity_rows
from physembed.report.liquid_tables import (
    HERE,
    PAPER,
    LiquidFacts,
    density_table,
    mean_absolute_errors,
    of_model,
    tuning_table,
    viscosity_table,
)
from physembed.report.paper_liquids import paper_density, paper_rows, paper_viscosity, shown_paper_models

NAN = math.nan
OTHER = {"CCO": 1.0}
LIQUIDS = [
    LiquidFacts("tuned", "one", OTHER, 300.0, 1.0, "handbook", 0.5, "handbook"),
    LiquidFacts("dense", "two", OTHER, 300.0, 2.0, "handbook", 2.0, "handbook"),
    LiquidFacts("light", "three", OTHER, 300.0, 0.8, "handbook"),
    LiquidFacts("unmeasured", "four", OTHER, 300.0),
    LiquidFacts("half", "five", OTHER, 300.0, 1.6, "handbook", 1.0, "handbook"),
]


def density(liquid: str, variant: str, value: float, status: str = "ok", model: str = "own") -> dict[str, Any]:
    return {
        "model": model, "liquid": liquid, "variant": variant, "density_g_cm3": value, "status": status,
        "standard_error_g_cm3": 0.01 if status == "ok" else NAN, "reason": "" if status == "ok" else "why",
        "degrees_of_freedom": 10.0, "length_ps": 1000.0, "effective_samples": 200.0,
        "last_window_g_cm3": value + 0.001, "replicas": 2, "replicas_ok": 2,
    }  # fmt: skip


def densities() -> pd.DataFrame:
    rows = [
        density("tuned", "uncorrected", 0.9), density("tuned", "corrected", 1.001),
        density("dense", "uncorrected", 1.9), density("dense", "corrected", 2.04),
        density("light", "uncorrected", 0.76), density("light", "corrected", 0.8),
        density("unmeasured", "uncorrected", 1.2), density("unmeasured", "corrected", 1.3),
        density("half", "uncorrected", NAN, "evaporated"), density("half", "corrected", 3.2),
    ]  # fmt: skip
    return pd.DataFrame(rows)


def only(table: pd.DataFrame, **values: str) -> dict[Any, Any]:
    """The one row with these values."""
    for column, value in values.items():
        table = table[table[column] == value]
    assert len(table) == 1
    return table.to_dict("records")[0]


def test_density_table_by_hand() -> None:
    table = density_table(densities(), LIQUIDS, {"own": "tuned"})
    assert list(table["liquid"]) == [liquid.name for liquid in LIQUIDS]
    assert list(table["role"]) == ["tuned"] + ["held out"] * 4
    np.testing.assert_allclose(table["uncorrected_deviation_percent"], [-10, -5, -5, NAN, NAN])
    np.testing.assert_allclose(table["corrected_deviation_percent"], [0.1, 2, 0, NAN, 100])
    lost = only(table, liquid="half")
    assert (lost["uncorrected_status"], lost["uncorrected_reason"]) == ("evaporated", "why")
    assert math.isnan(lost["uncorrected_g_cm3"]) and lost["corrected_g_cm3"] == 3.2
    assert only(table, liquid="dense")["corrected_last_window_g_cm3"] == pytest.approx(2.041)
    assert only(table, liquid="unmeasured")["experiment_source"] == ""


def test_mean_errors_pair_before_with_after_and_keep_the_tuned_row_apart() -> None:
    errors = mean_absolute_errors(density_table(densities(), LIQUIDS, {"own": "tuned"}))
    assert list(errors["role"]) == ["held out", "tuned"]
    held_out, tuned = errors.to_dict("records")
    # dense and light count; unmeasured has no experiment, half no density before.
    assert (held_out["liquids"], held_out["left_out"]) == (2, 2)
    assert held_out["uncorrected_mae"] == pytest.approx((0.1 + 0.04) / 2)
    assert held_out["corrected_mae"] == pytest.approx((0.04 + 0.0) / 2)
    assert held_out["uncorrected_mae_percent"] == pytest.approx(5)
    assert held_out["corrected_mae_percent"] == pytest.approx(1)
    assert (tuned["liquids"], tuned["left_out"]) == (1, 0)
    assert tuned["corrected_mae"] == pytest.approx(0.001)
    assert set(errors["quantity"]) == {"density"} and set(errors["unit"]) == {"g/cm^3"}


def test_a_density_that_is_not_ok_is_shown_but_counts_in_no_mean() -> None:
    rows = densities()
    rows.loc[(rows["liquid"] == "dense") & (rows["variant"] == "corrected"), "status"] = "insufficient"
    table = density_table(rows, LIQUIDS, {"own": "tuned"})
    assert only(table, liquid="dense")["corrected_g_cm3"] == 2.04
    held_out = only(mean_absolute_errors(table), role="held out")
    assert (held_out["liquids"], held_out["left_out"]) == (1, 3)
    assert held_out["uncorrected_mae"] == pytest.approx(0.04)


def test_a_variant_that_was_not_run_says_so() -> None:
    rows = densities().query("variant == 'uncorrected'")
    table = density_table(rows, LIQUIDS, {"own": "tuned"})
    assert set(table["corrected_status"]) == {"not_run"}
    assert table["corrected_g_cm3"].isna().all() and table["corrected_g_cm3"].dtype == float
    errors = mean_absolute_errors(table)
    assert (errors["liquids"] == 0).all() and errors["corrected_mae"].isna().all()


def test_tables_survive_a_file() -> None:
    table = density_table(densities(), LIQUIDS, {"own": "tuned"})
    again = pd.read_csv(io.StringIO(table.to_csv(index=False)))
    pd.testing.assert_frame_equal(mean_absolute_errors(table), mean_absolute_errors(again))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ([density("dense", "corrected", 2.0)], "two results for own, dense, corrected"),
        ([density("water", "corrected", 1.0)], "own, water, corrected; known liquids: tuned, dense"),
        ([density("dense", "after", 1.0)], "own, dense, after; .*variants: uncorrected, corrected"),
    ],
)
def test_results_that_do_not_belong_are_refused(changed: list[dict[str, Any]], message: str) -> None:
    rows = pd.concat([densities(), pd.DataFrame(changed)])
    with pytest.raises(PhysEmbedError, match=message):
        density_table(rows, LIQUIDS, {"own": "tuned"})


def viscosity(liquid: str, variant: str, value: float | None, needed: float = NAN) -> dict[str, Any]:
    ok = math.isnan(needed)
    return {
        "model": "own", "liquid": liquid, "variant": variant, "viscosity_mPa_s": value, "standard_error_mPa_s": 0.02,
        "status": "ok" if ok else "insufficient", "reason": "" if ok else "too short", "needed_ps": needed,
        "length_ps": 500.0, "replicas": 3, "green_kubo_mPa_s": 7.0, "time_decomposition_mPa_s": 8.0,
    }  # fmt: skip


def test_an_insufficient_viscosity_gives_no_number_but_the_length_that_would_do() -> None:
    rows = [
        viscosity("tuned", "uncorrected", 0.4), viscosity("tuned", "corrected", 0.45),
        # A number that slipped into the file must not reach the table.
        viscosity("dense", "uncorrected", 1.5, needed=9000.0), viscosity("dense", "corrected", 1.8),
        viscosity("half", "uncorrected", 0.7), viscosity("half", "corrected", 1.1),
    ]  # fmt: skip
    table = viscosity_table(pd.DataFrame(rows), LIQUIDS, {"own": "tuned"})
    dense = only(table, liquid="dense")
    for name in ("mPa_s", "standard_error_mPa_s", "deviation_percent", "green_kubo_mPa_s", "time_decomposition_mPa_s"):
        assert math.isnan(dense[f"uncorrected_{name}"]), name
    assert (dense["uncorrected_needed_ps"], dense["uncorrected_length_ps"]) == (9000, 500)
    assert dense["corrected_deviation_percent"] == pytest.approx(-10)
    errors = mean_absolute_errors(table)
    assert set(errors["quantity"]) == {"viscosity"}
    held_out = only(errors, role="held out")
    assert (held_out["liquids"], held_out["left_out"]) == (1, 1)
    assert held_out["uncorrected_mae"] == pytest.approx(0.3) and held_out["corrected_mae"] == pytest.approx(0.1)


def test_dubious_measurements_are_marked_and_enter_no_mean() -> None:
    marked = [replace(liquid, dubious=["viscosity"]) if liquid.name == "half" else liquid for liquid in LIQUIDS]
    rows = [
        viscosity("dense", "uncorrected", 1.5), viscosity("dense", "corrected", 1.8),
        viscosity("half", "uncorrected", 9.0), viscosity("half", "corrected", 9.0),
    ]  # fmt: skip
    table = viscosity_table(pd.DataFrame(rows), marked, {"own": "tuned"})
    assert table.set_index("liquid")["experiment_dubious"].to_dict() == {"dense": False, "half": True}
    held_out = only(mean_absolute_errors(table), role="held out")
    assert (held_out["liquids"], held_out["left_out"]) == (1, 1)
    assert held_out["uncorrected_mae"] == pytest.approx(0.5)
    # The mark concerns the viscosity only, and survives being written to a file.
    by_density = density_table(densities(), marked, {"own": "tuned"})
    assert not by_density["experiment_dubious"].any()
    again = pd.read_csv(io.StringIO(table.to_csv(index=False)))
    assert only(mean_absolute_errors(again), role="held out")["liquids"] == 1
    shown = {row[0]: row[4] for row in viscosity_rows(table).rows}
    assert shown == {"dense": "2", "half": "1 (dubious)"}


EC, EMC = "O=C1OCCO1", "CCOC(=O)OC"


def test_paper_rows_match_composition_and_temperature() -> None:
    paper = paper_density()

    def found(composition: dict[str, float], temperature: float) -> list[float]:
        return list(paper_rows(paper, composition, temperature)["density_uncorrected_g_cm3"])

    assert found({EMC: 1.0}, 298.15) == [0.986, 1.117]
    # The same molecule written otherwise, and a mixture whose fractions are in another order.
    assert found({"COC(=O)OCC": 1.0}, 298.0) == [0.986, 1.117]
    assert found({EMC: 0.7, EC: 0.3}, 303.15) == [1.063]
    assert found({EC: 0.5, EMC: 0.5}, 298.15) == [1.125]
    assert found({"COC(=O)OC": 1.0}, 298.15) == [1.168]
    assert found({"CCOC(C)=O": 1.0}, 298.15) == [1.025]
    assert found({EMC: 1.0}, 303.15) == []
    assert found({EMC: 0.69, EC: 0.31}, 298.15) == []
    assert found(OTHER, 298.15) == []


def test_paper_tables_hold_the_papers_numbers() -> None:
    table = paper_density()
    assert len(table) == 11 and len(paper_viscosity()) == 9
    tuned = table[table["tuned_on"] == "yes"].set_index("model")
    assert tuned["mass_fraction_EC"].to_dict() == {"MACE-EC/EMC": 0.3, "MACE-OFF23(S)": 0.0}
    assert (tuned["temperature_K"] == 298).all()


def test_the_paper_stands_beside_in_rows_of_its_own() -> None:
    liquid = LiquidFacts("EMC-298", "EMC", {EMC: 1.0}, 298.15, 1.0, "handbook", 0.5, "handbook")
    rows = pd.DataFrame([density("EMC-298", variant, 1.01) for variant in ("uncorrected", "corrected")])
    table = density_table(rows, [liquid], {"own": "EMC-298"})
    assert list(table["origin"]) == [HERE, PAPER, PAPER]
    off = only(table, model="MACE-OFF23(S)")
    # Held against the study's experiment, 1.0, not the paper's own 1.006.
    assert off["uncorrected_deviation_percent"] == pytest.approx(11.7)
    assert (off["role"], off["paper_experiment_g_cm3"]) == ("tuned", 1.006)
    assert only(table, model="MACE-EC/EMC")["role"] == "held out"
    flow = viscosity_table(pd.DataFrame([viscosity("EMC-298", "corrected", 0.6)]), [liquid], {"own": "EMC-298"})
    off = only(flow, model="MACE-OFF23(S)")
    assert (off["corrected_mPa_s"], off["corrected_standard_error_mPa_s"], off["bamboo_mPa_s"]) == (0.54, 0.003, 0.72)
    assert off["corrected_deviation_percent"] == pytest.approx(8)
    assert (off["role"], off["paper_experiment_mPa_s"]) == ("tuned", "0.65")


def test_a_model_named_as_in_the_paper_stands_beside_that_one_alone() -> None:
    assert shown_paper_models(["own"]) == ["MACE-EC/EMC", "MACE-OFF23(S)"]
    assert shown_paper_models(["MACE-OFF23-S"]) == ["MACE-OFF23(S)"]
    assert shown_paper_models(["mace_ec_emc"]) == ["MACE-EC/EMC"]
    assert shown_paper_models(["mace_ec_emc", "own"]) == ["MACE-EC/EMC", "MACE-OFF23(S)"]
    liquid = LiquidFacts("EMC", "EMC", {EMC: 1.0}, 298.15, 1.0)
    rows = [density("EMC", "corrected", 1.0, model=model) for model in ("own", "mace_ec_emc")]
    table = density_table(pd.DataFrame(rows), [liquid], {"own": "EMC", "mace_ec_emc": "EMC"})
    assert list(of_model(table, "mace_ec_emc")["model"]) == ["mace_ec_emc", "MACE-EC/EMC"]
    assert list(of_model(table, "own")["model"]) == ["own", "MACE-EC/EMC", "MACE-OFF23(S)"]


def test_tuning_table_holds_the_confirming_run_against_the_target() -> None:
    row = {
        "alpha": 0.05, "status": "ok", "tuned_on": "tuned", "target_g_cm3": 1.0, "a1": 0.6, "density_g_cm3": 1.0,
        "standard_error_g_cm3": 0.0003, "degrees_of_freedom": 40.0,
    }  # fmt: skip
    tuning = pd.DataFrame([row, row | {"alpha": -0.05}])
    rows = densities()
    rows["standard_error_g_cm3"] = 0.0004
    first, second = tuning_table({"own": tuning}, rows).to_dict("records")
    assert first["confirming_deviation_percent"] == pytest.approx(0.1)
    # 0.001 over sqrt(0.0003^2 + 0.0004^2)
    assert first["confirming_deviation_errors"] == pytest.approx(2)
    # Welch: (9 + 16)^2 / (81 / 40 + 256 / 10) = 22.6 degrees of freedom, where t = 2 is not yet significant.
    assert first["confirming_p_value"] == pytest.approx(2 * stats.t.sf(2, 625 / (81 / 40 + 256 / 10)))
    assert first["confirming_p_value"] > 0.05
    # The corrected model is that of the first alpha.
    assert second["confirming_status"] == "not_run" and math.isnan(second["confirming_g_cm3"])
    unreachable = tuning_table({"own": tuning.assign(status="unreachable")}, rows).to_dict("records")[0]
    assert unreachable["confirming_g_cm3"] == 1.001 and math.isnan(unreachable["confirming_p_value"])
    assert tuning_table({"other": tuning}, rows)["confirming_status"].tolist() == ["not_run"] * 2
