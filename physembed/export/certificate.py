"""A certificate of a model: that every engine has the same energies, forces and stresses, and runs it as it should.

The reference is MACE's own calculator with `CSOCalculator`, in float64: code that none of the fast paths shares. The
table has one row for each engine and check: engine, version, check, value, limit, unit, verdict (`passed`, `failed`, or
`not installed`).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from ase import Atoms
from ase.calculators.calculator import Calculator

from physembed.analysis.density import mean_density
from physembed.export.conditions import Conditions
from physembed.export.engines import ENGINES, installed, open_session
from physembed.export.potential import Evaluation, Potential, is_periodic
from physembed.export.runs import run
from physembed.models.loading import reference_calculator
from physembed.models.members import Files, load_members

log = logging.getLogger(__name__)
COLUMNS = ["engine", "version", "check", "value", "limit", "unit", "verdict"]
PARITY = 1e-6
"""Limit of relative deviations in float64."""
FINITE_DIFFERENCE = 1e-4
"""Limit of the relative deviation from central differences, whose own error is of this order."""
STEP_A = 1e-3
"""Displacement of the central differences."""
DRIFT = 0.05
"""Limit of the drift of the total energy in meV per atom and ps, beyond two of its standard errors."""


def check(
    model: Files,
    frames: Sequence[Atoms],
    conditions: Conditions | None = None,
    *,
    nve_ps: float = 1.0,
    npt_ps: float = 0.0,
    device: str = "auto",
    engines: Sequence[str] = tuple(ENGINES),
) -> pd.DataFrame:
    """Check a model in every engine that is installed. The model is loaded once for all of them.

    Args:
        model: file of a corrected model, of a MACE model or of a committee, or the files of a committee.
        frames: structures of the same atoms, boxes or molecules; runs begin from the first.
        conditions: temperature, pressure, time step and seed of the runs.
        nve_ps: length of a run at constant energy in each engine; 0 for none.
        npt_ps: length of a run at constant pressure in each engine, for boxes; 0 for none.
        device: `auto`, `cpu` or `cuda`.
        engines: which ones.

    Returns:
        The table that the module describes.

    Raises:
        PhysEmbedError: the file holds no model, or the model or a structure does not fit.
    """
    conditions = conditions or Conditions()
    members = load_members(model)
    potential = Potential.of(model, frames[0], device=device).load(members)
    calculator = reference_calculator(members)
    rows = _differences(calculator, frames[0])
    expected = [_reference(calculator, frame) for frame in frames]
    densities: dict[str, tuple[float, float]] = {}
    for engine in engines:
        if (number := installed(engine)) is None:
            rows.append(_row(engine, "", "all", np.nan, np.nan, "", "not installed"))
            continue
        log.info("certificate: %s %s", engine, number)
        if engine == "torch-sim" and not is_periodic(frames[0]):
            rows.append(_row(engine, number, "all", np.nan, np.nan, "", "boxes only"))
            continue
        rows += _parity(engine, number, potential, frames, expected, conditions)
        if nve_ps:
            rows.append(_drift(engine, number, potential, frames[0], replace(conditions, ensemble="nve"), nve_ps))
        if npt_ps and is_periodic(frames[0]):
            npt = replace(conditions, ensemble="npt")
            series = run(engine, potential, frames[0], npt, duration_ps=npt_ps, record_interval_fs=20).series
            mean = mean_density(series["time_ps"], series["volume_A3"], frames[0].get_masses().sum())
            densities[engine] = mean.density_g_cm3, mean.standard_error
    return pd.DataFrame(rows + _densities(densities), columns=COLUMNS)


def markdown(table: pd.DataFrame, model: str) -> str:
    """The certificate for a reader."""
    lines = [f"# Certificate of {model}", "", "Reference: MACE's own calculator and `CSOCalculator` in float64.", ""]
    lines += ["| engine | version | check | value | limit | verdict |", "| --- | --- | --- | --- | --- | --- |"]
    for row in table.to_dict("records"):
        value, limit = (
            "" if np.isnan(number) else f"{number:.3g} {row['unit']}" for number in (row["value"], row["limit"])
        )
        cells = [row["engine"], row["version"], row["check"], value, limit, row["verdict"]]
        lines.append(f"| {' | '.join(str(cell).strip() for cell in cells)} |")
    return "\n".join(lines) + "\n"


def _row(
    engine: str, number: str, what: str, value: float, limit: float, unit: str, verdict: str = ""
) -> dict[str, Any]:
    verdict = verdict or ("passed" if value <= limit else "failed")
    return dict(zip(COLUMNS, (engine, number, what, value, limit, unit, verdict), strict=True))


def _reference(calculator: Calculator, frame: Atoms) -> Evaluation:
    atoms = frame.copy()
    atoms.calc = calculator
    stress = atoms.get_stress(voigt=False) if is_periodic(frame) else None
    return Evaluation(float(atoms.get_potential_energy()), np.asarray(atoms.get_forces()), stress)


def _differences(calculator: Calculator, frame: Atoms) -> list[dict[str, Any]]:
    """Forces and stress of the reference against central differences of its energy, along a random direction."""
    rng = np.random.default_rng(0)
    here = _reference(calculator, frame)

    def energy(positions: np.ndarray, cell: np.ndarray) -> float:
        moved = frame.copy()
        moved.set_cell(cell)
        moved.set_positions(positions)
        moved.calc = calculator
        return float(moved.get_potential_energy())

    direction = rng.normal(size=frame.positions.shape)
    direction *= np.sqrt(len(frame)) / np.linalg.norm(direction)
    expected = -_slope(lambda step: energy(frame.positions + step * direction, frame.cell.array), STEP_A)
    scale = np.linalg.norm(here.forces) * np.linalg.norm(direction) / np.sqrt(here.forces.size)
    found = float((here.forces * direction).sum())
    rows = [_row("reference", "", "forces, central differences", abs(found - expected) / scale, FINITE_DIFFERENCE, "")]
    if here.stress is not None:
        strain = rng.normal(size=(3, 3))
        strain = (strain + strain.T) / np.linalg.norm(strain + strain.T)

        def strained(step: float) -> float:
            stretched = np.eye(3) + step * strain
            return energy(frame.positions @ stretched, frame.cell.array @ stretched)

        slope, found = _slope(strained, 1e-4), frame.cell.volume * float((here.stress * strain).sum())
        scale = frame.cell.volume * np.linalg.norm(here.stress)
        rows.append(
            _row("reference", "", "stress, central differences", abs(found - slope) / scale, FINITE_DIFFERENCE, "")
        )
    return rows


def _slope(energy: Callable[[float], float], step: float) -> float:
    """Derivative at 0 by central differences of two lengths, whose error is of fourth order."""
    near, far = (energy(length) - energy(-length) for length in (step, 2 * step))
    return (8 * near - far) / (12 * step)


def _parity(
    engine: str,
    number: str,
    potential: Potential,
    frames: Sequence[Atoms],
    expected: Sequence[Evaluation],
    conditions: Conditions,
) -> list[dict[str, Any]]:
    """Largest relative deviations from the reference over the frames."""
    worst: dict[str, float] = {}
    for frame, reference in zip(frames, expected, strict=True):
        found = open_session(engine, potential, frame, conditions).evaluate()
        pairs: dict[str, tuple[Any, Any]] = {
            "energy": (found.energy, reference.energy),
            "forces": (found.forces, reference.forces),
        }
        if reference.stress is not None and found.stress is not None:
            pairs["stress"] = found.stress, reference.stress
        for name, (value, target) in pairs.items():
            deviation = np.abs(np.subtract(value, target)).max() / np.abs(target).max()
            worst[name] = max(worst.get(name, 0.0), float(deviation))
    return [
        _row(engine, number, f"{name}, largest relative deviation", value, PARITY, "") for name, value in worst.items()
    ]


def _drift(
    engine: str, number: str, potential: Potential, start: Atoms, conditions: Conditions, nve_ps: float
) -> dict[str, Any]:
    """Slope of the total energy in a run at constant energy, less two of its standard errors (20 blocks)."""
    every = conditions.timestep_fs * max(1, round(5 * nve_ps / conditions.timestep_fs))
    series = run(engine, potential, start, conditions, duration_ps=nve_ps, record_interval_fs=every).series
    total = 1000 * (series["potential_energy_eV"] + series["kinetic_energy_eV"]).to_numpy() / len(start)
    blocks = np.array_split(np.arange(len(total)), 20)
    times = np.array([series["time_ps"].to_numpy()[block].mean() for block in blocks])
    means = np.array([total[block].mean() for block in blocks])
    (slope, _), covariance = np.polyfit(times, means, 1, cov=True)
    beyond = max(0.0, abs(slope) - 2 * np.sqrt(covariance[0, 0]))
    return _row(engine, number, f"drift over {nve_ps:g} ps at constant energy", beyond, DRIFT, "meV/atom/ps")


def _densities(densities: dict[str, tuple[float, float]]) -> list[dict[str, Any]]:
    """Each density against the weighted mean of all, in standard errors of the difference."""
    known = {engine: pair for engine, pair in densities.items() if np.isfinite(pair).all() and pair[1] > 0}
    if len(known) < 2:
        return []
    weights = np.array([error**-2 for _, error in known.values()])
    mean = float(np.average([density for density, _ in known.values()], weights=weights))
    rows = []
    for engine, (density, error) in known.items():
        spread = np.sqrt(max(error**2 - 1 / weights.sum(), 1e-12))
        what = f"density {density:.4f} ± {error:.4f} g/cm^3, from the mean of all"
        rows.append(_row(engine, installed(engine) or "", what, abs(density - mean) / spread, 4.0, "standard errors"))
    return rows
