"""Conformations of a molecule: features that no rotation or relabelling changes, clusters, and what lies beyond them.

A frame is described by its inverse interatomic distances (1/Å), sorted within pairs that the bonds make equivalent. The
clusters are those of K-means, the map is the plane of the first two principal components, both of scikit-learn. A frame
is unexplored if its distance to the nearest centre exceeds the radius of that cluster, which is the distance of its
farthest member among the training frames (Wang et al., J. Chem. Phys. 159, 035101).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from ase import Atoms
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import shortest_path

from physembed.errors import PhysEmbedError
from physembed.files import atomic

Array = NDArray[np.float64]


def atom_classes(numbers: Sequence[int], bonds: pd.DataFrame) -> list[int]:
    """Class of each atom: atoms that the bonds make equivalent have the same one.

    Classes are refined by those of the neighbours until nothing changes (Weisfeiler-Lehman); the three hydrogens of a
    methyl group are in one, and so are mirror images.

    Args:
        numbers: atomic numbers.
        bonds: the bond table (i, j).
    """
    neighbours: dict[int, list[int]] = defaultdict(list)
    for i, j in bonds[["i", "j"]].to_numpy().tolist():
        neighbours[i].append(j)
        neighbours[j].append(i)
    classes = _numbered([(int(number),) for number in numbers])
    while True:
        finer = _numbered(
            [(own, *sorted(classes[other] for other in neighbours[atom])) for atom, own in enumerate(classes)]
        )
        if len(set(finer)) == len(set(classes)):
            return finer
        classes = finer


def _numbered(keys: list[tuple[int, ...]]) -> list[int]:
    order = {key: number for number, key in enumerate(sorted(set(keys)))}
    return [order[key] for key in keys]


class Features:
    """Features of the conformations of one molecule.

    Args:
        numbers: atomic numbers.
        bonds: the bond table (i, j).
    """

    def __init__(self, numbers: Sequence[int], bonds: pd.DataFrame) -> None:
        count, classes = len(numbers), atom_classes(numbers, bonds)
        i, j = bonds["i"].to_numpy(), bonds["j"].to_numpy()
        steps = shortest_path(coo_array((np.ones(len(i)), (i, j)), shape=(count, count)), directed=False)
        self._first, self._second = np.triu_indices(count, 1)
        of_pair: dict[tuple[float, ...], list[int]] = defaultdict(list)
        for pair, (a, b) in enumerate(zip(self._first.tolist(), self._second.tolist(), strict=True)):
            of_pair[(*sorted((classes[a], classes[b])), float(steps[a, b]))].append(pair)
        self._groups = [np.array(of_pair[key]) for key in sorted(of_pair)]

    def __call__(self, frames: Sequence[Atoms]) -> Array:
        """(n_frames, n_pairs) 1/Å."""
        positions = np.array([frame.positions for frame in frames])
        distances = np.linalg.norm(positions[:, self._first] - positions[:, self._second], axis=2)
        inverse = 1 / np.maximum(distances, 1e-6)
        return np.concatenate([np.sort(inverse[:, group], axis=1) for group in self._groups], axis=1)


@dataclass(frozen=True)
class Conformations:
    """Clusters of the conformations of one molecule, and a map of them."""

    centres: Array
    """(n_clusters, n_features)."""
    mean: Array
    """(n_features,) origin of the map."""
    axes: Array
    """(2, n_features) directions of the map."""
    explained: Array
    """(2,) share of the variance along each."""

    @classmethod
    def of(cls, features: Array, clusters: int, seed: int) -> Conformations:
        """K-means and principal components of (n_frames, n_features).

        Clusters are numbered along the first principal component.

        Raises:
            PhysEmbedError: there are fewer different frames than clusters.
        """
        from sklearn.cluster import KMeans
        from sklearn.decomposition import PCA

        if (different := len(np.unique(features, axis=0))) < max(clusters, 3):
            raise PhysEmbedError(
                f"conformations: {different} different frames for metrics.clusters {clusters}; lower it, or raise "
                "frames.train"
            )
        found = KMeans(clusters, n_init=10, random_state=seed % 2**32).fit(features)
        analysis = PCA(2, svd_solver="full").fit(features)
        order = np.argsort(analysis.transform(found.cluster_centers_)[:, 0])
        return cls(
            found.cluster_centers_[order], analysis.mean_, analysis.components_, analysis.explained_variance_ratio_
        )

    def nearest(self, features: Array) -> tuple[NDArray[np.int64], Array]:
        """Nearest cluster of each frame, counted from 0, and the distance to its centre: (n_frames,) both."""
        distances = np.linalg.norm(features[:, None] - self.centres, axis=2)
        return distances.argmin(axis=1), distances.min(axis=1)

    def radii(self, features: Array) -> Array:
        """(n_clusters,) distance of the farthest member; -1 of a cluster without any, in which all is unexplored."""
        cluster, distance = self.nearest(features)
        return np.array([distance[cluster == k].max(initial=-1) for k in range(len(self.centres))])

    def unexplored(self, features: Array, radii: Array) -> NDArray[np.bool_]:
        """(n_frames,) whether a frame is farther from its nearest centre than the radius of that cluster."""
        cluster, distance = self.nearest(features)
        return np.asarray(distance > radii[cluster])

    def map(self, features: Array) -> Array:
        """(n_frames, 2) places on the map."""
        return np.asarray((features - self.mean) @ self.axes.T)

    def write(self, path: str | Path) -> None:
        """Write to a file of NumPy's (`npz`)."""
        with atomic(path) as temporary, temporary.open("wb") as file:
            np.savez(file, centres=self.centres, mean=self.mean, axes=self.axes, explained=self.explained)

    @classmethod
    def read(cls, path: str | Path) -> Conformations:
        """What `write` has written."""
        with np.load(path) as saved:
            return cls(**{name: saved[name] for name in ("centres", "mean", "axes", "explained")})
