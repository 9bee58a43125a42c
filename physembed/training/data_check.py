"""Checks of a training set that a user names: what each frame has, and whether its numbers can be in the right units.

The file is read without ASE's objects, because large sets are checked often.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from ase.data import atomic_numbers, chemical_symbols
from numpy.typing import NDArray

from physembed.errors import PhysEmbedError
from physembed.model_files.given import check_elements, check_file
from physembed.units import GPA

LARGEST_STRESS_EV_A3 = 1.0
"""160 GPa: no liquid under any barostat. In kbar, GPa or bar ordinary stresses are beyond it."""
LARGEST_FORCE_EV_A = 1000.0
"""Beyond any frame that can serve for training."""
USUAL_STRESS_EV_A3 = 0.1
"""Half of the frames of a liquid are far below (16 GPa)."""
USUAL_FORCE_EV_A = (0.1, 10.0)
"""Root mean square force components: about 1 at 300 K. In Hartree/Bohr it is 0.02, in kcal/mol/Å 23."""
USUAL_LENGTH_A = (0.003, 1.0)
"""Spread of the energies per square root of atoms over the root mean square force: about 0.04 Å at 300 K."""
LEAST_FOR_SPREAD = 8
"""Frames of one composition that are needed to speak of the spread of their energies."""
ISOLATED = "IsolatedAtom"
"""`config_type` of a single atom whose energy is the E0 of its element (MACE's convention)."""
OTHER_NAMES = {
    "energy": ("REF_energy", "energy", "Energy", "free_energy", "dft_energy", "DFT_energy", "E", "ref_energy"),
    "forces": ("REF_forces", "forces", "force", "Forces", "dft_forces", "DFT_forces", "F", "ref_forces"),
    "stress": ("REF_stress", "stress", "Stress", "dft_stress", "DFT_stress", "ref_stress"),
}
"""Names under which other programs write labels."""


@dataclass(frozen=True)
class Keys:
    """Names of the labels in a data set: energy (eV), forces (eV/Å), stress (eV/Å^3)."""

    energy: str = "REF_energy"
    forces: str = "REF_forces"
    stress: str = "REF_stress"


@dataclass
class _Contents:
    """What a file holds."""

    frames: int = 0
    elements: set[int] = field(default_factory=set)
    lacking: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    """For each label, the frames that lack it; isolated atoms need an energy alone."""
    stressed: int = 0
    """Frames with stress."""
    unwrapped: int | None = None
    """The first frame with stress that is not periodic."""
    first_names: tuple[str, ...] = ()
    """Names in the first frame."""
    isolated: dict[int, float] = field(default_factory=dict)
    """Energies of isolated atoms by atomic number, eV."""
    unmarked: int | None = None
    """The first frame of a single atom that is not marked as isolated."""
    wrong: str = ""
    """The first value that cannot be right."""
    largest_stress: list[float] = field(default_factory=list)
    """Of each frame with stress, eV/Å^3."""
    energies: dict[tuple[int, ...], list[tuple[float, float]]] = field(default_factory=lambda: defaultdict(list))
    """By composition: energy in eV and mean square force component in (eV/Å)^2 of each frame."""


def check_training_data(
    key: str,
    path: str | Path,
    sha256: str | None,
    liquids: Mapping[str, Collection[int]],
    *,
    stress: bool,
    keys: Keys = Keys(),
) -> list[str]:
    """Check that the frames of a training set have what the training asks for, in numbers that can be right.

    Frames of isolated atoms give the E0s and need an energy alone. Frames without stress, such as clusters, count for
    energy and forces alone; one frame at least must have a stress where it is asked for.

    Args:
        key: what names the file in the configuration, as in `config: models.x.data`; it begins each message.
        path: extended XYZ with energies (eV), forces (eV/Å) and stresses (eV/Å^3).
        sha256: hash that it must have, if that is known.
        liquids: atomic numbers of each liquid that the model is for.
        stress: whether stress is asked for.
        keys: names of the labels.

    Returns:
        What is suspicious, for a warning: units that are probably not eV and Å.

    Raises:
        PhysEmbedError: there is no such file, its hash differs, it is no extended XYZ, frames lack something (the
            message names the first and how many do, and which other names were found), a value is not finite or beyond
            all reason, isolated atoms give the E0s of some elements only, or no frame has an element of a liquid.
    """
    check_file(key, path, sha256)
    contents = _contents(key, Path(path), Path(path).stat().st_mtime_ns, keys)
    where = f"{key}: {path}"
    if not contents.frames:
        raise PhysEmbedError(f"{where}: holds no frame")
    if contents.wrong:
        raise PhysEmbedError(f"{where}: {contents.wrong}")
    _check_complete(where, key.rpartition(".")[0].removeprefix("config: "), contents, keys, stress)
    check_elements(f"{where}: the training set", contents.elements, liquids)
    return [f"{where}: {text}" for text in _suspicious(contents, keys)]


def training_frames(key: str, path: str | Path, keys: Keys) -> int:
    """Number of frames of a data set that `check_training_data` has passed, isolated atoms left out."""
    contents = _contents(key, Path(path), Path(path).stat().st_mtime_ns, keys)
    return contents.frames - len(contents.isolated)


def _check_complete(where: str, model: str, contents: _Contents, keys: Keys, stress: bool) -> None:
    wanted = {"energy": keys.energy, "forces": keys.forces}
    if stress and not contents.stressed:
        wanted["stress"] = keys.stress
    for label, name in wanted.items():
        which = contents.lacking.get(label, [])
        if not which:
            continue
        others = {
            other: found[0]
            for other, own in wanted.items()
            if contents.lacking.get(other)
            and (found := [word for word in OTHER_NAMES[other] if word != own and word in contents.first_names])
        }
        remedy = ""
        if label in others:
            settings = ", ".join(f"{other}_key: {found}" for other, found in others.items())
            remedy = f"; it has {', '.join(others.values())}: set {model}.{settings}, if that is what is meant"
        elif label == "stress":
            virial = [name for name in contents.first_names if "virial" in name.lower()]
            remedy = "; add it (eV/Å^3, dE/dstrain over volume) or set training.stress_weight to 0"
            remedy += f"; {virial[0]} is no stress: divide by the volume and mind the sign" if virial else ""
        count = f"{len(which)} of {contents.frames} frames"
        raise PhysEmbedError(f"{where}: frame {which[0]} lacks {name}, as do {count}{remedy}")
    if stress and contents.unwrapped is not None:
        raise PhysEmbedError(
            f"{where}: frame {contents.unwrapped} has {keys.stress} but no periodic cell; give it one, or remove its "
            "stress"
        )
    if contents.unmarked is not None:
        raise PhysEmbedError(
            f"{where}: frame {contents.unmarked} is a single atom; mark it with config_type={ISOLATED}, so that its "
            "energy is the E0 of its element, or remove it"
        )
    if contents.isolated and (missing := sorted(contents.elements - set(contents.isolated))):
        has, lacks = (", ".join(chemical_symbols[z] for z in sorted(part)) for part in (contents.isolated, missing))
        raise PhysEmbedError(
            f"{where}: isolated atoms give the E0s of {has}, but not of {lacks}; give those of all elements, or of "
            "none (E0s are then fitted to the energies)"
        )
    if contents.frames - len(contents.isolated) < 2:
        raise PhysEmbedError(f"{where}: holds fewer than two frames besides isolated atoms; training needs more")


def _suspicious(contents: _Contents, keys: Keys) -> Iterator[str]:
    if contents.largest_stress and (middle := float(np.median(contents.largest_stress))) > USUAL_STRESS_EV_A3:
        yield (
            f"half of the frames have components of {keys.stress} above {middle:.2g} eV/Å^3 ({middle / GPA:.0f} GPa); "
            "eV/Å^3 are expected: 1 GPa = 0.00624 eV/Å^3"
        )
    squares = [square for group in contents.energies.values() for _, square in group]
    force = math.sqrt(float(np.mean(squares))) if squares else 1.0
    low, high = USUAL_FORCE_EV_A
    if not low <= force <= high:
        yield (
            f"the root mean square component of {keys.forces} is {force:.2g}; eV/Å are expected, in which it is about "
            "1 at 300 K (0.02 in Hartree/Bohr, 23 in kcal/mol/Å)"
        )
    for numbers, group in contents.energies.items():
        energies, of_group = np.array(group).T
        if len(group) < LEAST_FOR_SPREAD or not of_group.mean() > 0 or not energies.std() > 0:
            continue
        length = float(energies.std() / math.sqrt(len(numbers)) / math.sqrt(of_group.mean()))
        low, high = USUAL_LENGTH_A
        if not low <= length <= high:
            yield (
                f"{keys.energy} spreads by {energies.std():.2g} over {len(group)} frames of {len(numbers)} atoms with "
                f"a root mean square force of {math.sqrt(of_group.mean()):.2g}: {'little' if length < low else 'much'} "
                "for one unit of energy; eV and eV/Å are expected (1 Hartree = 27.2 eV, 1 Hartree/Bohr = 51.4 eV/Å)"
            )
            return
    if contents.isolated:
        binding = [
            (energy - sum(contents.isolated[z] for z in numbers)) / len(numbers)
            for numbers, group in contents.energies.items()
            for energy, _ in group
        ]
        if binding and not -20 < float(np.median(binding)) < 0:
            yield (
                f"the atoms are bound by {-float(np.median(binding)):.3g} eV each against the isolated ones; 3 to 8 "
                "are usual: both must come from one method, in eV"
            )


@lru_cache  # a plan asks twice, and large sets take seconds
def _contents(key: str, path: Path, _changed: int, keys: Keys) -> _Contents:
    """What a file as last changed holds."""
    contents = _Contents()
    for index, frame in enumerate(_frames(key, path, keys)):
        contents.frames += 1
        if not contents.first_names and len(frame.numbers) > 1:
            contents.first_names = (*frame.info, *frame.columns)
        alone = len(frame.numbers) == 1
        if alone and frame.info.get("config_type") == ISOLATED:
            if (energy := _value(frame.info.get(keys.energy), (1,))) is None:
                contents.lacking["energy"].append(index)
            else:
                contents.isolated[frame.numbers[0]] = float(energy[0])
            continue
        if alone and contents.unmarked is None:
            contents.unmarked = index
        contents.elements.update(frame.numbers)
        contents.wrong = contents.wrong or _look(index, frame, keys, contents)
    return contents


def _look(index: int, frame: _Frame, keys: Keys, contents: _Contents) -> str:
    """Take down what a frame has; the reason if a value in it cannot be right."""
    energy = _value(frame.info.get(keys.energy), (1,))
    stress = _value(frame.info.get(keys.stress), (6, 9))
    for label, found in (("energy", energy), ("forces", frame.forces), ("stress", stress)):
        if found is None:
            contents.lacking[label].append(index)
    if not np.isfinite(frame.positions).all():
        return f"frame {index}: the position of atom {_first_bad(frame.positions)} is not finite; remove the frame"
    if frame.forces is not None:
        if not np.isfinite(frame.forces).all():
            return f"frame {index}: {keys.forces} of atom {_first_bad(frame.forces)} is not finite; remove the frame"
        if (largest := float(np.abs(frame.forces).max())) > LARGEST_FORCE_EV_A:
            return (
                f"frame {index}: {keys.forces} of {largest:.3g}: eV/Å are expected, and no frame with forces beyond "
                f"{LARGEST_FORCE_EV_A:g} eV/Å can serve for training"
            )
    if energy is not None and not np.isfinite(energy).all():
        return f"frame {index}: {keys.energy} is {energy[0]}; remove the frame"
    lattice = _value(frame.info.get("Lattice"), (9,))
    if lattice is not None and not np.isfinite(lattice).all():
        return f"frame {index}: Lattice is not finite; remove the frame"
    if stress is not None:
        if not np.isfinite(stress).all():
            return f"frame {index}: {keys.stress} is not finite; remove the frame or its stress"
        largest = float(np.abs(stress).max())
        if largest > LARGEST_STRESS_EV_A3:
            return (
                f"frame {index}: {keys.stress} of {largest:.3g}: eV/Å^3 are expected, and {largest:.3g} eV/Å^3 are "
                f"{largest / GPA:.3g} GPa; 1 GPa = 0.00624151 eV/Å^3, 1 kbar a tenth of that: convert"
            )
        contents.stressed += 1
        contents.largest_stress.append(largest)
        whole = lattice is not None and abs(np.linalg.det(lattice.reshape(3, 3))) > 0
        if not (whole and np.all(frame.info.get("pbc", True))) and contents.unwrapped is None:
            contents.unwrapped = index
    if energy is not None and frame.forces is not None:
        square = float(np.square(frame.forces).mean())
        contents.energies[tuple(sorted(frame.numbers))].append((float(energy[0]), square))
    return ""


def _first_bad(values: NDArray[np.float64]) -> int:
    return int(np.flatnonzero(~np.isfinite(values).all(axis=1))[0])


@dataclass(frozen=True)
class _Frame:
    info: dict[str, Any]
    """Values of the comment line."""
    columns: dict[str, tuple[str, int]]
    """Kind and number of the columns of each per-atom property."""
    numbers: list[int]
    """Atomic numbers."""
    positions: NDArray[np.float64]
    """(n_atoms, 3)"""
    forces: NDArray[np.float64] | None
    """(n_atoms, 3), if there are any."""


def _frames(key: str, path: Path, keys: Keys) -> Iterator[_Frame]:
    """The frames of an extended XYZ file."""
    from ase.io.extxyz import key_val_str_to_dict

    line = 0
    with path.open(encoding="utf-8", errors="replace") as lines:
        for first in lines:
            line += 1
            if not first.strip():
                continue
            try:
                count = int(first)
                info = key_val_str_to_dict(next(lines))
                properties = str(info["Properties"]).split(":")
                columns = {
                    name: (kind, int(number))
                    for name, kind, number in zip(properties[::3], properties[1::3], properties[2::3], strict=True)
                }
                widths = {name: number for name, (_, number) in columns.items()}
                words = "".join(islice(lines, count)).split()
                width = sum(widths.values())
                if len(words) != count * width:
                    raise ValueError("atoms or values are missing")
                starts = dict(zip(widths, np.cumsum([0, *widths.values()]).tolist(), strict=False))
                symbols = words[starts["species"] :: width]
                isotopes = {"D", "T"}.intersection(symbols)
                if isotopes:
                    raise PhysEmbedError(
                        f"{key}: {path}: line {line}: the isotope {min(isotopes)}: write H; energies and forces do not "
                        "depend on the mass, and all runs have the masses of the natural elements"
                    )
                yield _Frame(
                    info,
                    columns,
                    [atomic_numbers[symbol] for symbol in symbols],
                    _columns(words, width, starts["pos"]),
                    _columns(words, width, starts[keys.forces]) if columns.get(keys.forces) == ("R", 3) else None,
                )
            except (ValueError, KeyError, StopIteration) as error:
                reason = f"{type(error).__name__}: {error}"
                raise PhysEmbedError(
                    f"{key}: {path}: line {line}: no frame of extended XYZ begins here ({reason})"
                ) from error
            line += 1 + count


def _columns(words: list[str], width: int, start: int) -> NDArray[np.float64]:
    """Three columns as numbers."""
    values: NDArray[np.float64] = np.array([words[start + place :: width] for place in range(3)], dtype=float).T
    return values


def _value(value: Any, sizes: tuple[int, ...]) -> NDArray[np.float64] | None:
    """A value of the comment line if it is so many numbers, finite or not."""
    array = np.asarray(value)
    if array.dtype.kind == "U" and array.size == 1:
        try:
            array = np.asarray(float(str(array)))  # nan and inf
        except ValueError:
            return None
    if array.dtype.kind not in "if" or array.size not in sizes:
        return None
    return np.asarray(array.ravel(), dtype=float)
