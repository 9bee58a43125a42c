"""The hot MD of a round of learning: replicas that a committee drives until they end, collapse or lead too far."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from ase import Atoms

from physembed.collapse.detector import CollapseDetector
from physembed.collapse.rearrangements import Rearrangements
from physembed.config import Stability
from physembed.engine.device import resolve_device
from physembed.engine.mace import load_isolated
from physembed.learning.committee import SpreadLimited, mean_and_spread, spread_limit
from physembed.md.clock import Clock
from physembed.md.cohorts import StabilityCohorts
from physembed.molecules.bonds import equilibrium_length_matrix
from physembed.trajectory import write_trajectory


@dataclass(frozen=True)
class HotRuns:
    """What hot MD has left."""

    replicas: pd.DataFrame
    """From `StabilityCohorts.replicas`; a replica that the spread stopped has the cause `spread`."""
    trajectories: list[list[Atoms]]
    """Recorded frames of each replica, and the last one of those that ended early."""
    records: pd.DataFrame
    """replica, time_fs, spread_eV_A and sound (no bond broken, no contact) of each of these frames."""
    limit_eV_A: float
    """Spread beyond which a replica stopped."""
    force_rmse_meV_A: float
    """Of the mean force of the committee on the validation frames, over components."""

    @property
    def frames(self) -> list[Atoms]:
        """All frames, in the order of `records`."""
        return [frame for trajectory in self.trajectories for frame in trajectory]

    @property
    def ended(self) -> list[int]:
        """Replicas that ended early."""
        return [int(replica) for replica in self.replicas.loc[self.replicas["collapsed"], "replica"]]

    def write(self, replicas: str | Path, trajectories: str | Path) -> None:
        """Write the table as CSV, and the trajectory of each replica as extended XYZ into a folder."""
        self.replicas.to_csv(replicas, index=False)
        Path(trajectories).mkdir(parents=True, exist_ok=True)
        for replica, trajectory in enumerate(self.trajectories):
            write_trajectory(Path(trajectories) / f"replica_{replica:03d}.xyz", trajectory)


def no_runs() -> HotRuns:
    """What a round without MD has."""
    records = pd.DataFrame(columns=["replica", "time_fs", "spread_eV_A", "sound"])
    return HotRuns(pd.DataFrame(columns=["replica", "collapsed", "cause"]), [], records, np.nan, np.nan)


def run_hot(
    models: Sequence[str | Path],
    starts: Sequence[Atoms],
    validation: Sequence[Atoms],
    bonds: pd.DataFrame,
    mean_lengths_A: np.ndarray,
    settings: Stability,
    *,
    spread_factor: float,
    seed: int,
    restart: str | Path,
    clock: Clock | None = None,
) -> HotRuns:
    """Run hot MD with a committee, from where it was left if it was killed.

    Args:
        models: files of the MACE models.
        starts: a structure for each replica.
        validation: labelled frames (REF_forces), from which the limit of the spread follows (`spread_limit`).
        bonds: the bond table.
        mean_lengths_A: (n_bonds,) mean lengths in the GAFF run.
        settings: of the MD.
        spread_factor: of `spread_limit`.
        seed: of momenta and noise.
        restart: folder for its state.
        clock: of the job.

    Raises:
        PhysEmbedError: the time limit of the clock is reached; the state is saved.
    """
    device = resolve_device(settings.device)
    members = [load_isolated(model, device, settings.dtype) for model in models]
    numbers = starts[0].numbers
    lengths = equilibrium_length_matrix(bonds, numbers)
    limits = settings.bond_tolerance_A, settings.overlap_margin_A
    detector = CollapseDetector(bonds, mean_lengths_A, lengths, *limits, device=device)
    labels = np.array([frame.arrays["REF_forces"] for frame in validation])
    forces, _ = mean_and_spread(SpreadLimited(members), validation)
    limit = spread_limit(forces, labels, spread_factor)
    cohorts = StabilityCohorts(
        SpreadLimited(members, limit), starts, detector, None, Rearrangements(bonds, numbers, lengths), settings,
        seed=seed, restart=restart, clock=clock,
    )  # fmt: skip
    cohorts.run()
    trajectories = [run.trajectory(replica) for run in cohorts.runs for replica in range(len(run.starts))]
    records = recorded(trajectories, SpreadLimited(members), detector)
    rmse = 1000 * float(np.sqrt(np.mean((forces - labels) ** 2)))
    return HotRuns(with_causes(cohorts.replicas(), records), trajectories, records, limit, rmse)


def recorded(
    trajectories: Sequence[Sequence[Atoms]], committee: SpreadLimited, detector: CollapseDetector
) -> pd.DataFrame:
    """The spread along trajectories, and whether frames are still the molecule: `HotRuns.records`."""
    frames = [frame for trajectory in trajectories for frame in trajectory]
    positions = torch.as_tensor(np.array([frame.positions for frame in frames]), device=committee.device)
    nothing = torch.zeros(len(frames), device=committee.device)
    check = detector.check(positions, nothing, torch.zeros_like(positions), nothing)
    return pd.DataFrame(
        {
            "replica": np.repeat(np.arange(len(trajectories)), [len(trajectory) for trajectory in trajectories]),
            "time_fs": [float(frame.info["time_fs"]) for frame in frames],
            "spread_eV_A": mean_and_spread(committee, frames)[1],
            "sound": ~check.collapsed.cpu().numpy(),
        }
    )


def with_causes(replicas: pd.DataFrame, records: pd.DataFrame) -> pd.DataFrame:
    """The table of replicas with the cause `spread` of those that the limit of the spread stopped.

    To the MD they are replicas whose energy is not finite. If the spread at their end can be computed, the limit is why
    they stopped.
    """
    last = records.drop_duplicates("replica", keep="last").set_index("replica")["spread_eV_A"]
    at_end = last.reindex(replicas["replica"]).to_numpy()
    stopped = (replicas["cause"] == "non_finite") & np.isfinite(at_end)
    return replicas.assign(cause=replicas["cause"].mask(stopped, "spread"))
