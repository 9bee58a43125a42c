"""Fine-grained metrics of forces: each formula by hand, and what must not change them; conformations and the new."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
import pandas as pd
import pytest
from ase import Atoms
from ase.build import molecule
from scipy.spatial.transform import Rotation

from physembed.analysis.conformations import Conformations, Features, atom_classes
from physembed.analysis.explored import COLUMNS, before_collapse, explored
from physembed.analysis.force_metrics import atom_errors, bad_points, frame_errors, metric_table, metric_tables
from physembed.config import Labels
from physembed.errors import PhysEmbedError
from physembed.labels.xtb import calculate

METHANOL = molecule("CH3OH")
BONDS = pd.DataFrame({"i": [0, 0, 0, 0, 1], "j": [1, 2, 4, 5, 3]})
"""C-O, three C-H and O-H of ASE's methanol."""
H, C = 1.008, 12.011


def force_table(reference: np.ndarray, model: np.ndarray, elements: list[str]) -> pd.DataFrame:
    """Rows by atom of (n_frames, n_atoms, 3) forces in eV/Å."""
    rows: list[dict[str, Any]] = []
    for frame, (true, found) in enumerate(zip(reference, model, strict=True)):
        for atom, element in enumerate(elements):
            row: dict[str, Any] = {"frame": frame, "atom": atom, "element": element}
            for axis, letter in enumerate("xyz"):
                row |= {f"reference_{letter}_eV_A": true[atom, axis], f"model_{letter}_eV_A": found[atom, axis]}
            rows.append(row)
    return pd.DataFrame(rows)


@pytest.fixture
def by_hand() -> pd.DataFrame:
    """Three frames of one carbon and two hydrogens; errors in meV/Å are whole numbers."""
    errors = np.array([
        [[1, 2, 3], [0, 0, 0], [0, 0, 6]],
        [[0, 0, 0], [-12, 0, 0], [0, 0, 0]],
        [[3, 3, -3], [9, -9, 9], [6, 6, 6]],
    ])  # fmt: skip
    reference = np.random.default_rng(1).normal(size=(3, 3, 3))
    return force_table(reference, reference + errors / 1000, ["C", "H", "H"])


def test_every_formula_by_hand(by_hand: pd.DataFrame) -> None:
    table = metric_table(by_hand, pd.Series([0, 0, 1])).set_index(["scope", "part"])
    # Sums of the frames 12, 12 and 54; largest components 6, 12 and 9; nine components in a frame.
    whole = table.loc[("all", "")]
    assert whole["mae_meV_A"] == pytest.approx((12 + 12 + 54) / 27)
    assert whole["max_error_meV_A"] == pytest.approx((6 + 12 + 9) / 3)
    assert whole["mass_mae_meV_A"] == pytest.approx((6 / C + 6 / H + 12 / H + 9 / C + 27 / H + 18 / H) / 27, rel=1e-4)
    assert whole["mass_max_error_meV_A"] == pytest.approx((6 / H + 12 / H + 9 / H) / 3, rel=1e-4)
    # Per element: sums over its atoms, by three times their number.
    carbon, hydrogen = table.loc[("element", "C")], table.loc[("element", "H")]
    assert carbon["mae_meV_A"] == pytest.approx((6 + 0 + 9) / 9)
    assert hydrogen["mae_meV_A"] == pytest.approx((6 + 12 + 45) / 18)
    assert (carbon["max_error_meV_A"], hydrogen["max_error_meV_A"]) == (pytest.approx(2), pytest.approx(9))
    assert carbon["mass_mae_meV_A"] == pytest.approx(15 / 9 / C, rel=1e-4)
    assert np.isnan(carbon["bad_points"]) and (carbon["frames"], carbon["atoms"], hydrogen["atoms"]) == (3, 3, 6)
    # Per cluster. Means of the frames are 4/3, 4/3 and 6, that of all 26/9: the third is bad.
    first, second = table.loc[("cluster", "0")], table.loc[("cluster", "1")]
    assert first["mae_meV_A"] == pytest.approx(24 / 18) and second["mae_meV_A"] == pytest.approx(6)
    assert first["max_error_meV_A"] == pytest.approx(9) and second["max_error_meV_A"] == pytest.approx(9)
    assert (first["bad_points"], second["bad_points"], whole["bad_points"]) == (0, 1, pytest.approx(1 / 3))


def test_bad_points_are_shares_of_clusters(by_hand: pd.DataFrame) -> None:
    shares = bad_points(frame_errors(atom_errors(by_hand)), pd.Series([2, 5, 5]))
    assert shares.to_dict() == {2: 0.0, 5: 0.5}


def test_seeds_and_sets_stand_apart(by_hand: pd.DataFrame) -> None:
    tables = [by_hand.assign(seed=seed, set=name) for seed in (3, 7) for name in ("train", "validation")]
    found = metric_tables(pd.concat(tables), {"train": np.array([0, 0, 1]), "validation": np.array([1, 1, 1])})
    assert found.groupby(["seed", "set"]).size().to_dict() == {
        (3, "train"): 5, (3, "validation"): 4, (7, "train"): 5, (7, "validation"): 4
    }  # fmt: skip


def displaced(count: int, seed: int, size: float = 0.1) -> list[Atoms]:
    rng = np.random.default_rng(seed)
    return [Atoms(METHANOL.numbers, METHANOL.positions + rng.normal(0, size, (6, 3))) for _ in range(count)]


def test_equivalent_atoms_are_found() -> None:
    classes = atom_classes(METHANOL.numbers.tolist(), BONDS)
    assert classes[2] == classes[4] == classes[5] and len(set(classes)) == 4
    benzene = molecule("C6H6")
    ring = pd.DataFrame(
        [(i, j) for i in range(12) for j in range(i + 1, 12) if benzene.get_distance(i, j) < 1.5], columns=["i", "j"]
    )
    assert len(set(atom_classes(benzene.numbers.tolist(), ring))) == 2


def test_features_know_no_rotation_and_no_labels_of_equivalent_atoms() -> None:
    features, frames = Features(METHANOL.numbers.tolist(), BONDS), displaced(5, 1)
    expected = features(frames)
    assert expected.shape == (5, 15)
    moved = [Atoms(f.numbers, f.positions @ Rotation.random(random_state=2).as_matrix() + 3.0) for f in frames]
    np.testing.assert_allclose(features(moved), expected, atol=1e-12)
    relabelled = [frame[[0, 1, 4, 3, 5, 2]] for frame in frames]
    np.testing.assert_allclose(features(relabelled), expected, atol=1e-12)
    # Atoms that are not equivalent may not change places.
    assert np.abs(features([frame[[0, 1, 3, 2, 4, 5]] for frame in frames]) - expected).max() > 0.1


def test_clusters_radii_and_the_unexplored() -> None:
    """Three groups on a line in feature space: everything follows by hand."""
    points = np.array([[0.0, 0], [0.2, 0], [5, 0], [5.4, 0], [9, 0.1], [9, -0.1]])
    found = Conformations.of(points, 3, seed=1)
    np.testing.assert_allclose(np.abs(found.centres[:, 0] - 4.7), [4.6, 0.5, 4.3], atol=1e-9)
    cluster, distance = found.nearest(points)
    assert len({tuple(cluster[k : k + 2]) for k in (0, 2, 4)}) == 3 and (cluster[::2] == cluster[1::2]).all()
    np.testing.assert_allclose(distance, [0.1, 0.1, 0.2, 0.2, 0.1, 0.1], atol=1e-9)
    radii = found.radii(points)
    np.testing.assert_allclose(radii[cluster[::2]], [0.1, 0.2, 0.1], atol=1e-9)
    new = np.array([[0.15, 0.0], [0.1, 0.2], [5.0, 0.05], [20.0, 0.0]])
    assert found.unexplored(new, radii).tolist() == [False, True, True, True]
    few = found.radii(points[:2])
    assert sorted(few.tolist())[:2] == [-1, -1] and found.unexplored(points[2:], few).all()
    assert found.explained[0] > 0.99 and found.map(points).shape == (6, 2)
    # Distances along the line are kept on the map.
    np.testing.assert_allclose(np.ptp(found.map(points)[:, 0]), 9, atol=0.01)


def test_conformations_are_written_and_too_few_refused(tmp_path: Path) -> None:
    features = Features(METHANOL.numbers.tolist(), BONDS)(displaced(20, 3))
    found = Conformations.of(features, 4, seed=9)
    found.write(tmp_path / "c.npz")
    back = Conformations.read(tmp_path / "c.npz")
    np.testing.assert_array_equal(back.nearest(features)[0], found.nearest(features)[0])
    np.testing.assert_array_equal(Conformations.of(features, 4, seed=9).centres, found.centres)
    with pytest.raises(PhysEmbedError, match=r"conformations: 1 different frames for metrics\.clusters 4"):
        Conformations.of(features[[0] * 9], 4, seed=1)


class Spring:
    """Stands in for a model: a force of 1 eV/Å along x on each atom."""

    device, dtype = "cpu", None


@pytest.fixture
def spring(monkeypatch: pytest.MonkeyPatch) -> Spring:
    def predict(model: Spring, frames: list[Atoms]) -> tuple[np.ndarray, list[np.ndarray]]:
        return np.zeros(len(frames)), [np.tile([1.0, 0, 0], (len(frame), 1)) for frame in frames]

    monkeypatch.setattr("physembed.analysis.explored.predict", predict)
    return Spring()


def test_shares_of_runs_that_leave(spring: Spring) -> None:
    features, train = Features(METHANOL.numbers.tolist(), BONDS), displaced(30, 1, 0.03)
    conformations = Conformations.of(features(train), 3, seed=1)
    stretched = [Atoms(f.numbers, f.positions * 1.5) for f in train[:10]]
    row, places = explored(conformations, features, train, [*train, *stretched], spring)
    assert (row["frames"], row["unexplored_share"]) == (40, 0.25)
    assert row["mean_force_inside_eV_A"] == row["mean_force_outside_eV_A"] == 1.0
    assert places.groupby("kind")["unexplored"].sum().to_dict() == {"run": 10, "train": 0}
    row, places = explored(conformations, features, [], train, spring)
    assert np.isnan(row["unexplored_share"]) and np.isnan(row["mean_force_inside_eV_A"])
    assert set(places["kind"]) == {"run"}


def test_errors_before_a_collapse(spring: Spring) -> None:
    frames = displaced(3, 1, 0.03)
    frames.append(frames[0].copy())
    frames[-1].positions[5] = frames[-1].positions[4]  # xTB refuses atoms that coincide
    for number, frame in enumerate(frames):
        frame.info["time_fs"] = 10.0 * number
    table = before_collapse(frames, spring, Labels(), 0, None)
    assert set(table.columns) == set(COLUMNS) - {"seed", "replica", "types"}
    assert table["time_before_fs"].tolist() == [30, 20, 10, 0]
    assert table["label"].tolist() == ["ok", "ok", "ok", "refused"]
    errors = 1000 * np.abs(np.tile([1.0, 0, 0], (6, 1)) - calculate(frames[1], Labels()).forces_eV_A)
    assert table["force_mae_meV_A"][1] == pytest.approx(errors.mean(), rel=1e-6)
    assert table["force_max_error_meV_A"][1] == pytest.approx(errors.max(), rel=1e-6)
    assert table.iloc[3][["force_mae_meV_A", "largest_force_eV_A"]].isna().all()
    hard = Labels(max_iterations=2, retry_electronic_temperatures_K=[])
    assert before_collapse(frames[:1], spring, hard, 0, None)["label"].tolist() == ["not_converged"]


DATA = Path(__file__).parents[3] / "shared/data/carbonate_clusters_gfn2"


@pytest.mark.skipif(not DATA.is_dir(), reason="needs data that are not part of the project")
def test_an_independent_data_set() -> None:
    """Metrics of real forces against plain NumPy."""
    frames = ase.io.read(DATA / "solvent_xtb_train_200.xyz", ":")
    common, _ = Counter(str(frame.symbols) for frame in frames if len(frame) > 1).most_common(1)[0]
    frames = [frame for frame in frames if str(frame.symbols) == common]
    assert len(frames) > 3
    reference = np.array([frame.arrays["forces_xtb"] for frame in frames])
    model = reference + np.random.default_rng(1).normal(0, 0.1, reference.shape)
    table = metric_table(
        force_table(reference, model, frames[0].get_chemical_symbols()), pd.Series(np.zeros(len(frames), int))
    )
    errors = 1000 * np.abs(model - reference)
    assert table["mae_meV_A"][0] == pytest.approx(errors.mean())
    assert table["max_error_meV_A"][0] == pytest.approx(errors.max(axis=(1, 2)).mean())
    per_mass = errors / frames[0].get_masses()[:, None]
    assert table["mass_mae_meV_A"][0] == pytest.approx(per_mass.mean())
    assert table["mass_max_error_meV_A"][0] == pytest.approx(per_mass.max(axis=(1, 2)).mean())
