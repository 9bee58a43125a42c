"""Batched Langevin dynamics against statistical mechanics, and all-pairs MACE against MACE's own calculator."""

import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from ase import Atoms
from ase.build import molecule
from mace import modules
from mace.calculators import MACECalculator
from scipy import stats
from torch_sim.models.interface import ModelInterface

from physembed.collapse.detector import CollapseDetector, SampledRanges
from physembed.config import Stability
from physembed.engine.langevin import LangevinBatch
from physembed.engine.mace import load_isolated
from physembed.errors import PhysEmbedError
from physembed.md import clock, stability
from physembed.md.clock import Clock
from physembed.md.stability import StabilityRun
from physembed.models.evaluation import predict
from physembed.units import FS, KB

from .models_for_tests import made_once

R_MAX = 3.0


@made_once
def random_mace(interaction="RealAgnosticResidualInteractionBlock", max_L=1):
    """A small MACE for H, C and O with random weights, in float64."""
    from e3nn import o3  # only after mace, which lets it read its constants

    torch.manual_seed(7)
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        return modules.ScaleShiftMACE(
            r_max=R_MAX,
            num_bessel=6,
            num_polynomial_cutoff=5,
            max_ell=2,
            interaction_cls=modules.interaction_classes[interaction],
            interaction_cls_first=modules.interaction_classes[interaction],
            num_interactions=2,
            num_elements=3,
            hidden_irreps=o3.Irreps("4x0e + 4x1o") if max_L else o3.Irreps("4x0e"),
            MLP_irreps=o3.Irreps("4x0e"),
            atomic_energies=np.array([-0.1, -0.3, -0.2]),
            avg_num_neighbors=4.0,
            atomic_numbers=[1, 6, 8],
            correlation=2,
            gate=torch.nn.functional.silu,
            atomic_inter_scale=0.9,
            atomic_inter_shift=0.1,
        )
    finally:
        torch.set_default_dtype(default)


@pytest.fixture(scope="module")
def model_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "mace.model"
    torch.save(random_mace(), path)
    return path


def with_far_atom():
    """Methanol with one hydrogen beyond the cutoff of all other atoms."""
    atoms = molecule("CH3OH")
    atoms.positions[5] += [0, 0, 20.0]
    return atoms


def molecules():
    """Two sizes, an atom out of reach, a pair of atoms just beyond the cutoff, a diatomic and a single atom."""
    apart = Atoms("OH", positions=[[0, 0, 0], [0, 0, R_MAX + 1e-3]])
    return [molecule("C6H6"), molecule("H2O"), with_far_atom(), apart, molecule("CO"), Atoms("C")]


@pytest.mark.parametrize(
    "interaction", ["RealAgnosticResidualInteractionBlock", "RealAgnosticDensityResidualInteractionBlock"]
)
def test_all_pairs_equal_maces_own_calculator(interaction, tmp_path):
    module = random_mace(interaction)
    torch.save(module, tmp_path / "mace.model")
    energies, forces = predict(load_isolated(tmp_path / "mace.model", "cpu", "float64"), molecules())
    calculator = MACECalculator(models=[module], device="cpu", default_dtype="float64")
    for atoms, energy, force in zip(molecules(), energies, forces, strict=True):
        atoms.calc = calculator
        assert energy == pytest.approx(atoms.get_potential_energy(), rel=1e-9, abs=0)
        reference = atoms.get_forces()
        np.testing.assert_allclose(force, reference, rtol=0, atol=1e-9 * max(1.0, np.abs(reference).max()))
    # The molecules feel something at all, and the atom out of reach nothing.
    assert np.abs(forces[0]).max() > 1e-3
    assert np.abs(forces[2][5]).max() == 0


def test_a_batch_gives_each_molecule_what_it_has_alone(model_file):
    # The pair list is kept between calls: it has to follow the sizes of the systems.
    model = load_isolated(model_file, "cpu", "float64")
    together, forces = predict(model, molecules())
    for frame, energy, force in zip(molecules(), together, forces, strict=True):
        alone, alone_forces = predict(model, [frame])
        assert alone[0] == pytest.approx(energy, rel=1e-12)
        np.testing.assert_allclose(alone_forces[0], force, rtol=0, atol=1e-11)
    # As many atoms as before, in systems of other sizes.
    predict(model, molecules())
    reversed_, _ = predict(model, molecules()[::-1])
    np.testing.assert_allclose(reversed_[::-1], together, rtol=1e-12)


def test_a_file_that_is_no_model_is_refused_in_one_line(model_file, tmp_path):
    whole = model_file.read_bytes()
    contents = {f"truncated_{part}": whole[: len(whole) * part // 100] for part in (0, 1, 50, 99)}
    contents["text"] = b"hello\nworld\n"
    contents["pickled"] = pickle.dumps({"r_max": 3.0})
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    torch.save({"atomic_numbers": [1]}, tmp_path / "dict")
    torch.save(torch.nn.Linear(2, 2), tmp_path / "network")
    for name in [*contents, "dict", "network", "missing"]:
        with pytest.raises(PhysEmbedError) as failure:
            load_isolated(tmp_path / name, "cpu", "float64")
        assert str(tmp_path / name) in str(failure.value)
        assert "\n" not in str(failure.value)


class Trap(ModelInterface):
    """Each atom in a separate trap at the origin, E = k r^2 / 2 + c r^4 / 4 (eV, Å)."""

    def __init__(self, k=5.0, c=0.0):
        super().__init__()
        self._device, self._dtype = torch.device("cpu"), torch.float64
        self._compute_stress, self._compute_forces = False, True
        self.k, self.c = k, c

    def forward(self, state, **_):
        square = (state.positions**2).sum(dim=1)
        energies = torch.zeros(state.n_systems, dtype=self.dtype)
        energies.index_add_(0, state.system_idx, self.k * square / 2 + self.c * square**2 / 4)
        return {"energy": energies, "forces": -(self.k + self.c * square[:, None]) * state.positions}


def trapped(model, replicas, *, timestep_fs, friction_per_ps, positions=None, seed=11):
    start = Atoms("C4", positions=np.zeros((4, 3)) if positions is None else positions)
    return LangevinBatch(
        model, [start] * replicas, temperature_K=300, timestep_fs=timestep_fs, friction_per_ps=friction_per_ps,
        seed=seed,
    )  # fmt: skip


def omega(model):
    """Angular frequency of a carbon atom in the harmonic trap, in 1/fs."""
    return np.sqrt(model.k / Atoms("C").get_masses()[0]) * FS


@pytest.mark.parametrize("omega_dt", [0.1, 0.8])
def test_temperature_and_configurational_variance(omega_dt):
    """BAOAB is exact for a harmonic oscillator at every time step: for its positions, <x^2> = kT / k, and for the
    momenta of half steps, which are reported. Those of full steps are colder, <p^2> / m = kT (1 - (omega dt)^2 / 4)
    (Leimkuhler and Matthews, Appl. Math. Res. Express 2013, 34)."""
    model = Trap()
    timestep = omega_dt / omega(model)
    batch = trapped(model, 200, timestep_fs=timestep, friction_per_ps=2000 * omega(model))
    apart = round(6 / omega_dt)
    batch.advance(4 * apart)
    squares, temperatures, full_steps = [], [], []
    for _ in range(25):
        batch.advance(apart)
        squares.append((batch.positions**2).mean().item())
        temperatures.append(batch.temperatures.mean().item())
        full_steps.append((batch.state.momenta**2).mean().item() / batch.state.masses[0].item() / KB)
    # 2400 degrees of freedom and 25 samples: the standard error of the means is about 0.6 %.
    assert np.mean(squares) == pytest.approx(300 * KB / model.k, rel=0.03)
    assert np.mean(temperatures) == pytest.approx(300, rel=0.03)
    assert np.mean(full_steps) == pytest.approx(300 * (1 - omega_dt**2 / 4), rel=0.03)


CHAIN_MASSES = Atoms("HCHF").get_masses()


class Chain(ModelInterface):
    """Four unequal atoms in a row on harmonic springs of zero length, in a weak trap: modes from soft to stiff."""

    SPRINGS = (30.0, 9.0, 25.0)
    """eV/Å^2; the stiffest modes have omega = 0.56 and 0.59 / fs, as C-H bonds of 3000 / cm."""
    TRAP = 0.5

    def __init__(self):
        super().__init__()
        self._device, self._dtype = torch.device("cpu"), torch.float64
        self._compute_stress, self._compute_forces = False, True
        hessian = self.TRAP * np.eye(4)
        for atom, spring in enumerate(self.SPRINGS):
            hessian[atom : atom + 2, atom : atom + 2] += spring * np.array([[1, -1], [-1, 1]])
        self.hessian = torch.tensor(hessian)

    def forward(self, state, **_):
        positions = state.positions.view(-1, 4, 3)
        forces = -torch.einsum("ab,nbx->nax", self.hessian, positions)
        return {"energy": -(positions * forces).sum(dim=(1, 2)) / 2, "forces": forces.reshape(-1, 3)}


def test_coupled_stiff_modes_of_unequal_atoms_are_sampled_as_theory_has_it():
    """At 1 fs each normal mode, from a slow one to that of a C-H bond, has <q^2> = kT / omega^2, and every atom its
    kinetic temperature."""
    model, count = Chain(), 400
    scaled = model.hessian.numpy() / np.sqrt(np.outer(CHAIN_MASSES, CHAIN_MASSES))
    squares, modes = np.linalg.eigh(scaled)
    assert 0.55 < np.sqrt(squares[-1]) * FS < 0.6 and np.sqrt(squares[0]) * FS < 0.03
    start = Atoms("HCHF", positions=np.zeros((4, 3)))
    batch = LangevinBatch(model, [start] * count, temperature_K=800, timestep_fs=1.0, friction_per_ps=50.0, seed=3)
    batch.advance(400)
    seen, kinetic = [], []
    for _ in range(60):
        batch.advance(40)
        seen.append(np.einsum("am,nax->nmx", modes, batch.positions.numpy() * np.sqrt(CHAIN_MASSES)[:, None]) ** 2)
        half_step = batch.state.momenta - batch.state.forces * FS / 2
        kinetic.append(half_step.view(count, 4, 3).numpy() ** 2 / CHAIN_MASSES[:, None] / (KB * 800))
    for values, name in ((np.array(seen) * squares[:, None] / (KB * 800), "<q^2>"), (np.array(kinetic), "kinetic")):
        of_replicas = values.mean(axis=(0, 3))
        error = of_replicas.std(axis=0, ddof=1) / np.sqrt(count)
        assert (error < 0.012).all()
        # Five standard errors of eight means: a false failure once in 200 000.
        assert (np.abs(of_replicas.mean(axis=0) - 1) < 5 * error).all(), (name, of_replicas.mean(axis=0), error)


def test_kinetic_energies_are_gamma_distributed():
    """The kinetic energy of f degrees of freedom at equilibrium is Gamma(f / 2, kT), also for a single replica."""
    model = Trap()
    omega_dt = 0.1
    batch = trapped(model, 4000, timestep_fs=omega_dt / omega(model), friction_per_ps=2000 * omega(model))
    batch.advance(200)
    kinetic = batch.temperatures.numpy() * KB * 12 / 2
    scale = 300 * KB
    assert stats.kstest(kinetic, stats.gamma(a=6, scale=scale).cdf).pvalue > 1e-5
    # This many replicas resolve one degree of freedom of the twelve.
    assert stats.kstest(kinetic, stats.gamma(a=11 / 2, scale=scale).cdf).pvalue < 1e-4


def test_energy_is_conserved_without_friction():
    """Zero friction is velocity Verlet: the error of the total energy over a time falls as dt^2."""
    model = Trap(k=5.0, c=4.0)
    rng = np.random.default_rng(3)
    positions = rng.normal(0, 0.3, (4, 3))
    worst = []
    for timestep, steps in ((0.8, 250), (0.4, 500)):
        batch = trapped(model, 20, timestep_fs=timestep, friction_per_ps=0.0, positions=positions)
        totals = []
        for _ in range(steps):
            kinetic = (batch.state.momenta.square().sum(dim=1) / (2 * batch.state.masses)).view(20, 4).sum(dim=1)
            totals.append((batch.energies + kinetic).numpy())
            batch.advance(1)
        worst.append(np.abs(np.array(totals) - totals[0]).max(axis=0).mean())
        assert (np.std(totals, axis=0) < 1e-3 * np.mean(totals)).all()
    assert worst[0] / worst[1] == pytest.approx(4, rel=0.01)


def test_the_seed_decides():
    starts = {seed: trapped(Trap(), 2, timestep_fs=1.0, friction_per_ps=10.0, seed=seed) for seed in (1, 2)}
    again = trapped(Trap(), 2, timestep_fs=1.0, friction_per_ps=10.0, seed=1)
    for batch in (*starts.values(), again):
        batch.advance(5)
    assert torch.equal(starts[1].positions, again.positions)
    assert not torch.equal(starts[1].positions, starts[2].positions)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_saved_and_loaded_it_goes_on_bit_for_bit(model_file, dtype):
    rng = np.random.default_rng(5)
    starts = [molecule("CH3OH") for _ in range(4)]
    for start in starts:
        start.positions += rng.normal(0, 0.02, start.positions.shape)

    def new():
        model = load_isolated(model_file, "cpu", dtype)
        return LangevinBatch(model, starts, temperature_K=300, timestep_fs=0.5, friction_per_ps=10.0, seed=1)

    kept = torch.tensor([True, False, True, True])
    straight = new()
    straight.advance(6)
    straight.keep(kept)
    straight.advance(6)
    first = new()
    first.advance(6)
    first.keep(kept)
    first.advance(2)
    saved = first.save()
    first.advance(3)  # what happens after the save does not count
    second = new()
    second.load(saved, kept)
    second.advance(4)
    assert second.n_replicas == 3
    for name in ("positions", "forces", "energies", "temperatures"):
        assert torch.equal(getattr(straight, name), getattr(second, name)), name
    assert torch.equal(straight.state.rng.get_state(), second.state.rng.get_state())


def test_a_replica_that_leaves_takes_nothing_from_the_others():
    model = Trap()
    batch = trapped(model, 5, timestep_fs=1.0, friction_per_ps=10.0)
    batch.advance(20)
    before = {name: getattr(batch, name).clone() for name in ("positions", "forces", "energies", "temperatures")}
    mask = torch.tensor([False, True, True, False, True])
    batch.keep(mask)
    for name, values in before.items():
        assert torch.equal(getattr(batch, name), values[mask])


WATER = np.array([[0.0, 0.0, 0.0], [0.96, 0.0, 0.0], [-0.24, 0.93, 0.0]])
BONDS = pd.DataFrame({"i": [0, 0], "j": [1, 2], "type_i": "ow", "type_j": "hw"})
RANGES = SampledRanges(
    pd.DataFrame({"types": ["hw-ow"], "compression_low_A": 0.8, "stretch_high_A": 1.2, "r_max_A": 1.1}),
    pd.DataFrame(
        {"types": ["hw-ow-hw"], "closing_low_degrees": 60.0, "opening_high_degrees": 150.0,
         "theta_min_degrees": 95.0, "theta_max_degrees": 115.0}
    ),
)  # fmt: skip
THERMO = ["time_fs", "replica", "potential_energy_eV", "temperature_K"]
MARK = 500.0
"""A replica that starts beyond this (Å) is the one that `Bonds` can be asked to break."""
SEED = 20
"""Of runs whose replicas collapse at different times."""


class Bonds(Trap):
    """Water of two Morse bonds; of a marked replica `spoiled` becomes NaN from call `from_call` on."""

    def __init__(self, depth_eV=0.25, spoiled="", from_call=0):
        super().__init__()
        self.depth, self.spoiled, self.from_call, self.calls = depth_eV, spoiled, from_call, 0

    def forward(self, state, **_):
        self.calls += 1
        positions = state.positions.view(-1, 3, 3)
        vectors = positions[:, 1:] - positions[:, :1]
        lengths = torch.linalg.vector_norm(vectors, dim=2)
        decay = torch.exp(-3.0 * (lengths - 0.96))
        pull = (2 * self.depth * 3.0 * decay * (1 - decay) / lengths)[..., None] * vectors
        output = {
            "energy": (self.depth * (1 - decay) ** 2).sum(dim=1),
            "forces": torch.cat([pull.sum(dim=1, keepdim=True), -pull], dim=1).reshape(-1, 3),
        }
        if self.spoiled and self.calls >= self.from_call:
            marked = positions[:, 0, 0] > MARK
            if self.spoiled == "forces":
                marked = marked.repeat_interleave(3)
            output[self.spoiled][marked] = float("nan")
        return output


def stability_run(folder, model=None, starts=None, clock=None, seed=SEED, **settings):
    """A run of eight replicas of water by default; 100 fs, most of them collapse."""
    defaults = {"duration_ps": 0.1, "record_interval_fs": 20.0, "check_interval_steps": 10, "dtype": "float64"}
    if starts is None:
        starts = [Atoms("OHH", WATER, info={"source_frame": 100 + replica}) for replica in range(8)]
    detector = CollapseDetector(BONDS, np.array([0.96, 0.96]), np.full((3, 3), 0.3), 0.5, 0.0)
    settings = Stability(**defaults | {"device": "cpu"} | settings)
    return StabilityRun(model or Bonds(), starts, detector, RANGES, settings, seed=seed, restart=folder, clock=clock)


def finished(*arguments, **settings):
    run = stability_run(*arguments, **settings)
    run.run()
    return run


def assert_same_results(run, other):
    pd.testing.assert_frame_equal(run.replicas(), other.replicas(), check_exact=True)
    pd.testing.assert_frame_equal(run.thermo(), other.thermo(), check_exact=True)
    for replica in range(len(run.starts)):
        frames, others = run.trajectory(replica), other.trajectory(replica)
        assert [frame.info for frame in frames] == [frame.info for frame in others]
        for frame, another in zip(frames, others, strict=True):
            np.testing.assert_array_equal(frame.positions, another.positions)


def test_records_and_collapses_of_a_run(tmp_path):
    run = finished(tmp_path)
    replicas, thermo = run.replicas(), run.thermo()
    assert 0 < replicas.collapsed.sum() < 8
    assert replicas.start_frame.tolist() == list(range(100, 108))
    assert (replicas.time_fs[~replicas.collapsed] == 100).all()
    collapsed = replicas[replicas.collapsed]
    assert (collapsed.time_fs % 10 == 0).all()
    assert set(collapsed.cause) == {"bond"}
    assert ((collapsed.length_A - collapsed.reference_A).abs() > 0.5).all()
    for row in replicas.itertuples():
        records = thermo.time_fs[thermo.replica == row.replica].tolist()
        # A replica is recorded until it collapses, and then once more as it is.
        expected = [time for time in np.arange(0, 101, 20) if time < row.time_fs or not row.collapsed]
        assert records == expected
        frames = run.trajectory(row.replica)
        assert [frame.info["time_fs"] for frame in frames] == expected + [row.time_fs] * row.collapsed
        if row.collapsed:
            assert frames[-1].get_distance(row.atom_i, row.atom_j) == pytest.approx(row.length_A)


class Killed(Exception):
    """Stands for the end of the process."""


def kill_in_advance(monkeypatch, after):
    advance, calls = LangevinBatch.advance, []

    def dies(self, steps):
        calls.append(steps)
        if len(calls) > after:
            raise Killed
        advance(self, steps)

    monkeypatch.setattr(LangevinBatch, "advance", dies)


def kill_in_save(monkeypatch, after):
    save, calls = torch.save, []

    def dies(content, path):
        calls.append(path)
        if len(calls) > after:
            path.write_bytes(b"half a file")
            raise Killed
        save(content, path)

    monkeypatch.setattr(stability.torch, "save", dies)


@pytest.mark.parametrize("kill", [kill_in_advance, kill_in_save])
@pytest.mark.parametrize("after", [0, 4, 8])
def test_a_killed_run_goes_on_as_if_nothing_had_happened(tmp_path, monkeypatch, kill, after):
    undisturbed = finished(tmp_path / "undisturbed")
    times = undisturbed.replicas().time_fs
    assert (times < 40).any() and times.between(40, 80).any()  # before and after a kill
    with monkeypatch.context() as patch:
        patch.setattr(clock, "SAVE_EVERY_SECONDS", 0)
        kill(patch, after)
        with pytest.raises(Killed):
            stability_run(tmp_path / "killed").run()
    resumed = stability_run(tmp_path / "killed")
    assert resumed.record.step == 10 * after
    resumed.run()
    assert_same_results(resumed, undisturbed)
    # A finished run that is asked again computes nothing.
    with monkeypatch.context() as patch:
        kill_in_advance(patch, 0)
        assert_same_results(finished(tmp_path / "killed"), undisturbed)


# A replica collapses between 50 and 60 fs; a run of 59 fs finds it at its end, before the check of the longer run.
@pytest.mark.parametrize("shorter", [0.04, 0.059, 0.06])
def test_an_extended_run_equals_a_long_one(tmp_path, shorter):
    long = finished(tmp_path / "long")
    short = finished(tmp_path / "short", duration_ps=shorter)
    assert short.replicas().collapsed.sum() == (3 if shorter == 0.04 else 5)
    extended = stability_run(tmp_path / "short")
    assert extended.record.step == round(1000 * shorter)
    extended.run()
    assert_same_results(extended, long)


def test_a_shortened_run_equals_a_short_one(tmp_path):
    short = finished(tmp_path / "short", duration_ps=0.04)
    long = finished(tmp_path / "long")
    shortened = finished(tmp_path / "long", duration_ps=0.04)
    assert long.replicas().collapsed.sum() > shortened.replicas().collapsed.sum() > 0
    assert_same_results(shortened, short)


def test_a_run_that_was_killed_between_records_may_become_shorter(tmp_path, monkeypatch):
    """A replica that stopped and had not yet left the batch is counted like the others."""
    short = finished(tmp_path / "short", duration_ps=0.02, record_interval_fs=50.0)
    assert short.replicas().collapsed.sum() > 0
    with monkeypatch.context() as patch:
        patch.setattr(clock, "SAVE_EVERY_SECONDS", 0)
        kill_in_advance(patch, 4)
        with pytest.raises(Killed):
            stability_run(tmp_path / "killed", record_interval_fs=50.0).run()
    resumed = stability_run(tmp_path / "killed", duration_ps=0.02, record_interval_fs=50.0)
    assert resumed.record.step == 40 and not resumed.record.collapses
    resumed.run()
    pd.testing.assert_frame_equal(resumed.replicas(), short.replicas(), check_exact=True)


def test_the_host_waits_at_records_only(tmp_path, monkeypatch):
    """Between records, collapsed replicas are frozen in the state in which they were detected."""
    run, looks = stability_run(tmp_path, record_interval_fs=100.0), []
    look = LangevinBatch.look

    def seen(batch):
        look(batch)
        looks.append((batch.stopped_at.clone(), batch.positions.clone(), batch.n_replicas))

    with monkeypatch.context() as patch:
        patch.setattr(LangevinBatch, "look", seen)
        run.run()
    assert [count for _, _, count in looks] == 11 * [8]
    last, at_the_end, _ = looks[-1]
    replicas = run.replicas()
    assert replicas.collapsed.tolist() == (last >= 0).tolist()
    assert replicas.time_fs[replicas.collapsed].tolist() == last[last >= 0].tolist()
    assert len(set(last.tolist())) > 3
    for stopped_at, positions, _ in looks:
        stopped = stopped_at >= 0
        assert torch.equal(positions[stopped], at_the_end[stopped])


def test_the_end_of_a_run_is_looked_at(tmp_path):
    """A replica that fails after the last regular check has not survived."""
    starts = [Atoms("OHH", WATER + shift, info={"source_frame": 0}) for shift in (0.0, 1000.0)]
    model = Bonds(depth_eV=5.0, spoiled="energy", from_call=43)  # the first call is that of the start
    run = finished(tmp_path, model, starts, duration_ps=0.044)
    assert run.replicas().collapsed.tolist() == [False, True]
    assert run.replicas().time_fs.tolist() == [44.0, 44.0]


def test_the_time_limit_ends_a_run_that_goes_on_later(tmp_path):
    for checks in range(3):
        with pytest.raises(PhysEmbedError, match="run again to resume") as failure:
            stability_run(tmp_path / "limited", clock=Clock(1e-9)).run()
        assert "\n" not in str(failure.value)
        assert stability_run(tmp_path / "limited").record.step == 10 * (checks + 1)
    assert_same_results(finished(tmp_path / "limited"), finished(tmp_path / "whole"))


def test_a_run_at_its_end_minds_no_time_limit(tmp_path):
    finished(tmp_path)
    finished(tmp_path, clock=Clock(1e-9))
    whole = finished(tmp_path / "one", duration_ps=0.01, clock=Clock(1e-9))
    assert whole.record.step == 10


def test_times_are_compared_by_steps(tmp_path):
    """1001 steps of 0.1 fs are 100.10000000000001 fs, which is still in a run of 100.1 fs."""
    assert 1001 * 0.1 > 0.1001 * 1000
    starts = [Atoms("OHH", WATER + shift, info={"source_frame": 0}) for shift in (0.0, 1000.0)]
    model = Bonds(depth_eV=5.0, spoiled="forces", from_call=1002)
    settings = {"timestep_fs": 0.1, "duration_ps": 0.1001, "record_interval_fs": 100.1, "check_interval_steps": 1001}
    run = finished(tmp_path, model, starts, **settings)
    assert run.replicas().collapsed.tolist() == [False, True]
    assert run.thermo().groupby("replica").size().tolist() == [2, 1]
    assert [len(run.trajectory(replica)) for replica in (0, 1)] == [2, 2]


@pytest.mark.parametrize("spoiled", ["energy", "forces"])
def test_a_replica_that_blows_up_is_frozen_and_the_rest_goes_on(tmp_path, spoiled):
    starts = [Atoms("OHH", WATER + shift, info={"source_frame": 0}) for shift in (0.0, 1000.0, 0.0)]
    model = Bonds(depth_eV=5.0, spoiled=spoiled, from_call=34)
    run = finished(tmp_path, model, starts)
    replicas, thermo = run.replicas(), run.thermo()
    assert replicas.collapsed.tolist() == [False, True, False]
    assert replicas.time_fs.tolist() == [100.0, 40.0, 100.0]
    assert replicas.cause.tolist() == ["", "non_finite", ""]
    assert replicas.loc[1, ["atom_i", "atom_j", "length_A", "reference_A"]].isna().all()
    assert thermo.groupby("replica").time_fs.max().tolist() == [100.0, 20.0, 100.0]
    assert np.isfinite(thermo.to_numpy()).all()
    for replica in (0, 2):
        positions = np.array([frame.positions for frame in run.trajectory(replica)])
        assert positions.shape == (6, 3, 3)
        assert np.isfinite(positions).all()
    assert [frame.info["time_fs"] for frame in run.trajectory(1)] == [0.0, 20.0, 40.0]


def test_all_replicas_may_collapse_at_the_start(tmp_path, monkeypatch):
    broken = WATER * [[1.0], [1.625], [1.0]]
    starts = [Atoms("OHH", broken, info={"source_frame": frame}) for frame in range(3)]
    kill_in_advance(monkeypatch, 0)
    run = finished(tmp_path, None, starts)
    replicas = run.replicas()
    assert replicas.collapsed.all() and (replicas.time_fs == 0).all()
    assert (replicas[["atom_i", "atom_j"]] == [0, 1]).all(axis=None)
    assert replicas.length_A.tolist() == pytest.approx([1.56] * 3)
    assert set(replicas.in_sampled_range) == {"outside"}
    assert run.thermo().empty and list(run.thermo()) == THERMO
    assert [len(run.trajectory(replica)) for replica in range(3)] == [1, 1, 1]
    assert_same_results(finished(tmp_path, None, starts), run)


def test_a_run_ends_when_all_have_collapsed(tmp_path, monkeypatch):
    hot = {"model": Bonds(depth_eV=0.01), "temperature_K": 3000.0, "duration_ps": 50.0}
    run = finished(tmp_path, **hot)
    replicas = run.replicas()
    assert replicas.collapsed.all()
    assert run.record.step == replicas.time_fs.max() < 5000
    assert run.thermo().time_fs.max() < replicas.time_fs.max()
    kill_in_advance(monkeypatch, 0)
    assert_same_results(finished(tmp_path, **hot), run)
