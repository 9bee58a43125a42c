"""The NPT runs of a scan over alpha and a1: at every point, or only where the reweighted density is not known.

`direct` runs the uncorrected model and every point of alphas and a1 in one batch. `reweighted` runs the uncorrected
model and the first points of each alpha, then asks `physembed.analysis.scan.next_point` for each alpha where to run
next, in rounds of one batch each, until every alpha is decided or the allowed runs are used up.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from ase import Atoms, units
from numpy.typing import ArrayLike

from physembed.analysis.reweighting import Reweighting
from physembed.analysis.scan import next_point
from physembed.analysis.tuning import npt_runs
from physembed.config.liquids import NPT
from physembed.md.clock import Clock
from physembed.md.npt import NPTPoint, NPTRuns

log = logging.getLogger(__name__)


def label(alpha: float, a1: float) -> str:
    """Name of the run at a point; the same point has the same name in every scan."""
    return f"alpha={alpha:.10g} a1={a1:.10g}" if alpha else "uncorrected"


class Scan:
    """The scan of one model on one liquid. Existing runs, also from an earlier scan, are not repeated.

    Args:
        make_model: returns the torch-sim model for a list of points, with alpha and a1 of each.
        start: equilibrated box from which each run starts.
        bonds: (n_bonds, 2) bonded atoms.
        settings: settings of the NPT runs; `duration_ps` is that of the scan.
        temperature_K: temperature of the runs.
        pressure_bar: pressure of the runs.
        seed: seed of momenta and noise.
        restart: folder specific to this model.
        clock: clock of the job, for saving and for its time limit.
    """

    def __init__(
        self,
        make_model: Callable[[list[NPTPoint]], Any],
        start: Atoms,
        bonds: ArrayLike,
        settings: NPT,
        *,
        temperature_K: float,
        pressure_bar: float,
        seed: int,
        restart: str | Path,
        clock: Clock | None = None,
    ) -> None:
        self.make_model, self.start, self.bonds, self.settings = make_model, start, bonds, settings
        self.temperature_K, self.pressure_bar = temperature_K, pressure_bar
        self.seed, self.restart, self.clock = seed, restart, clock
        self.points: list[NPTPoint] = []
        self.add(0.0, 0.0)

    def add(self, alpha: float, a1: float) -> bool:
        """Add a point; return False if it already exists."""
        point = NPTPoint(label(alpha, a1), alpha, a1, self.temperature_K, self.pressure_bar)
        if point in self.points:
            return False
        self.points.append(point)
        return True

    def run(self) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Run what is missing; return the series and the table of all runs."""
        runs = NPTRuns(
            self.make_model,
            self.points,
            [self.start] * len(self.points),
            self.settings,
            seed=self.seed,
            restart=self.restart,
            clock=self.clock,
            bonds=self.bonds,
        )
        log.info("scan: %d of %d runs are finished", runs.finished, len(self.points))
        runs.run()
        return runs.series(), runs.runs()

    def direct(self, alphas: Sequence[float], a1: Sequence[float]) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Run every point of the grid; return the series and the table of all runs."""
        for alpha in alphas:
            for value in a1:
                self.add(alpha, value)
        return self.run()

    def reweighted(
        self,
        alphas: Sequence[float],
        *,
        start_a1: Sequence[float],
        a1_range: tuple[float, float],
        target_g_cm3: float,
        max_runs: int,
        minimum_effective_samples: float,
    ) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Run points where they are needed, in rounds; return the series and the table of all runs.

        Args:
            alphas: prefactors.
            start_a1: first points of each alpha.
            a1_range: lowest and highest allowed a1.
            target_g_cm3: target density.
            max_runs: maximum number of runs, including the uncorrected one and the first points.
            minimum_effective_samples: below this a reweighted density is not used.

        Raises:
            PhysEmbedError: MBAR does not converge.
        """
        for alpha in alphas:
            for a1 in start_a1:
                self.add(alpha, a1)
        mass = float(self.start.get_masses().sum())
        while True:
            series, runs = self.run()
            held = npt_runs(series, runs, self.temperature_K, self.pressure_bar)
            if not held:
                return series, runs
            reweighting = Reweighting(held, self.temperature_K, self.pressure_bar * units.bar, mass)
            grown = False
            for alpha in alphas:
                budget = max_runs - len(self.points)
                step = next_point(reweighting, alpha, target_g_cm3, a1_range, budget, minimum_effective_samples)
                log.info("scan: alpha = %g: %s: %s", alpha, step.action, step.reason)
                # A point that was run and still has too few samples would not improve by running it again.
                grown |= step.action == "run" and self.add(alpha, round(step.tuning.a1, 6))
            if not grown:
                return series, runs
