"""The compiled evaluator against MACE's own code, in float64 unless said otherwise."""

from __future__ import annotations

import logging
import multiprocessing
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch_sim as ts
from ase import Atoms
from ase.build import molecule
from mace import modules

from physembed.engine.compiled import admission, library
from physembed.engine.compiled.admission import compiled
from physembed.engine.compiled.evaluator import CompiledMace
from physembed.engine.compiled.models import CompiledIsolated, CompiledLiquid
from physembed.engine.compiled.pack import BOUNDS
from physembed.engine.compiled.radial import intervals_for
from physembed.engine.compiled.tables import UnsupportedModelError, read
from physembed.engine.langevin import LangevinBatch
from physembed.engine.mace import IsolatedMace, LiquidMace, load_isolated
from physembed.errors import PhysEmbedError
from tests.unit.models_for_tests import box, made_once

CPU = torch.device("cpu")
RESIDUAL, PLAIN = "RealAgnosticResidualInteractionBlock", "RealAgnosticInteractionBlock"
R_MAX = 4.0


@made_once
def mace(
    *,
    channels: int = 4,
    max_L: int = 0,
    max_ell: int = 2,
    correlation: int = 3,
    layers: int = 2,
    first: str = PLAIN,
    later: str = RESIDUAL,
    kind: type = modules.ScaleShiftMACE,
    gate: Any = torch.nn.functional.silu,
    dtype: torch.dtype = torch.float64,
    **others: Any,
) -> torch.nn.Module:
    """Random weights; by default the blocks that `mace_run_train` takes."""
    from e3nn import o3  # only after mace, which lets it read its constants

    torch.manual_seed(3)
    default = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    if kind is modules.ScaleShiftMACE:
        others = {"atomic_inter_scale": 0.7, "atomic_inter_shift": 0.3} | others
    try:
        return kind(
            r_max=R_MAX,
            num_bessel=8,
            num_polynomial_cutoff=5,
            max_ell=max_ell,
            interaction_cls=modules.interaction_classes[later],
            interaction_cls_first=modules.interaction_classes[first],
            num_interactions=layers,
            num_elements=3,
            hidden_irreps=o3.Irreps(" + ".join(f"{channels}x{order}{'eo'[order % 2]}" for order in range(max_L + 1))),
            MLP_irreps=o3.Irreps("16x0e"),
            atomic_energies=np.array([-0.5, -1.5, -2.5]),
            avg_num_neighbors=8.0,
            atomic_numbers=[1, 6, 8],
            correlation=correlation,
            gate=gate,
            **others,
        )
    finally:
        torch.set_default_dtype(default)


def trained() -> torch.nn.Module:
    """A model fitted to energies that vary fast with the distances."""
    model = mace()
    frames = [box(6, (5.0, 5.0, 5.0), seed) for seed in range(4)]
    targets = torch.tensor([float(np.sin(5 * frame.get_all_distances(mic=True)).sum()) for frame in frames])
    state = ts.io.atoms_to_state(frames, CPU, torch.float64)
    liquid = LiquidMace(model, CPU, torch.float64)
    first, second, vectors = liquid.edges(state)
    liquid.prepare(state)
    for parameter in liquid.model.parameters():
        parameter.requires_grad = True
    edges = {"edge_index": torch.stack([first, second]), "unit_shifts": vectors, "shifts": vectors}
    optimizer = torch.optim.Adam(liquid.model.parameters(), lr=0.02)
    for _ in range(40):
        optimizer.zero_grad()
        positions = torch.zeros(24, 3, dtype=torch.float64)
        output = liquid.model(liquid._data | edges | {"positions": positions}, compute_force=False, training=True)
        (output["energy"] - targets).square().mean().backward()
        optimizer.step()
    return model


def evaluator(module: torch.nn.Module, dtype: str = "float64") -> CompiledMace:
    return CompiledMace(read(module), dtype)


def differences(module: torch.nn.Module, frames: list[Atoms], dtype: str = "float64") -> tuple[float, float, float]:
    """Of energies, forces and virials of periodic systems, over the largest of each."""
    single = dtype == "float32"
    # What float32 makes of the positions is the same for both.
    state = ts.io.atoms_to_state(frames, CPU, torch.float32 if single else torch.float64)
    ours = CompiledLiquid(evaluator(module, dtype))
    first, second, vectors = ours.edges(state)
    ours.prepare(state)
    got = ours.evaluate(first, second, vectors)
    theirs = LiquidMace(module, CPU, torch.float64)
    theirs.prepare(state)
    wanted = theirs.evaluate(first, second, vectors.double())
    return tuple(  # type: ignore[return-value]
        float((got[name].double() - wanted[name]).abs().max() / wanted[name].abs().max())
        for name in ("energy", "forces", "virial")
    )


SHAPES: dict[str, dict[str, Any]] = {
    "as trained": {"max_ell": 3},
    "vectors, three layers": {"max_L": 1, "layers": 3, "correlation": 2},
    "tensors": {"max_L": 2, "max_ell": 3, "correlation": 2},
    "tensors, correlation 3": {"max_L": 2, "first": RESIDUAL},
    "one layer": {"layers": 1, "max_L": 1, "first": RESIDUAL, "max_ell": 1},
    "correlation 1": {"correlation": 1, "max_L": 1, "max_ell": 1},
    "not residual": {"later": PLAIN, "max_L": 1, "layers": 3, "max_ell": 1, "correlation": 2},
    "without scale": {"kind": modules.MACE, "max_ell": 1, "first": RESIDUAL, "layers": 3},
    "channels that fill no vector": {"channels": 10, "max_ell": 1, "max_L": 1, "correlation": 2},
    "one product for all elements": {"use_agnostic_product": True, "max_ell": 1},
    "all coefficients": {"use_reduced_cg": False},
    "tanh": {"gate": torch.tanh, "max_ell": 1},
    "no gate": {"gate": None, "max_ell": 1},
    "last readout alone": {"use_last_readout_only": True, "max_ell": 1},
    "repulsion": {"pair_repulsion": True, "max_ell": 1},
}


@pytest.fixture
def in_double() -> Iterator[None]:
    """torch's default precision is float64. MACE's ZBL computes powers of integers, which are in this precision."""
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(default)


@pytest.mark.usefixtures("in_double")
@pytest.mark.parametrize("shape", SHAPES)
def test_energies_forces_and_virials_are_those_of_mace(shape: str) -> None:
    """Of a box with many images of each atom, and of a larger one beside it."""
    frames = [box(5, (2.9, 3.4, 3.1), 1, skew=0.5), box(17, (7.0, 6.5, 6.0), 2)]
    assert max(differences(mace(**SHAPES[shape]), frames)) < 1e-9


@pytest.mark.parametrize("shape", ["as trained", "tensors"])
def test_float32_differs_by_rounding(shape: str) -> None:
    assert max(differences(mace(**SHAPES[shape]), [box(17, (7.0, 6.5, 6.0), 2)], "float32")) < 3e-6


def test_a_model_that_was_made_in_float32_is_the_same_in_float64() -> None:
    """Its constants are those of float32."""
    assert max(differences(mace(max_L=1, dtype=torch.float32), [box(17, (7.0, 6.5, 6.0), 2)])) < 1e-9


def test_a_trained_model_is_evaluated_as_well() -> None:
    assert max(differences(trained(), [box(17, (7.0, 6.5, 6.0), 2)])) < 1e-9
    assert max(differences(trained(), [box(17, (7.0, 6.5, 6.0), 2)], "float32")) < 1e-5


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_steep_radial_functions_get_finer_tables(dtype: str) -> None:
    counts = []
    for factor in (1.0, 4.0):
        model = mace()
        with torch.no_grad():
            for interaction in model.interactions:
                interaction.conv_tp_weights.layer0.weight *= factor
        counts.append([intervals_for(layer.radial, *BOUNDS[dtype == "float64"]) for layer in read(model).layers])
        errors = differences(model, [box(17, (7.0, 6.5, 6.0), 2)], dtype)
        assert max(errors) < (1e-9 if dtype == "float64" else 1e-5)
    assert min(counts[1]) > max(counts[0])


def isolated(module: torch.nn.Module, frames: list[Atoms], dtype: torch.dtype = torch.float64) -> Any:
    """Output of the compiled model and of MACE for isolated systems."""
    bare = [Atoms(frame.numbers, frame.positions, cell=[1, 1, 1]) for frame in frames]
    state = ts.io.atoms_to_state(bare, CPU, dtype)
    return CompiledIsolated(evaluator(module, str(dtype).split(".")[1]))(state), IsolatedMace(module, CPU, dtype)(state)


def test_molecules_are_evaluated_as_by_mace() -> None:
    """Of different sizes, single atoms among them, one with an element that no other has."""
    names = ["CH3CH2OH", "H", "C6H6", "O", "CO2", "H2"]
    ours, theirs = isolated(mace(max_ell=3), [molecule(name) for name in names])
    torch.testing.assert_close(ours["energy"], theirs["energy"], rtol=1e-10, atol=0)
    torch.testing.assert_close(ours["forces"], theirs["forces"], rtol=1e-9, atol=1e-11)
    assert (ours["forces"][9] == 0).all()


@pytest.mark.parametrize("distance", [0.02, 0.3, R_MAX - 1e-3, R_MAX - 1e-9, R_MAX, R_MAX + 1e-9, R_MAX + 1.0])
def test_pairs_at_any_distance(distance: float) -> None:
    pair = Atoms("CO", [[0.0, 0.0, 0.0], np.array([0.6, 0.0, 0.8]) * distance])
    ours, theirs = isolated(mace(max_ell=3), [pair])
    torch.testing.assert_close(ours["energy"], theirs["energy"], rtol=1e-10, atol=0)
    torch.testing.assert_close(ours["forces"], theirs["forces"], rtol=1e-8, atol=1e-12)


def test_forces_are_derivatives_of_the_energy() -> None:
    """To the rounding of a difference of fourth order."""
    model, start = evaluator(mace(max_ell=3)), molecule("CH3OH")
    starts = np.array([0, len(start)])
    _, forces = model.batch(start.numbers, starts)(start.positions)
    step = 2e-3
    for atom, axis in ((0, 0), (1, 2), (4, 1)):
        moved = []
        for shift in (-2, -1, 1, 2):
            positions = start.positions.copy()
            positions[atom, axis] += shift * step
            moved.append(model.batch(start.numbers, starts)(positions)[0][0])
        derivative = (moved[0] - 8 * moved[1] + 8 * moved[2] - moved[3]) / (12 * step)
        assert forces[atom, axis] == pytest.approx(-derivative, abs=2e-9 * np.abs(forces).max() / step)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_poisoned_position_shows_in_its_own_molecule_alone(value: float, dtype: str) -> None:
    model, one = evaluator(mace(max_ell=3), dtype), molecule("CH3OH")
    positions, numbers = np.tile(one.positions, (3, 1)), np.tile(one.numbers, 3)
    starts = np.arange(4) * len(one)
    energies, forces = model.batch(numbers, starts)(positions)
    positions[len(one) + 2, 1] = value
    bad_energies, bad_forces = model.batch(numbers, starts)(positions)
    bad = np.isfinite(bad_energies)
    assert bad.tolist() == [True, False, True]
    assert not np.isfinite(bad_forces[starts[1] : starts[2]]).all(1).any()
    for system in (0, 2):
        assert bad_energies[system] == energies[system]
        atoms = slice(starts[system], starts[system + 1])
        np.testing.assert_array_equal(bad_forces[atoms], forces[atoms])


def test_two_atoms_at_one_place_are_not_finite() -> None:
    energies, _ = evaluator(mace()).batch(np.array([1, 8]), np.array([0, 2]))(np.zeros((2, 3)))
    assert np.isnan(energies).all()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_results_depend_on_neither_threads_nor_company(dtype: str) -> None:
    """Bit for bit: of molecules and of periodic systems, whose atoms or which as a whole threads share out."""
    model = evaluator(mace(max_L=1, correlation=2, layers=3), dtype)
    molecules = [molecule(name) for name in ("CH3CH2OH", "H2O", "C6H6", "CO2", "CH4")]
    positions, numbers = (
        np.concatenate([getattr(one, name) for one in molecules]) for name in ("positions", "numbers")
    )
    starts = np.append(0, np.cumsum([len(one) for one in molecules]))
    frames = [box(n, (9.0, 8.0, 9.0), n) for n in (30, 25, 41, 17)]
    state = ts.io.atoms_to_state(frames, CPU, getattr(torch, dtype))
    liquid = CompiledLiquid(model)
    edges = liquid.edges(state)
    results = []
    for threads in (1, 2, 3):
        liquid.prepare(state)
        model.threads = threads
        results.append([*model.batch(numbers, starts)(positions), *liquid.evaluate(*edges).values()])
    for other in results[1:]:
        for one, same in zip(results[0], other, strict=True):
            assert np.array_equal(one, same)
    alone = model.batch(molecules[2].numbers, np.array([0, 12]))(molecules[2].positions)
    assert alone[0][0] == results[0][0][2]
    assert np.array_equal(alone[1], results[0][1][starts[2] : starts[3]])
    single = CompiledLiquid(model)(ts.io.atoms_to_state(frames[2:3], CPU, getattr(torch, dtype)))
    assert torch.equal(single["energy"][0], results[0][2][2])
    assert torch.equal(single["forces"], results[0][3][55:96])


def test_edges_beyond_the_cutoff_add_nothing() -> None:
    model = evaluator(mace())
    frame = box(17, (7.0, 6.5, 6.0), 2)
    state = ts.io.atoms_to_state([frame], CPU, torch.float64)
    liquid = CompiledLiquid(model)
    liquid.prepare(state)
    near = liquid.evaluate(*liquid.edges(state))
    far = liquid.evaluate(*liquid.list.pairs(state.positions, state.row_vector_cell, state.pbc, 5.5, state.system_idx))
    for name in near:
        assert torch.equal(near[name], far[name])


def test_energy_is_conserved() -> None:
    """The energy of a molecule that moves freely in the field of a model stays within 1e-5 of its kinetic energy's
    changes over 2 ps of steps that are short for it."""
    start = molecule("CH3CH2OH")
    model = CompiledIsolated(evaluator(mace(max_ell=3, atomic_inter_scale=3.0)))
    batch = LangevinBatch(model, [start], temperature_K=300.0, timestep_fs=0.1, friction_per_ps=0.0, seed=1)
    totals, kinetic = [], []
    for _ in range(200):
        batch.advance(100)
        masses = batch.state.masses[:, None]
        kinetic.append(float((batch.state.momenta.square() / masses).sum()) / 2)
        totals.append(float(batch.energies[0]) + kinetic[-1])
    assert np.ptp(kinetic) > 0.01
    assert np.ptp(totals) < 1e-4 * np.ptp(kinetic)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"radial_type": "gaussian"}, "its radial functions are not Bessel's"),
        ({"distance_transform": "Agnesi"}, "it has a distance transform"),
        ({"apply_cutoff": False}, "its radial functions have no cutoff"),
        ({"first": "RealAgnosticDensityInteractionBlock"}, "it has the interaction RealAgnosticDensity"),
        ({"gate": torch.abs}, "it has the gate abs"),
        (
            {"heads": ["a", "b"], "atomic_inter_scale": [1.0, 1.0], "atomic_inter_shift": [0.0, 0.0]},
            "it has several heads",
        ),
    ],
)
def test_what_is_not_known_goes_to_mace(
    change: dict[str, Any], reason: str, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    with pytest.raises(UnsupportedModelError, match=reason):
        read(mace(max_ell=1, **change))
    if "heads" not in change:
        torch.save(mace(max_ell=1, **change), tmp_path / "m.model")
        with caplog.at_level(logging.WARNING):
            assert isinstance(load_isolated(tmp_path / "m.model", "cpu", "float64"), IsolatedMace)
        assert [record.message.count(reason) for record in caplog.records if "MACE" in record.message] == [1]


def test_a_model_whose_numbers_differ_is_not_taken(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrong(module: torch.nn.Module) -> Any:
        tables = read(module)
        tables.layers[1].mix[1] = tables.layers[1].mix[1] * 1.001
        return tables

    model = mace()
    assert compiled(model, "float64") is not None
    assert compiled(model, "float32") is not None
    monkeypatch.setattr(admission, "read", wrong)
    with caplog.at_level(logging.WARNING):
        assert compiled(model, "float64") is None
    assert "compiled form deviates" in caplog.text


def test_an_element_that_the_model_lacks_is_named() -> None:
    with pytest.raises(PhysEmbedError, match=r"model: no N \(elements: H C O\)"):
        evaluator(mace()).batch(np.array([7]), np.array([0, 1]))


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A folder of caches, and nothing loaded."""
    monkeypatch.setattr(library, "_loaded", {})
    monkeypatch.setattr(library.tempfile, "gettempdir", lambda: str(tmp_path / "temporary"))
    monkeypatch.setenv("PHYSEMBED_CACHE", str(tmp_path / "cache"))
    (tmp_path / "temporary").mkdir()
    return tmp_path / "cache"


SMALLEST = {"layers": 1, "max_ell": 1, "correlation": 1}


def test_machine_code_is_kept_and_a_damaged_file_is_made_anew(
    fresh: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        evaluator(mace(**SMALLEST))
    assert caplog.text.count("compiling mace") == 1
    (file,) = fresh.iterdir()
    monkeypatch.setattr(library, "_loaded", {})
    made = library.compiled
    monkeypatch.setattr(library, "compiled", lambda _: pytest.fail("compiled again"))
    evaluator(mace(**SMALLEST))
    monkeypatch.setattr(library, "_loaded", {})
    monkeypatch.setattr(library, "compiled", made)
    content = file.read_bytes()
    file.write_bytes(content[:-10] + bytes(10))
    energies, _ = evaluator(mace(**SMALLEST)).batch(np.array([1, 6, 8]), np.array([0, 3]))(np.eye(3))
    assert np.isfinite(energies).all()
    assert file.read_bytes() == content


def test_a_cache_that_cannot_be_written_is_passed_over(
    fresh: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A file with the name of the folder, which also stops root."""
    fresh.write_text("")
    evaluator(mace(**SMALLEST))
    assert len(list((tmp_path / "temporary").glob("*/*.o"))) == 1
    shutil.rmtree(tmp_path / "temporary")
    (tmp_path / "temporary").write_text("")
    library._loaded.clear()
    with caplog.at_level(logging.WARNING):
        evaluator(mace(**SMALLEST))
    assert "no cache folder is writable" in caplog.text


def test_two_processes_may_compile_at_once(fresh: Path) -> None:
    # Forks, which have everything imported; neither has anything loaded.
    forking = multiprocessing.get_context("fork")
    model, together, found = read(mace(**SMALLEST)), forking.Barrier(2), forking.SimpleQueue()

    def compile_and_evaluate() -> None:
        together.wait(60)
        found.put(CompiledMace(model, "float64").batch(np.array([1, 6, 8]), np.array([0, 3]))(np.eye(3))[0][0].hex())

    jobs = [forking.Process(target=compile_and_evaluate) for _ in range(2)]
    for job in jobs:
        job.start()
    for job in jobs:
        job.join(300)
    assert [job.exitcode for job in jobs] == [0, 0]
    assert len({found.get() for _ in jobs}) == 1
    assert len([path for path in fresh.iterdir() if path.suffix == ".o"]) == len(list(fresh.iterdir())) == 1
