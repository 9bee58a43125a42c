"""Rigid volume scan: energy and forces of a liquid against its volume, with molecules moved but not deformed.

Between the points of a frame only distances between molecules change. So energies relative to one point contain only
the intermolecular energy, and -dE/dV is the intermolecular pressure.

`volume_scan` gives one row per frame, scale and variant (`uncorrected`, `corrected`, ...; `reference` for labels):

| column | meaning |
| --- | --- |
| `frame`, `scale` | index of the frame, and factor on the length of its box |
| `volume_A3`, `density_g_cm3` | of the scaled box |
| `variant` | source of energy and forces |
| `energy_eV_per_molecule` | relative to the frame's point nearest to scale 1 that all variants have |
| `pressure_bar` | -dE/dV through the points of the frame; inaccurate at both ends |
| `molecular_force_rms_meV_A` | root mean square of the net force on a molecule, over molecules and components |
| `force_change_rms_meV_A` | root mean square of forces minus the uncorrected ones, over atoms and components |
| `force_rmse_meV_A` | the same of forces minus the reference's; nan without a reference |
| `molecular_force_rmse_meV_A` | the same of net forces on molecules minus the reference's |
| `force_rmse_change_meV_A` | `force_rmse_meV_A` minus that of `uncorrected`, within +-`force_change_rms_meV_A` |
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from ase import Atoms, units
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline

from physembed.errors import PhysEmbedError
from physembed.liquids.rigid import molecule_numbers, scale_rigid
from physembed.progress import Progress

log = logging.getLogger(__name__)

Evaluate = Callable[[Sequence[Atoms]], tuple[NDArray[np.float64], Sequence[NDArray[np.float64]]]]
"""Energies (n_frames,) in eV and forces, one (n_atoms, 3) array in eV/Å per frame, of periodic frames."""

UNCORRECTED = "uncorrected"
REFERENCE = "reference"
FRAME, SCALE = "volume_scan_frame", "volume_scan_scale"
"""Keys of `info` that identify a point of the scan, also after it has been labelled."""
MEV = 1e-3


def scan_points(frames: Sequence[Atoms], scales: Sequence[float]) -> list[Atoms]:
    """Each frame at each scale of the box length, sorted by frame and then by scale.

    Args:
        frames: periodic frames with the array `molecule`.
        scales: factors on the box length.

    Returns:
        Copies made by `scale_rigid`, with `volume_scan_frame` and `volume_scan_scale` in info.

    Raises:
        PhysEmbedError: no frames, a scale that is listed twice, fewer than three scales; as `scale_rigid`.
    """
    if not frames:
        raise PhysEmbedError("volume_scan: no frames to scan; check the trajectory")
    twice = [scale for scale, count in Counter(scales).items() if count > 1]
    if twice or len(scales) < 3:
        problem = f"{twice[0]:g} is listed twice" if twice else f"{len(scales)} scales"
        raise PhysEmbedError(f"structure.volume_scan_scales: {problem}; give at least three different ones")
    points = []
    for index, frame in enumerate(frames):
        for scale in sorted(scales):
            point = scale_rigid(frame, scale)
            point.info |= {FRAME: index, SCALE: float(scale)}
            points.append(point)
    return points


def volume_scan(
    points: Sequence[Atoms], variants: Mapping[str, Evaluate], labelled: Sequence[Atoms] = ()
) -> pd.DataFrame:
    """Energy and forces of all points with each variant, and their errors if there are reference labels.

    Args:
        points: points created by `scan_points`.
        variants: functions that compute energies and forces, by name; one is `uncorrected`.
        labelled: the points that have labels (`REF_energy` in info, `REF_forces` in arrays), in any order; they
            form the variant `reference`. Points without a label have nan in columns that need one.

    Returns:
        The table described in the module's docstring, sorted by frame, scale and variant in the order given.

    Raises:
        PhysEmbedError: energies or forces of a wrong shape or not finite; a label for no point, or two for one.
    """
    energies, forces = {}, {}
    for variant, evaluate in variants.items():
        energies[variant], forces[variant] = _evaluated(points, variant, evaluate)
    if labelled:
        energies[REFERENCE], forces[REFERENCE] = _labels(points, labelled)
    pressures = _pressures(points, energies)
    _make_relative(points, energies)
    rows: list[dict[str, Any]] = []
    for index, point in enumerate(points):
        molecules = molecule_numbers(point)
        for variant in energies:
            row = {
                "frame": point.info[FRAME],
                "scale": point.info[SCALE],
                "volume_A3": point.get_volume(),
                "density_g_cm3": point.info["density_g_cm3"],
                "variant": variant,
                "energy_eV_per_molecule": energies[variant][index] / (molecules.max() + 1),
                "pressure_bar": pressures[variant][index] / units.bar,
                "molecular_force_rms_meV_A": _rms(_on_molecules(forces[variant][index], molecules)),
            }
            if variant != REFERENCE:
                own, uncorrected = forces[variant][index], forces[UNCORRECTED][index]
                reference = forces[REFERENCE][index] if labelled else np.full_like(own, np.nan)
                row |= {
                    "force_change_rms_meV_A": _rms(own - uncorrected),
                    "force_rmse_meV_A": _rms(own - reference),
                    "molecular_force_rmse_meV_A": _rms(_on_molecules(own - reference, molecules)),
                    "force_rmse_change_meV_A": _rms(own - reference) - _rms(uncorrected - reference),
                }
            rows.append(row)
    return pd.DataFrame(rows)


def _rms(values: NDArray[np.float64]) -> float:
    """Root mean square of values in eV/Å, in meV/Å."""
    return float(np.sqrt(np.mean(values**2))) / MEV


def _on_molecules(forces: NDArray[np.float64], molecules: NDArray[np.int64]) -> NDArray[np.float64]:
    """Net forces, (n_molecules, 3)."""
    net = np.zeros((molecules.max() + 1, 3))
    np.add.at(net, molecules, forces)
    return net


def _where(point: Atoms) -> str:
    return f"frame {point.info[FRAME]} at scale {point.info[SCALE]:g}"


def _evaluated(
    points: Sequence[Atoms], variant: str, evaluate: Evaluate
) -> tuple[NDArray[np.float64], list[NDArray[np.float64]]]:
    """Energies and forces of all points with one variant, frame by frame."""
    energies = np.empty(len(points))
    forces: list[NDArray[np.float64]] = []
    progress = Progress(f"volume scan, {variant}", len(points), "points")
    for chosen in _by_frame(points):
        part = [points[index] for index in chosen]
        values, vectors = evaluate(part)
        if np.shape(values) != (len(part),) or [np.shape(v) for v in vectors] != [(len(p), 3) for p in part]:
            raise PhysEmbedError(
                f"volume_scan: {variant} gives energies of shape {np.shape(values)} and {len(vectors)} arrays of "
                f"forces for {len(part)} points; give one energy and (n_atoms, 3) forces for each"
            )
        for point, value, vector in zip(part, values, vectors, strict=True):
            if not (np.isfinite(value) and np.isfinite(vector).all()):
                raise PhysEmbedError(
                    f"volume_scan: {variant} gives a non-finite energy or force for {_where(point)}; "
                    "raise the smallest of structure.volume_scan_scales"
                )
        energies[chosen] = values
        forces += [np.asarray(vector, dtype=float) for vector in vectors]
        progress.update(len(forces))
    progress.finish()
    return energies, forces


def _labels(
    points: Sequence[Atoms], labelled: Sequence[Atoms]
) -> tuple[NDArray[np.float64], list[NDArray[np.float64]]]:
    """Energies and forces of the points that have labels, nan for the others."""
    index_of = {(point.info[FRAME], round(point.info[SCALE], 6)): index for index, point in enumerate(points)}
    energies = np.full(len(points), np.nan)
    forces = [np.full((len(point), 3), np.nan) for point in points]
    for atoms in labelled:
        index = index_of.get((atoms.info[FRAME], round(atoms.info[SCALE], 6)))
        if index is None or not np.isnan(energies[index]):
            problem = "not a point of the scan" if index is None else "labelled twice"
            raise PhysEmbedError(
                f"volume_scan: {_where(atoms)} is {problem}; give the labels of these points, each once"
            )
        energies[index] = atoms.info["REF_energy"]
        forces[index] = np.asarray(atoms.arrays["REF_forces"], dtype=float)
    missing = [_where(point) for point, energy in zip(points, energies, strict=True) if np.isnan(energy)]
    if missing:
        log.warning("volume_scan: %d of %d points have no label: %s", len(missing), len(points), ", ".join(missing))
    return energies, forces


def _by_frame(points: Sequence[Atoms]) -> list[NDArray[np.int64]]:
    """Indices of the points of each frame."""
    frames = np.array([point.info[FRAME] for point in points])
    return [np.flatnonzero(frames == frame) for frame in np.unique(frames)]


def _pressures(points: Sequence[Atoms], energies: Mapping[str, NDArray[np.float64]]) -> dict[str, NDArray[np.float64]]:
    """-dE/dV in eV/Å^3 by a cubic spline through the points of a frame; nan if fewer than three have an energy.

    The spline is in ln V, in which a steep repulsion is less curved.
    """
    volumes = np.array([point.get_volume() for point in points])
    pressures = {variant: np.full(len(points), np.nan) for variant in energies}
    for chosen in _by_frame(points):
        for variant, values in energies.items():
            known = chosen[~np.isnan(values[chosen])]
            if len(known) >= 3:
                logarithms = np.log(volumes[known])
                slope = CubicSpline(logarithms, values[known]).derivative()
                pressures[variant][known] = -slope(logarithms) / volumes[known]
    return pressures


def _make_relative(points: Sequence[Atoms], energies: Mapping[str, NDArray[np.float64]]) -> None:
    """Make energies relative to that of the frame's point nearest to scale 1 that every variant has.

    A variant without any energy for the frame is ignored.
    """
    scales = np.array([point.info[SCALE] for point in points])
    for chosen in _by_frame(points):
        known = np.array([~np.isnan(values[chosen]) for values in energies.values()])
        common = chosen[known[known.any(axis=1)].all(axis=0)]
        zero = common[np.abs(scales[common] - 1).argmin()]
        for values in energies.values():
            values[chosen] -= values[zero]
