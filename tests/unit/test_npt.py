"""NPT runs: records, kills and restarts, extensions, additions, and failures."""

import numpy as np
import pytest
import torch
from ase import Atoms, units

from physembed.collapse.broken_bonds import TOLERANCE_A, BondWatch
from physembed.config import Stability
from physembed.config.liquids import NPT
from physembed.engine.liquid_batch import LiquidBatch
from physembed.errors import PhysEmbedError
from physembed.md import clock
from physembed.md.clock import Clock
from physembed.md.npt import NPTPoint, NPTRuns
from physembed.units import G_CM3
from tests.unit.fluids import MASS, SIGMA, IdealGas, LennardJones, argon

N_ATOMS = 32
BONDS = [(i, i + 1) for i in range(0, N_ATOMS, 2)]


class Counting(LennardJones):
    """Argon with CSO outputs, which counts the systems it is asked for; can be poisoned, or made to die."""

    asked = 0

    def __init__(self, points=(), **poison):
        super().__init__(cutoff=1.5, tail=False, dtype=torch.float64)
        self.points, self.poison, self.calls = points, poison, 0

    def forward(self, state, **_):
        assert torch.isfinite(state.positions).all()
        assert torch.isfinite(state.cell).all()
        assert not self.points or state.n_systems == len(self.points)
        Counting.asked += state.n_systems
        self.calls += 1
        output = super().forward(state)
        alphas = torch.tensor([point.alpha for point in self.points or [None] * 0], dtype=self.dtype)
        if len(alphas):
            output["base_energy"] = output["energy"].clone()
            output["cso_S0"] = torch.full_like(output["energy"], 2.0)
            output["cso_S1"] = torch.linalg.det(state.cell)
            output["energy"] = output["energy"] - alphas * output["cso_S0"]
        return output


def box(seed=0, density=0.7):
    return argon(2, density, rattle=0.03, seed=seed)


def point(label, alpha=0.0, temperature_K=100.0, pressure_bar=300.0):
    return NPTPoint(label, alpha, 0.5, temperature_K, pressure_bar)


def settings(**changes):
    given = {"duration_ps": 1.0, "window_ps": 0.1, "timestep_fs": 2.5, "record_interval_fs": 25.0}
    given |= {"frame_interval_ps": 0.1, "barostat_ps": 0.25, "thermostat_ps": 0.2, "compressibility_per_bar": 1e-4}
    return NPT(**(given | changes))


def made(folder, labels=("a", "b"), model=Counting, bonds=None, alphas=None, clock=None, precise=None, **changes):
    points = [point(label, alpha=0.1 * i if alphas is None else alphas[i]) for i, label in enumerate(labels)]
    starts = [box(seed=ord(label)) for label in labels]
    given = {"seed": 3, "restart": folder, "bonds": bonds, "clock": clock, "precise": precise}
    return NPTRuns(model, points, starts, settings(**changes), **given)


def finished(*args, **kwargs):
    runs = made(*args, **kwargs)
    runs.run()
    return runs


def of_run(runs, label):
    series = runs.series()
    return series[series.run == label].reset_index(drop=True)


def same(first, second):
    for a, b in ((first.series(), second.series()), (first.runs(), second.runs())):
        assert a.equals(b)
    for p in first.points:
        pairs = list(zip(first.trajectory(p.label), second.trajectory(p.label), strict=True))
        assert pairs
        assert all(np.array_equal(a.positions, b.positions) and np.array_equal(a.cell, b.cell) for a, b in pairs)


def batch(ensemble, starts=None, model=None, seed=5):
    starts = [box(seed=1), box(seed=2, density=0.8), box(seed=3)] if starts is None else starts
    return LiquidBatch(
        LennardJones(cutoff=1.5, tail=False, dtype=torch.float32) if model is None else model, starts,
        temperatures_K=[100.0, 120.0, 90.0][: len(starts)], pressures_bar=[300.0, 100.0, 500.0][: len(starts)],
        ensemble=ensemble, timestep_fs=5.0, thermostat_ps=0.2, barostat_ps=0.5, compressibility_per_bar=1e-4, seed=seed,
    )  # fmt: skip


ENSEMBLES = ["npt-crescale", "npt-langevin", "nvt", "nve"]
PROPERTIES = (
    "positions", "momenta", "cells", "volumes", "densities_g_cm3", "energies", "base_energies", "cso_S0", "cso_S1",
    "temperatures", "pressure_tensors",
)  # fmt: skip


def assert_equal(found, expected, name):
    """To the last bit; what is not evaluated is NaN in both."""
    torch.testing.assert_close(found, expected, rtol=0, atol=0, equal_nan=True, msg=name)


@pytest.mark.parametrize("ensemble", ENSEMBLES)
def test_a_batch_in_two_pieces_equals_one_in_one_bit_for_bit(ensemble, tmp_path):
    whole = batch(ensemble)
    whole.advance(40)
    first = batch(ensemble)
    first.advance(17)
    torch.save(first.save(), tmp_path / "state.pt")
    second = batch(ensemble, seed=99)
    second.advance(2)
    second.load(torch.load(tmp_path / "state.pt"))
    for name in PROPERTIES:
        assert_equal(getattr(first, name), getattr(second, name), name)
    second.advance(23)
    for name in PROPERTIES:
        assert_equal(getattr(whole, name), getattr(second, name), name)
    # It moved at all, and in volume where it may.
    assert (whole.positions - batch(ensemble).positions).abs().max() > 0.1
    assert bool((whole.volumes != batch(ensemble).volumes).all()) == ensemble.startswith("npt")


def test_a_batch_says_what_it_holds():
    starts = [box(seed=1), box(seed=2, density=0.8)]
    held = batch("nve", starts)
    for row, start in enumerate(starts):
        assert float(held.volumes[row]) == pytest.approx(start.cell.volume, rel=1e-6)
        assert float(held.densities_g_cm3[row]) == pytest.approx(N_ATOMS * MASS / start.cell.volume / G_CM3, rel=1e-6)
        np.testing.assert_allclose(held.positions[row], start.positions, atol=1e-5)
        np.testing.assert_allclose(held.cells[row], start.cell.array, atol=1e-5)
        moving = Atoms(start.numbers, start.positions, momenta=held.momenta[row].double(), masses=start.get_masses())
        assert np.abs(moving.get_momenta().sum(axis=0)).max() < 1e-3
        # (K_full + 2 K_half) / 3, with the half steps before and after.
        forces = held.state.forces.view(len(starts), N_ATOMS, 3)[row].double().numpy()
        energies = []
        for time, weight in ((0, 1 / 3), (-2.5 * units.fs, 1 / 3), (2.5 * units.fs, 1 / 3)):
            moving.set_momenta(held.momenta[row].double().numpy() + time * forces)
            energies.append(weight * moving.get_kinetic_energy())
        kelvin = 2 * sum(energies) / ((3 * N_ATOMS - 3) * units.kB)
        assert float(held.temperatures[row]) == pytest.approx(kelvin, rel=1e-5)
    # A triclinic cell keeps its vectors as rows.
    skew = box()
    skew.set_cell(skew.cell.array @ np.array([[1, 0, 0], [0.2, 1, 0], [0.1, 0.05, 1]]))
    np.testing.assert_allclose(batch("nve", [skew], IdealGas()).cells[0], skew.cell.array, atol=1e-12)


def test_a_start_with_momenta_goes_on_with_them():
    start, rng = box(seed=4), np.random.default_rng(0)
    momenta = 0.05 * rng.normal(size=(N_ATOMS, 3))  # some 15 K
    start.set_momenta(momenta - momenta.mean(axis=0))
    still = box(seed=4)
    held = batch("nve", [still, start], IdealGas())
    np.testing.assert_allclose(held.momenta[1], start.get_momenta(), atol=1e-12)
    held.advance(10)
    moved = start.positions + 10 * 5 * units.fs * start.get_momenta() / MASS
    np.testing.assert_allclose(held.positions[1], moved, atol=1e-9)


def test_systems_that_leave_do_not_change_the_others():
    # NVE has no noise, so a system continues as it would alone.
    together = batch("nve", [box(seed=1), box(seed=2), box(seed=3)])
    together.advance(10)
    alone = together.positions[2].clone(), together.momenta[2].clone()
    together.keep(torch.tensor([False, False, True]), together._watched.model)
    together.advance(10)
    start = box(seed=3)
    start.positions, start.cell = alone[0].double().numpy(), together.cells[0].double().numpy()
    start.set_momenta(alone[1].double().numpy())
    single = batch("nve", [start])
    single.advance(10)
    np.testing.assert_allclose(single.positions[0], together.positions[0], atol=1e-4)
    assert together.n_systems == 1


@pytest.mark.parametrize("barostat", ["crescale", "langevin"])
def test_series_hold_every_record_with_its_columns(barostat, tmp_path):
    runs = finished(tmp_path, barostat=barostat)
    series = runs.series()
    expected = [
        "run", "alpha", "a1", "time_ps", "volume_A3", "density_g_cm3", "potential_energy_eV", "cso_S0_eV", "cso_S1_eV",
        "temperature_K", "pressure_bar",
    ]  # fmt: skip
    assert list(series.columns) == expected
    for index, label in enumerate("ab"):
        rows = series[series.run == label]
        np.testing.assert_allclose(rows.time_ps, np.arange(41) * 0.025, atol=1e-12)
        np.testing.assert_allclose(rows.density_g_cm3, N_ATOMS * MASS / rows.volume_A3 / G_CM3)
        assert (rows.alpha == 0.1 * index).all()
        assert (rows.a1 == 0.5).all()
        assert (rows.cso_S0_eV == 2).all()
        np.testing.assert_allclose(rows.cso_S1_eV, rows.volume_A3)
    # The energy is that without the correction: it is the model's at the frame's own geometry.
    frames = runs.trajectory("b")
    assert [frame.info["time_ps"] for frame in frames] == pytest.approx(np.arange(11) * 0.1)
    state = LiquidBatch(
        LennardJones(cutoff=1.5, tail=False, dtype=torch.float64), frames, temperatures_K=[100.0] * 11,
        ensemble="nve", timestep_fs=1.0, thermostat_ps=1.0, seed=0,
    )  # fmt: skip
    rows = series[series.run == "b"].iloc[::4]
    np.testing.assert_allclose(state.energies, rows.potential_energy_eV, atol=1e-4)
    np.testing.assert_allclose(state.volumes, rows.volume_A3, rtol=1e-12)
    # Atoms are where they drifted to, not wrapped; some left the box by half of its edge over 1 ps or none did.
    assert np.abs(frames[-1].positions - frames[0].positions).max() < 0.9 * frames[0].cell[0, 0]

    table = runs.runs()
    assert list(table.columns) == ["run", "alpha", "a1", "status", "reason", "length_ps"]
    assert (table.status == "ok").all()
    assert (table.length_ps == 1).all()


class Killed(Exception):
    """Stands for a kill of the process."""


def killed_at(step):
    """A model that dies at its so manieth call."""

    class Dying(Counting):
        def forward(self, state, **_):
            if self.calls == step:
                raise Killed
            return super().forward(state)

    return Dying


@pytest.mark.parametrize("barostat", ["crescale", "langevin"])
def test_a_killed_batch_goes_on_bit_for_bit(barostat, tmp_path, monkeypatch):
    monkeypatch.setattr(clock, "SAVE_EVERY_SECONDS", -1.0)
    with pytest.raises(Killed):
        finished(tmp_path / "killed", model=killed_at(155), barostat=barostat)
    assert len(made(tmp_path / "killed", barostat=barostat).series()) == 2 * 16
    resumed = finished(tmp_path / "killed", barostat=barostat)
    same(resumed, finished(tmp_path / "whole", barostat=barostat))
    assert not (tmp_path / "killed" / "npt_batch.pt").exists()


def test_the_time_limit_ends_a_batch_that_goes_on_later(tmp_path):
    limited = made(tmp_path / "limited", clock=Clock(1e-9))
    for _ in range(3):
        with pytest.raises(PhysEmbedError, match="run again to resume") as failure:
            limited.run()
        assert "\n" not in str(failure.value)
    assert limited.series().time_ps.max() == pytest.approx(0.075)
    same(finished(tmp_path / "limited"), finished(tmp_path / "whole"))


def test_a_further_point_reruns_nothing_else(tmp_path):
    first = finished(tmp_path)
    Counting.asked = 0
    again = finished(tmp_path)
    assert Counting.asked == 0
    same(first, again)
    more = finished(tmp_path, labels=("c", "a", "b"), alphas=(0.3, 0.0, 0.1))
    # One evaluation of the start and 400 steps of one system.
    assert Counting.asked == 401
    for label in "ab":
        assert of_run(first, label).equals(of_run(more, label))
    assert len(of_run(more, "c")) == 41


def test_a_run_changed_in_what_it_depends_on_is_run_anew(tmp_path):
    finished(tmp_path)
    for changes in ({"thermostat_ps": 0.3}, {"barostat": "langevin"}, {"alphas": (0.0, 0.2)}, {"labels": ("a", "x")}):
        changed = made(tmp_path, **changes)
        lengths = [len(run.rows) for run in changed._runs]
        assert lengths in ([0, 0], [41, 0]), changes


def test_a_longer_duration_goes_on_and_a_shorter_one_is_a_part(tmp_path):
    short = finished(tmp_path)
    Counting.asked = 0
    longer = finished(tmp_path, duration_ps=1.5)
    assert Counting.asked == 2 * 201
    series = longer.series()
    assert len(series) == 2 * 61
    np.testing.assert_allclose(series[series.run == "a"].time_ps, np.arange(61) * 0.025, atol=1e-12)
    assert series[series.time_ps < 1.01].reset_index(drop=True).equals(short.series())
    # No jump where the runs were joined: 10 steps change the volume by a few per cent at most.
    jumps = series[series.run == "a"].volume_A3.pct_change().abs()
    assert jumps.iloc[41] < 3 * jumps.iloc[30:].drop(jumps.index[41]).max()
    same(finished(tmp_path), short)


UNTIL = {"duration_ps": 0.5, "longest_ps": 1.0, "standard_error_g_cm3": 0.01}
"""With records every 0.025 ps: checks at 0.475, 0.5, 0.575, 0.65, 0.725, 0.8 and 0.9 ps."""


def known_from(folder, a, b):
    """A rule by which the density of run a is known from this time in ps on, and of run b from that."""
    series = made(folder).series() if (folder / "npt_batch.pt").exists() else finished(folder / "fixed").series()
    first = {label: series[series.run == label].volume_A3.iloc[1] for label in "ab"}
    assert first["a"] != first["b"]

    def precise(times_ps, volumes_A3, mass_u):
        assert mass_u == pytest.approx(N_ATOMS * MASS)
        (label,) = (label for label, volume in first.items() if volumes_A3[1] == volume)
        return times_ps[-1] >= {"a": a, "b": b}[label]

    return precise


def lengths(runs):
    assert (runs.series().groupby("run").time_ps.max().to_numpy() == runs.runs().length_ps).all()
    assert all(runs.trajectory(label)[-1].info["time_ps"] <= runs.runs().length_ps.max() for label in "ab")
    assert runs.done == runs.total == pytest.approx(runs.runs().length_ps.sum())
    return runs.runs().length_ps.tolist()


def test_each_run_goes_on_until_it_is_known_and_no_longer(tmp_path):
    precise = known_from(tmp_path, 0.6, 0.75)
    until = finished(tmp_path, precise=precise, **UNTIL)
    assert lengths(until) == [0.725, 0.9]
    assert made(tmp_path / "other", precise=precise, **UNTIL).total == 2.0
    for label in "ab":  # b goes on alone, so with other noise, once a has ended
        fixed = of_run(made(tmp_path / "fixed"), label).head(30)
        assert of_run(until, label).head(30).equals(fixed)
    assert not made(tmp_path, precise=precise, **UNTIL)._alive


def test_a_run_that_is_never_known_ends_at_the_longest_and_says_so(tmp_path, caplog):
    assert lengths(finished(tmp_path, precise=known_from(tmp_path, 0.6, 5.0), **UNTIL)) == [0.725, 1.0]
    (warning,) = (record.getMessage() for record in caplog.records if "longest_ps" in record.getMessage())
    assert warning.startswith("npt: run b ended at npt.longest_ps")


def test_a_killed_run_ends_where_it_would_have_ended(tmp_path, monkeypatch):
    class Dying(Counting):
        limit = 0

        def forward(self, state, **_):
            if Counting.asked >= self.limit:
                raise Killed
            return super().forward(state)

    precise = known_from(tmp_path, 0.6, 0.75)
    monkeypatch.setattr(clock, "SAVE_EVERY_SECONDS", -1.0)
    for folder, calls in (("before", 2 * 225), ("after", 2 * 291 + 40)):
        Dying.limit = Counting.asked + calls
        with pytest.raises(Killed):
            finished(tmp_path / folder, model=Dying, precise=precise, **UNTIL)
        killed = made(tmp_path / folder, precise=precise, **UNTIL)
        assert killed.finished == (folder == "after")
        resumed = finished(tmp_path / folder, precise=precise, **UNTIL)
        same(resumed, finished(tmp_path / "whole", precise=precise, **UNTIL))


def test_what_is_asked_of_the_length_can_be_changed(tmp_path):
    early, late = known_from(tmp_path, 0.0, 0.6), known_from(tmp_path, 0.6, 0.75)
    first = finished(tmp_path, precise=early, **UNTIL)
    assert lengths(first) == [0.5, 0.725]
    Counting.asked = 0
    assert lengths(finished(tmp_path, precise=late, **UNTIL)) == [0.725, 0.9]
    assert Counting.asked == 90 + 1 + 70 + 1, "each goes on from its end"
    Counting.asked = 0
    same(finished(tmp_path, precise=early, **UNTIL), first)
    assert lengths(finished(tmp_path, duration_ps=0.5)) == [0.5, 0.5]
    assert Counting.asked == 0


def test_a_longest_run_without_a_rule_is_refused(tmp_path):
    with pytest.raises(PhysEmbedError, match="longest_ps is given"):
        made(tmp_path, **UNTIL)


def test_other_points_do_not_cost_a_killed_batch_its_progress(tmp_path, monkeypatch):
    monkeypatch.setattr(clock, "SAVE_EVERY_SECONDS", -1.0)
    with pytest.raises(Killed):
        finished(tmp_path, model=killed_at(155))
    killed = made(tmp_path)
    finished(tmp_path, labels=("a", "c"), alphas=(0.0, 0.7))
    Counting.asked = 0
    finished(tmp_path)
    assert Counting.asked == 401 - 150
    for label in "ab":
        rows = of_run(made(tmp_path), label)
        assert len(rows) == 41
        assert rows.iloc[:16].equals(of_run(killed, label))


def poisoned(output, from_call=100, value=float("nan")):
    """A model that gives one system a value that is none, from some call on, while three are there."""

    class Poisoned(Counting):
        def forward(self, state, **_):
            result = super().forward(state)
            if state.n_systems == 3 and self.calls >= from_call:
                poisoned = result[output].clone()
                rows = len(poisoned) // 3
                poisoned[rows : 2 * rows] = value
                result[output] = poisoned
            return result

    return Poisoned


@pytest.mark.parametrize("output", ["energy", "forces", "stress"])
def test_a_poisoned_run_leaves_and_the_others_go_on(output, tmp_path):
    runs = finished(tmp_path, labels=("a", "b", "c"), model=poisoned(output))
    table = runs.runs().set_index("run")
    assert table.status.to_dict() == {"a": "ok", "b": "blown_up", "c": "ok"}
    assert table.reason["b"] == f"{output} is not finite, at 0.25 ps"
    assert table.length_ps.to_dict() == pytest.approx({"a": 1.0, "b": 0.225, "c": 1.0})
    series = runs.series()
    assert np.isfinite(series.drop(columns="run")).all(axis=None)
    assert series.groupby("run").size().to_dict() == {"a": 41, "b": 10, "c": 41}
    frames = runs.trajectory("b")
    assert [frame.info["time_ps"] for frame in frames] == pytest.approx([0.0, 0.1, 0.2, 0.225])
    rows = series[series.run == "b"]
    assert frames[-1].cell.volume == pytest.approx(rows.volume_A3.iloc[-1])
    # A failed run is not repeated, and is complete for a shorter duration.
    Counting.asked = 0
    again = finished(tmp_path, labels=("a", "b", "c"))
    assert Counting.asked == 0
    same(again, runs)
    assert (finished(tmp_path, labels=("a", "b", "c"), duration_ps=0.2).runs().status == "ok").all()


def test_a_run_lost_at_the_start_is_a_result(tmp_path):
    runs = finished(tmp_path, labels=("a", "b", "c"), model=poisoned("energy", from_call=0))
    table = runs.runs().set_index("run")
    assert table.reason["b"] == "energy is not finite, at 0 ps"
    assert table.length_ps.to_dict() == pytest.approx({"a": 1.0, "b": 0.0, "c": 1.0})
    assert runs.trajectory("b") == []


def test_a_hot_or_a_collapsing_run_blows_up(tmp_path):
    hot, dense = box(seed=1), box(seed=2)
    momenta = np.random.default_rng(0).normal(size=(N_ATOMS, 3)) * np.sqrt(MASS * 1500 * units.kB)
    hot.set_momenta(momenta - momenta.mean(axis=0))
    points = [point("hot"), point("dense", pressure_bar=5e6), point("fine")]
    runs = NPTRuns(Counting, points, [hot, dense, box(seed=3)], settings(), seed=1, restart=tmp_path)
    runs.run()
    table = runs.runs().set_index("run")
    assert table.status.to_dict() == {"hot": "blown_up", "dense": "blown_up", "fine": "ok"}
    assert "temperature" in table.reason["hot"]
    assert "times the thermostat's" in table.reason["hot"]
    assert table.reason["dense"].startswith(("volume", "temperature"))


def test_an_evaporating_run_is_recorded_as_such(tmp_path):
    points = [point("gas", temperature_K=400, pressure_bar=1.0), point("liquid")]
    runs = NPTRuns(Counting, points, [box(seed=1), box(seed=2)], settings(barostat_ps=0.02), seed=1, restart=tmp_path)
    runs.run()
    table = runs.runs().set_index("run")
    assert table.status.to_dict() == {"gas": "evaporated", "liquid": "ok"}
    rows = of_run(runs, "gas")
    assert rows.density_g_cm3.min() > 0.5 * rows.density_g_cm3.iloc[0]
    assert table.length_ps["gas"] == pytest.approx(rows.time_ps.max())
    assert runs.trajectory("gas")[-1].info["time_ps"] == pytest.approx(rows.time_ps.max())


def test_the_rule_for_broken_bonds_is_that_of_isolated_molecules():
    assert Stability().bond_tolerance_A == TOLERANCE_A
    start = Atoms("CHCHCH", [[0, 0, 0], [1.1, 0, 0], [0, 4, 0], [1.1, 4, 0], [0, 8, 0], [1.1, 8, 0]], cell=[20] * 3)
    watch = BondWatch([(0, 1), (2, 3), (4, 5)], [start] * 5)
    positions = torch.tensor(start.positions).repeat(5, 1, 1)
    for row, shift in enumerate((0.49, 0.51, -0.49, -0.51, float("nan"))):
        positions[row, 3, 0] += shift
    assert watch.broken(positions, range(5)) == [
        "", "bond 2-3 is 1.61 Å long, 1.10 Å at the start", "", "bond 2-3 is 0.59 Å long, 1.10 Å at the start",
        "bond 2-3 is nan Å long, 1.10 Å at the start",
    ]  # fmt: skip


def test_broken_bonds_end_a_run(tmp_path):
    # Argon atoms are no molecules: sooner or later two neighbours part.
    runs = finished(tmp_path / "broken", bonds=BONDS, duration_ps=15.0)
    table = runs.runs()
    assert (table.status == "blown_up").all()
    assert table.reason.str.match(r"bond \d+-\d+ is [\d.]+ Å long, [\d.]+ Å at the start, at [\d.]+ ps").all()
    for label in "ab":
        first, last = (runs.trajectory(label)[frame] for frame in (0, -1))
        for i, j in BONDS:
            assert last.get_distance(i, j) < first.get_distance(i, j) + 0.5
    # The same runs without the check for broken bonds survive, and are not confused with them.
    assert (finished(tmp_path / "broken").runs().status == "ok").all()


def test_what_does_not_fit_is_refused_in_one_line(tmp_path):
    cut = box()
    cut.positions[1] += cut.cell[0]
    cases = {
        "2 runs are called 'a'": lambda: made(tmp_path, labels=("a", "a")),
        "give one start for each run": lambda: NPTRuns(Counting, [], [], settings(), seed=1, restart=tmp_path),
        "make the molecules whole": lambda: NPTRuns(
            Counting, [point("a")], [cut], settings(), seed=1, restart=tmp_path, bonds=BONDS
        ),
        "do not fit 32 atoms": lambda: made(tmp_path, bonds=[(0, 32)]),
        "in another order": lambda: NPTRuns(
            Counting, [point("a"), point("b")], [box(), box()[:31]], settings(), seed=1, restart=tmp_path
        ).run(),
        "has no cell": lambda: batch("nve", [Atoms("Ar", positions=[[0, 0, 0]])]),
        "temperature_K of system 0 is -5": lambda: LiquidBatch(
            IdealGas(), [box()], temperatures_K=[-5.0], ensemble="nvt", timestep_fs=1, thermostat_ps=1, seed=1
        ),
        "3 pressures": lambda: LiquidBatch(
            IdealGas(), [box()], temperatures_K=[5.0], pressures_bar=[1.0] * 3, ensemble="nvt", timestep_fs=1,
            thermostat_ps=1, seed=1,
        ),
    }  # fmt: skip
    for words, call in cases.items():
        with pytest.raises(PhysEmbedError) as failure:
            call()
        assert words in str(failure.value)
        assert "\n" not in str(failure.value)


def test_sigma_is_the_length_that_boxes_are_made_with():
    assert box(density=0.7).cell.volume == pytest.approx(N_ATOMS / 0.7 * SIGMA**3)
