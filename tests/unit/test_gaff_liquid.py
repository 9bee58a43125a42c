"""GAFF runs of periodic boxes: the ensemble against theory, exact restarts, whole molecules, bad boxes."""

from __future__ import annotations

from pathlib import Path

import ase.io
import numpy as np
import openmm
import parmed
import pytest
from ase import Atoms, units

from physembed.config import GaffNPT
from physembed.errors import PhysEmbedError
from physembed.liquids import gaff_liquid
from physembed.liquids.box import mass_u, pack
from physembed.liquids.composition import cube_length_A
from physembed.liquids.gaff_liquid import GaffLiquidRun, constant_volume_frames
from physembed.molecules.structure import from_smiles, write_sdf
from physembed.molecules.topology import gaff_topology
from physembed.trajectory import write_trajectory
from physembed.units import G_CM3

DMC, ATOMS = "COC(=O)OC", 12
COLUMNS = ["time_ps", "density_g_cm3", "volume_A3", "temperature_K", "potential_energy_eV"]
SHORT = GaffNPT(duration_ps=1.0, record_interval_ps=0.1, cutoff_A=6.0)


def molecule(folder: Path, smiles: str) -> parmed.Structure:
    write_sdf(folder / "molecule.sdf", from_smiles(smiles, seed=1), "molecule")
    return gaff_topology(folder / "molecule.sdf", parameter_set="gaff", charges="bcc")


@pytest.fixture(scope="module")
def dmc(tmp_path_factory: pytest.TempPathFactory) -> parmed.Structure:
    return molecule(tmp_path_factory.mktemp("dmc"), DMC)


@pytest.fixture(scope="module")
def box(dmc: parmed.Structure) -> parmed.Structure:
    return pack([dmc], [20], 0.9, seed=1)


def run(box: parmed.Structure, restart: Path, settings: GaffNPT = SHORT, *, temperature_K: float = 300.0,
        pressure_bar: float = 1.0, seed: int = 1) -> GaffLiquidRun:  # fmt: skip
    return GaffLiquidRun(box, settings, temperature_K, pressure_bar, seed, restart)


def check_molecules(frame: Atoms, box: parmed.Structure) -> None:
    """Molecules are whole without minimum image, numbered, centred in the box, and separated."""
    bonds = np.array([(bond.atom1.idx, bond.atom2.idx) for bond in box.bonds])
    lengths = np.linalg.norm(frame.positions[bonds[:, 0]] - frame.positions[bonds[:, 1]], axis=1)
    assert lengths.min() > 0.8
    assert lengths.max() < 2.0
    assert frame.pbc.all()
    molecules = frame.arrays["molecule"]
    assert np.array_equal(molecules, np.repeat(np.arange(len(frame) // ATOMS), ATOMS))
    centres = frame.positions.reshape(-1, ATOMS, 3).mean(axis=1)
    assert (frame.cell.scaled_positions(centres) > -1e-5).all()
    assert (frame.cell.scaled_positions(centres) < 1 + 1e-5).all()
    between = frame.get_all_distances(mic=True)[molecules[:, None] != molecules]
    assert between.min() > 1.5
    assert frame.get_masses().sum() / frame.get_volume() / G_CM3 == pytest.approx(frame.info["density_g_cm3"])


def test_run_at_constant_pressure(box: parmed.Structure, tmp_path: Path) -> None:
    gaff = run(box, tmp_path)
    frames = gaff.run()
    assert [frame.info["time_ps"] for frame in frames] == pytest.approx(np.arange(1, 11) / 10)
    for frame in frames:
        check_molecules(frame, box)
    assert len({frame.get_volume() for frame in frames}) > 3
    series = gaff.series()
    assert list(series.columns) == COLUMNS
    assert series.volume_A3.to_numpy() == pytest.approx([frame.get_volume() for frame in frames])
    assert (series.density_g_cm3 * series.volume_A3).to_numpy() == pytest.approx(mass_u(box) / G_CM3)
    write_trajectory(tmp_path / "trajectory.xyz", frames)
    read = ase.io.read(tmp_path / "trajectory.xyz", index=-1)
    check_molecules(read, box)
    assert read.info["time_ps"] == pytest.approx(1.0)


def test_seed_fixes_the_run(box: parmed.Structure, tmp_path: Path) -> None:
    settings = GaffNPT(duration_ps=0.1, record_interval_ps=0.05, cutoff_A=6.0)
    first, again, other = (
        run(box, tmp_path / name, settings, seed=seed).run() for name, seed in (("a", 1), ("b", 1), ("c", 2))
    )
    assert np.array_equal(first[-1].positions, again[-1].positions)
    assert np.abs(first[-1].positions - other[-1].positions).max() > 0.05


class Killed(BaseException):
    pass


def test_killed_run_goes_on_from_its_last_checkpoint(box, tmp_path, monkeypatch) -> None:
    """Killed after seven frames of which five were saved: the five are kept, and no time occurs twice."""
    first = run(box, tmp_path)
    frame_of_box, save = first._box.frame, first._save

    def frame(time_ps: float) -> Atoms:
        if time_ps > 0.75:
            raise Killed
        return frame_of_box(time_ps)

    monkeypatch.setattr(gaff_liquid, "SAVE_INTERVAL_S", 0.0)
    monkeypatch.setattr(first._box, "frame", frame)
    monkeypatch.setattr(first, "_save", lambda: save() if len(first.frames) == 5 else None)
    with pytest.raises(Killed):
        first.run()
    assert len(first.frames) == 7
    second = run(box, tmp_path)
    assert len(second.frames) == 5
    # The state is that of the last frame: it has the same energy and temperature.
    state = second._box.frame(0.5)
    for key in ("density_g_cm3", "temperature_K", "potential_energy_eV"):
        assert state.info[key] == pytest.approx(first.frames[4].info[key], rel=1e-3), key
    frames = second.run()
    assert second.series().time_ps.to_numpy() == pytest.approx(np.arange(1, 11) / 10)
    for old, new in zip(first.frames[:5], frames, strict=False):
        assert np.array_equal(old.positions, new.positions)
        assert np.array_equal(old.arrays["molecule"], new.arrays["molecule"])
        assert old.info == new.info
        assert np.array_equal(old.cell, new.cell)
    # Frames after the checkpoint are recomputed, not with the random numbers of the start.
    assert not np.array_equal(first.frames[5].positions, frames[5].positions)
    # A run that is complete is not run again.
    third = run(box, tmp_path)
    monkeypatch.setattr(third._box, "step", lambda count: pytest.fail("ran again"))
    assert len(third.run()) == 10


def test_run_saves_at_intervals_of_wall_time(box: parmed.Structure, tmp_path: Path, monkeypatch) -> None:
    saved = []
    for interval in (0.0, 1e6):
        monkeypatch.setattr(gaff_liquid, "SAVE_INTERVAL_S", interval)
        settings = GaffNPT(duration_ps=0.05, record_interval_ps=0.01, cutoff_A=6.0)
        gaff = run(box, tmp_path / str(interval), settings)
        save, counts = gaff._save, []
        monkeypatch.setattr(
            gaff, "_save", lambda save=save, counts=counts, gaff=gaff: counts.append(len(gaff.frames)) or save()
        )
        gaff.run()
        saved.append(counts)
    assert saved == [[1, 2, 3, 4, 5], [5]]


@pytest.mark.long
def test_pressure_makes_the_box_denser(box: parmed.Structure, tmp_path: Path) -> None:
    """Carbonates have a compressibility of about 8e-5/bar; 5000 bar shows within 3 ps, 1 bar moves the box little."""
    settings = GaffNPT(duration_ps=3.0, record_interval_ps=0.1, cutoff_A=6.0)
    low, high = (
        run(box, tmp_path / str(pressure), settings, pressure_bar=pressure).run()[-10:] for pressure in (1.0, 5000.0)
    )
    density = [np.mean([frame.info["density_g_cm3"] for frame in frames]) for frames in (low, high)]
    assert 0.85 < density[0] < 1.2
    assert density[1] > 1.05 * density[0]
    for frame in (*low, *high):
        check_molecules(frame, box)


@pytest.mark.long
# One of twenty seeds failed (a mean 14 % off), so that one attempt fails in at most 25 % (95 % limit).
@pytest.mark.chance(0.25)
def test_volume_of_a_hot_gas(tmp_path: Path, seed: int) -> None:
    """A dilute gas of N molecules has <V> = (N + 1) k T / p and a relative width of 1 / sqrt(N + 1).

    Methane at 1500 K and 50 bar is ideal within 2 %.
    """
    count, temperature_K, pressure_bar = 20, 1500.0, 50.0
    volume = (count + 1) * units.kB * temperature_K / (pressure_bar * units.bar)
    methane = molecule(tmp_path, "C")
    box = pack([methane], [count], mass_u(methane) * count / volume / G_CM3, seed=1 + seed)
    # Twice this cutoff is 0.4 of the mean edge, which no volume that is tried comes near.
    settings = GaffNPT(duration_ps=12.0, record_interval_ps=0.1, cutoff_A=9.0, friction_per_ps=10.0)
    gaff = run(box, tmp_path / str(seed), settings, seed=seed, temperature_K=temperature_K, pressure_bar=pressure_bar)
    gaff.run()
    series = gaff.series()[10:]
    # A single volume scatters by 21 %; some tens of them are independent.
    assert series.volume_A3.mean() == pytest.approx(volume, rel=0.12)
    assert series.volume_A3.std() / series.volume_A3.mean() == pytest.approx(1 / np.sqrt(count + 1), rel=0.35)
    assert series.temperature_K.mean() == pytest.approx(temperature_K, rel=0.05)


@pytest.mark.parametrize("density", [0.5, 0.9, 1.3])
def test_frames_at_a_density(dmc: parmed.Structure, density: float) -> None:
    box = pack([dmc], [8], 0.7, seed=2)
    frames = constant_volume_frames(box, 450.0, density, count=3, interval_ps=0.5, seed=1)
    assert [frame.info["time_ps"] for frame in frames] == pytest.approx([0.5, 1.0, 1.5])
    for frame in frames:
        check_molecules(frame, box)
        assert frame.info["density_g_cm3"] == pytest.approx(density, rel=1e-6)
        assert frame.cell.cellpar() == pytest.approx([cube_length_A(mass_u(box), density)] * 3 + [90] * 3)
        assert 250 < frame.info["temperature_K"] < 700  # 96 atoms: 5.7 standard deviations of 8 % or more
    assert np.abs(frames[0].positions - frames[1].positions).max() > 0.1
    again = constant_volume_frames(box, 450.0, density, count=1, interval_ps=0.5, seed=1)
    assert np.array_equal(frames[0].positions, again[0].positions)


def test_box_shorter_than_the_cutoff_allows(box: parmed.Structure, tmp_path: Path) -> None:
    length = box.box[0]
    with pytest.raises(PhysEmbedError) as raised:
        run(box, tmp_path, GaffNPT(cutoff_A=length / 2))
    message = str(raised.value)
    assert message.startswith(f"gaff_npt: the box is {length:.2f} Å long at the start; ")
    assert "more molecules or lower gaff_npt.cutoff_A" in message


def test_box_that_shrinks_below_the_cutoff(box: parmed.Structure, tmp_path: Path) -> None:
    cutoff = 0.499 * box.box[0]
    gaff = run(box, tmp_path, GaffNPT(duration_ps=2, record_interval_ps=0.1, cutoff_A=cutoff), pressure_bar=2e4)
    with pytest.raises(PhysEmbedError, match=r"^gaff_npt: the box was \d+\.\d\d Å long and shrank further") as raised:
        gaff.run()
    assert f"{cutoff:g} Å: give the liquid more molecules" in str(raised.value)
    assert len(str(raised.value).splitlines()) == 1


def test_atoms_on_top_of_each_other(dmc: parmed.Structure, tmp_path: Path) -> None:
    overlapped = pack([dmc], [20], 0.9, seed=1)
    positions = overlapped.coordinates.copy()
    positions[ATOMS : 2 * ATOMS] = positions[:ATOMS]
    overlapped.coordinates = positions
    with pytest.raises(PhysEmbedError, match=r"^GAFF box: .*; pack it at a lower density$"):
        run(overlapped, tmp_path).run()
    with pytest.raises(PhysEmbedError, match=r"^GAFF box: .*; pack it at a lower density$"):
        constant_volume_frames(overlapped, 300.0, 1.0, 1, 0.1, 1)


def test_forces_that_remain_after_minimisation(box: parmed.Structure, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(gaff_liquid, "LARGEST_FORCE_EV_A", 1e-6)
    with pytest.raises(PhysEmbedError, match=r"largest force is 0\.\d+ eV/Å: atoms overlap; pack the box"):
        run(box, tmp_path).run()


def test_a_step_that_is_too_long(box: parmed.Structure, tmp_path: Path) -> None:
    settings = GaffNPT(duration_ps=4, record_interval_ps=0.1, cutoff_A=6.0, timestep_fs=4.0)
    with pytest.raises(PhysEmbedError, match=r"^GAFF box: .*lower the time step$"):
        run(box, tmp_path, settings, temperature_K=2000.0).run()


def test_platform_that_does_not_work_is_passed_over(box, tmp_path, monkeypatch, caplog) -> None:
    """As on a machine with OpenMM's GPU platforms and no GPU: the next platform serves, and the log says so."""
    create, failed = openmm.Context, []

    def context(system, integrator, platform, properties):
        if not failed:
            failed.append(platform.getName())
            create(system, integrator, platform, properties)
            raise openmm.OpenMMException("no device")
        return create(system, integrator, platform, properties)

    monkeypatch.setattr(openmm, "Context", context)
    with caplog.at_level("INFO"):
        gaff = run(box, tmp_path, GaffNPT(duration_ps=0.01, record_interval_ps=0.01, cutoff_A=6.0))
    used = gaff._box.md.platform
    assert used != failed[0]
    assert f"OpenMM: platform {failed[0]} does not work here: no device" in caplog.text
    assert f"240 atoms on platform {used}" in caplog.text
    assert len(gaff.run()) == 1


def test_structure_without_a_box(dmc: parmed.Structure, tmp_path: Path) -> None:
    with pytest.raises(PhysEmbedError, match=r"^GAFF box: the structure has no box; a cubic box is required"):
        run(dmc, tmp_path)
    brick = pack([dmc], [8], 0.7, seed=2)
    brick.box = [20.0, 20.0, 30.0, 90.0, 90.0, 90.0]
    with pytest.raises(PhysEmbedError, match=r"^GAFF box: a box of 20 x 20 x 30 Å, angles 90, 90, 90; not a cube"):
        constant_volume_frames(brick, 300.0, 1.0, 1, 0.1, 1)
