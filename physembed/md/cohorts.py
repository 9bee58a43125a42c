"""Stability runs to which replicas can be added: replicas that started together always advance together."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from ase import Atoms

from physembed.collapse.detector import CollapseDetector, SampledRanges
from physembed.collapse.rearrangements import COLUMNS, Rearrangements
from physembed.config import Stability
from physembed.md.clock import Clock
from physembed.md.stability import StabilityRun
from physembed.provenance import settings_hash
from physembed.seeds import derive_seed
from physembed.trajectory import write_trajectory


class StabilityCohorts:
    """The replicas of one model, as one `StabilityRun` for each cohort of replicas that started together.

    The noise of a replica depends on its batch. When starts are added, the existing replicas keep their batch, their
    noise and their results, and the new ones form a separate cohort, with a seed derived from the index of its first
    replica. If none are added there is one cohort, with `seed` itself.

    Args:
        model: a torch-sim model (energies in eV, forces in eV/Å).
        starts: one structure per replica; added starts have to follow the existing ones.
        detector: detects collapsed replicas.
        ranges: ranges over which the training frames were sampled; None if unknown.
        rearrangements: detects changes that are not a collapse.
        settings: section `stability` of the configuration.
        seed: seed of momenta and noise.
        restart: folder with one subfolder per cohort. It must be specific to the model, the detector, the seed and the
            settings except the duration (`physembed.restart.restart_folder`); it need not be specific to the starts.
        clock: clock of the job, for saving and for its time limit.
    """

    def __init__(
        self,
        model: Any,
        starts: Sequence[Atoms],
        detector: CollapseDetector,
        ranges: SampledRanges | None,
        rearrangements: Rearrangements,
        settings: Stability,
        *,
        seed: int,
        restart: str | Path,
        clock: Clock | None = None,
    ) -> None:
        self.runs: list[StabilityRun] = []
        self.rearrangements = rearrangements
        first = 0
        while first < len(starts):
            cohort = _first_cohort(starts[first:], Path(restart))
            own_seed = derive_seed(seed, "cohort", first) if first else seed
            folder = _folder(cohort, Path(restart))
            run = StabilityRun(model, cohort, detector, ranges, settings, seed=own_seed, restart=folder, clock=clock)
            self.runs.append(run)
            first += len(cohort)

    def run(self) -> None:
        """Advance one cohort after the other, until every replica has collapsed or reached the configured duration.

        Raises:
            PhysEmbedError: the time limit of the clock is reached; the state is saved.
        """
        for run in self.runs:
            run.run()

    def replicas(self) -> pd.DataFrame:
        """The results, one row per replica, in the order of the starts.

        Columns as in `StabilityRun`, then those of `physembed.collapse.rearrangements`, for the frames recorded before
        a collapse.
        """
        table = self._joined([run.replicas() for run in self.runs])
        found = [
            self.rearrangements.of(start, [frame for frame in run.trajectory(replica) if "collapsed" not in frame.info])
            for run in self.runs
            for replica, start in enumerate(run.starts)
        ]
        return pd.concat([table, pd.DataFrame(found, columns=list(COLUMNS))], axis=1)

    def thermo(self) -> pd.DataFrame:
        """Potential energy and temperature of each replica at each record, one cohort after the other."""
        return self._joined([run.thermo() for run in self.runs])

    def write(self, replicas: str | Path, thermo: str | Path, trajectories: str | Path) -> None:
        """Write both tables as CSV and the trajectory of each replica as extended XYZ into a folder."""
        self.replicas().to_csv(replicas, index=False)
        self.thermo().to_csv(thermo, index=False)
        frames = (run.trajectory(replica) for run in self.runs for replica in range(len(run.starts)))
        for replica, trajectory in enumerate(frames):
            write_trajectory(Path(trajectories) / f"replica_{replica:03d}.xyz", trajectory)

    def _joined(self, tables: list[pd.DataFrame]) -> pd.DataFrame:
        """Concatenate tables of the cohorts, with replicas numbered consecutively."""
        firsts = np.cumsum([0, *(len(run.starts) for run in self.runs)])
        numbered = [table.assign(replica=table.replica + first) for table, first in zip(tables, firsts, strict=False)]
        return pd.concat(numbered, ignore_index=True)


def _first_cohort(starts: Sequence[Atoms], restart: Path) -> Sequence[Atoms]:
    """The longest cohort that begins with the first start and already has a restart folder; otherwise all starts."""
    counts = range(len(starts), 0, -1)
    return next((starts[:count] for count in counts if _folder(starts[:count], restart).is_dir()), starts)


def _folder(cohort: Sequence[Atoms], restart: Path) -> Path:
    """The restart folder of a cohort, named by a hash of its geometries."""
    return restart / settings_hash([start.positions.tolist() for start in cohort])
