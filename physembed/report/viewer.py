"""Data of the collapse viewer: the last frames of collapsed replicas beside a surviving one.

The viewer itself is `viewer.js`, which draws balls and sticks on a canvas and loads nothing from the network. The file
that `write_movies` writes is JSON: `survivor` (a movie or null) and `collapses` (a list of movies), each with

- `title`, `subtitle`: which replica this is and what failed;
- `symbols` (n_atoms), `bonds` (n_bonds, 2), 0-based;
- `marked`: the two atoms of the bond or contact that failed, or null;
- `times_fs` (n_frames) and `frames` (n_frames, 3 n_atoms) Å, superposed on the first frame, about its centroid.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
import pandas as pd
from ase import Atoms
from ase.build.rotate import rotation_matrix_from_points

from physembed.files import atomic

LAST_FRAMES = 60
"""Maximum number of frames shown per replica: its last ones."""
MOST_COLLAPSES = 8
"""Maximum number of collapsed replicas shown per molecule."""


@dataclass(frozen=True)
class Movie:
    """The last frames of one replica."""

    title: str
    subtitle: str
    symbols: list[str]
    bonds: list[list[int]]
    marked: list[int] | None
    times_fs: list[float]
    frames: list[list[float]]


def representatives(replicas: pd.DataFrame) -> pd.DataFrame:
    """The collapsed replicas that are shown: for each arm and first failure, the median one.

    Args:
        replicas: one row per replica with arm, seed, replica, collapsed, time_fs, cause and types.

    Returns:
        Rows of `replicas`, the most frequent cause of each arm first, at most `MOST_COLLAPSES`, with the column
        `count`: how many replicas of the arm failed in this way.
    """
    collapsed = replicas[replicas["collapsed"]]
    chosen = []
    for _, group in collapsed.groupby(["arm", "cause", "types"], sort=False):
        middle = group.sort_values("time_fs", kind="stable").iloc[(len(group) - 1) // 2]
        chosen.append({**middle.to_dict(), "count": len(group)})
    table = pd.DataFrame(chosen, columns=[*replicas.columns, "count"])
    order = {arm: place for place, arm in enumerate(dict.fromkeys(replicas["arm"]))}
    # One from each arm in turn, so that all arms are represented.
    table = table.sort_values("count", ascending=False, kind="stable")
    table["rank"] = table.groupby("arm").cumcount()
    table = table.sort_values("rank", kind="stable").head(MOST_COLLAPSES)
    table = table.sort_values(["arm", "rank"], key=lambda column: column.map(order) if column.name == "arm" else column)
    return table.drop(columns="rank").reset_index(drop=True)


def survivor(replicas: pd.DataFrame) -> pd.Series | None:
    """The replica that is shown beside them: the first to survive in the arm with the fewest collapses."""
    survived = replicas[~replicas["collapsed"]]
    if survived.empty:
        return None
    fractions = replicas.groupby("arm", sort=False)["collapsed"].mean()
    best = fractions[fractions.index.isin(survived["arm"])].idxmin()
    return survived[survived["arm"] == best].iloc[0]


def movie(replica: Mapping[Any, Any], trajectory: Sequence[Atoms], bonds: pd.DataFrame) -> Movie:
    """The last frames of a replica.

    Args:
        replica: its row: arm, seed, replica, collapsed, time_fs, cause, atom_i, atom_j, types, length_A, reference_A.
        trajectory: its recorded frames with `time_fs` in `info`, the frame of the collapse last.
        bonds: the bond table of the molecule.
    """
    frames = [frame for frame in trajectory if np.isfinite(frame.positions).all()][-LAST_FRAMES:]
    pair = bool(replica["collapsed"]) and replica["cause"] in ("bond", "overlap")
    return Movie(
        title=f"{replica['arm']}, seed {replica['seed']}, replica {replica['replica']}",
        subtitle=_what_happened(replica),
        symbols=frames[0].get_chemical_symbols(),
        bonds=[[int(i), int(j)] for i, j in zip(bonds["i"], bonds["j"], strict=True)],
        marked=[int(replica["atom_i"]), int(replica["atom_j"])] if pair else None,
        times_fs=[float(frame.info["time_fs"]) for frame in frames],
        frames=[positions.ravel().round(2).tolist() for positions in _superposed(frames)],
    )


def write_movies(path: str | Path, collapses: Sequence[Movie], surviving: Movie | None) -> None:
    """Write the data of the viewer of one molecule."""
    data = {"survivor": asdict(surviving) if surviving else None, "collapses": [asdict(shown) for shown in collapses]}
    with atomic(path) as temporary:
        temporary.write_text(json.dumps(data, separators=(",", ":")), "utf-8")


def read_movies(path: str | Path) -> dict[str, Any] | None:
    """The data that `write_movies` wrote, or None if no replica collapsed."""
    data: dict[str, Any] = json.loads(Path(path).read_text("utf-8"))
    return data if data["collapses"] else None


def movies_of(
    replicas: pd.DataFrame, trajectories: Mapping[tuple[str, int], str | Path], bonds: pd.DataFrame
) -> tuple[list[Movie], Movie | None]:
    """The collapses that are shown of a molecule, and the survivor beside them.

    Args:
        replicas: one row per replica of all arms and seeds.
        trajectories: folder of the trajectories of each arm and seed.
        bonds: the bond table of the molecule.
    """

    def played(row: Mapping[Any, Any]) -> Movie:
        file = Path(trajectories[str(row["arm"]), int(row["seed"])]) / f"replica_{int(row['replica']):03d}.xyz"
        return movie(row, ase.io.read(file, f"-{LAST_FRAMES}:"), bonds)

    surviving = survivor(replicas)
    collapses = [played(row) for row in representatives(replicas).to_dict("records")]
    return collapses, None if surviving is None else played(surviving.to_dict())


def _what_happened(replica: Mapping[Any, Any]) -> str:
    time_ps = float(replica["time_fs"]) / 1000
    if not replica["collapsed"]:
        return f"survived {time_ps:g} ps"
    cause = str(replica["cause"])
    if cause not in ("bond", "overlap"):
        return f"collapsed after {time_ps:.3g} ps: a non-finite value"
    name = "bond" if cause == "bond" else "contact"
    relation = "mean length" if cause == "bond" else "limit"
    return (
        f"collapsed after {time_ps:.3g} ps: {name} {replica['types']} at {float(replica['length_A']):.2f} Å "
        f"({relation} {float(replica['reference_A']):.2f} Å)"
    )


def _superposed(frames: Sequence[Atoms]) -> list[np.ndarray]:
    """Positions (n_atoms, 3) of each frame about its centroid, turned onto the first with the least squares."""
    first = frames[0].positions - frames[0].positions.mean(axis=0)
    turned = []
    for frame in frames:
        centred = frame.positions - frame.positions.mean(axis=0)
        turned.append(centred @ rotation_matrix_from_points(centred.T, first.T).T if len(centred) > 1 else centred)
    return turned
