"""Model files and training sets that a user names, and the corrected model that is given away."""

import json
import pickle

import numpy as np
import pytest
import torch
import torch_sim
from ase import Atoms
from ase.data import chemical_symbols
from ase.stress import full_3x3_to_voigt_6_stress
from mace.calculators import MACECalculator

from physembed.cso import CSOCalculator, CSOParameters
from physembed.errors import PhysEmbedError
from physembed.model_files.description import describe_model
from physembed.model_files.given import check_model_file
from physembed.models.corrected import card_of, write_corrected
from physembed.models.loading import load_ase, load_torchsim
from physembed.provenance import file_hash

from .models_for_tests import R_MAX, box, random_mace

LIQUIDS = {"EC_313K": {1, 6, 8}, "EMC_298K": {8, 6, 1}}
TUNING = {
    "alpha": 0.05, "method": "direct", "convention": "d3", "tuned_on": "EMC_298K", "target_g_cm3": 1.0063,
    "status": "ok", "reason": np.nan, "a1": 0.8125, "a1_low": 0.7, "a1_high": 0.93, "density_g_cm3": 1.0061,
    "standard_error_g_cm3": np.float64(0.0021), "slope_g_cm3": 0.11, "f_statistic": 1.2, "p_value": 0.3,
}  # fmt: skip


@pytest.fixture(scope="module")
def model_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "mace.model"
    torch.save(random_mace(), path)
    return path


def refusal(call, *arguments, **options):
    """The one line with which a call refuses its input."""
    with pytest.raises(PhysEmbedError) as failure:
        call(*arguments, **options)
    assert "\n" not in str(failure.value)
    return str(failure.value)


def test_a_good_model_file_is_described(model_file):
    description = check_model_file("models.x.file", model_file, file_hash(model_file), LIQUIDS)
    assert description == describe_model(model_file)
    assert description["sha256"] == file_hash(model_file)
    assert description["elements"] == ["H", "C", "O"]
    assert (description["r_max_A"], description["num_channels"], description["num_interactions"]) == (R_MAX, 4, 2)
    assert description["dtype"] == "float64"
    assert description["hidden_irreps"] == "4x0e+4x1o"
    assert description["parameters"] == sum(p.numel() for p in random_mace().parameters())
    assert json.loads(json.dumps(description)) == description


@pytest.mark.parametrize("kind", [
    {}, {"max_L": 0, "channels": 7}, {"elements": (1, 8), "dtype": torch.float32}, {"heads": ["a", "Default"]},
])  # fmt: skip
def test_what_is_read_is_what_the_module_has(kind, tmp_path):
    module = random_mace(**kind)
    torch.save(module, tmp_path / "mace.model")
    description = describe_model(tmp_path / "mace.model")
    assert description["class"] == "ScaleShiftMACE"
    assert description["elements"] == [chemical_symbols[int(z)] for z in module.atomic_numbers]
    assert description["r_max_A"] == float(module.r_max)
    assert description["num_channels"] == module.node_embedding.linear.irreps_out.dim
    assert description["num_interactions"] == int(module.num_interactions)
    assert description["hidden_irreps"] == str(module.products[0].linear.irreps_out)
    assert description["parameters"] == sum(weight.numel() for weight in module.parameters())
    assert description["dtype"] == str(next(module.parameters()).dtype).removeprefix("torch.")
    assert description["heads"] == list(module.heads)
    assert description["head"] == "Default"


class Marker:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return (open, (self.path, "w"))


def test_nothing_in_a_model_file_is_run(tmp_path):
    module, proof = random_mace(), tmp_path / "it ran"
    module.harmful = Marker(proof)
    torch.save(module, tmp_path / "mace.model")
    proof.unlink(missing_ok=True)
    assert describe_model(tmp_path / "mace.model")["elements"] == ["H", "C", "O"]
    assert not proof.exists()
    torch.load(tmp_path / "mace.model", weights_only=False)
    assert proof.exists(), "it would have run"


def test_files_that_are_no_model_are_refused(model_file, tmp_path):
    whole = model_file.read_bytes()
    contents = {"empty": b"", "half": whole[: len(whole) // 2], "text": b"hello\nworld\n", "plain": pickle.dumps([1])}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    torch.save({"weights": torch.zeros(3)}, tmp_path / "dictionary")
    torch.save(torch.nn.Linear(2, 2), tmp_path / "network")
    for name in [*contents, "dictionary", "network"]:
        message = refusal(check_model_file, "models.x.file", tmp_path / name, None, LIQUIDS)
        assert message.startswith("models.x.file: ") and str(tmp_path / name) in message
    assert "not a MACE model" in message
    assert "no such file" in refusal(check_model_file, "models.x.file", tmp_path / "missing", None, LIQUIDS)
    assert "is no file" in refusal(check_model_file, "models.x.file", tmp_path, None, LIQUIDS)
    address = "https://example.org/mace.model"
    assert address in refusal(check_model_file, "models.x.file", address, None, LIQUIDS)


def test_the_hash_is_compared_before_the_file_is_looked_into(tmp_path):
    trap, mark = tmp_path / "trap.model", tmp_path / "mark"
    torch.save(Marker(mark), trap)
    message = refusal(check_model_file, "models.x.file", trap, "0" * 64, LIQUIDS)
    assert file_hash(trap) in message and "0" * 64 in message
    assert "not a MACE model" in refusal(check_model_file, "models.x.file", trap, None, LIQUIDS)
    assert not mark.exists()


def test_elements_and_heads(model_file, tmp_path):
    message = refusal(check_model_file, "models.x.file", model_file, None, LIQUIDS | {"FEC_298K": {1, 6, 8, 9}})
    assert "does not know F of liquid FEC_298K" in message and "H, C, O" in message
    several = tmp_path / "several.model"
    torch.save(random_mace(heads=["pbe", "wb97m"]), several)
    assert "pbe, wb97m" in refusal(check_model_file, "models.x.file", several, None, LIQUIDS)
    torch.save(random_mace(heads=["pbe", "default"]), several)
    description = check_model_file("models.x.file", several, None, LIQUIDS)
    assert (description["heads"], description["head"]) == (["pbe", "default"], "default")


def written(folder, model_file, tuning=TUNING, **options):
    files = [folder / name for name in ("corrected_model.pt", "corrected_model.json", "card.md")]
    description = describe_model(model_file) | {"source": "models/mace.model"}
    arguments = {"name": "tiny", "base_model": model_file, "description": description, "tuning": tuning}
    write_corrected(*files, **arguments | {"target_source": "a handbook, p. 7"} | options)
    return files


SYSTEMS = {
    "liquids": [box(40, (8.0, 8.5, 9.0), 2), box(30, (7.5, 7.0, 8.0), 3, skew=1.0)],
    "isolated": [Atoms("OH2", [[0.0, 0.0, 0.0], [0.96, 0.0, 0.0], [-0.24, 0.93, 0.0]]), Atoms("C")],
}


@pytest.mark.parametrize("convention", ["d3", "d2"])
@pytest.mark.parametrize("systems", SYSTEMS.values(), ids=SYSTEMS)
def test_the_corrected_model_comes_back(model_file, tmp_path, systems, convention):
    """Through torch-sim and ASE, equal to each other and to the sum of MACE's and the CSO calculator."""
    path, *_ = written(tmp_path, model_file, TUNING | {"convention": convention})
    state = torch_sim.io.atoms_to_state(systems, torch.device("cpu"), torch.float64)
    output = load_torchsim(path, device="cpu")(state)
    mace = MACECalculator(model_paths=[str(model_file)], device="cpu", default_dtype="float64")
    cso = CSOCalculator(CSOParameters(alpha=0.05, a1=0.8125), convention)
    start = 0
    for k, atoms in enumerate(systems):
        periodic = atoms.pbc.any()
        end = start + len(atoms)
        torchsim = {"energy": float(output["energy"][k]), "forces": output["forces"][start:end].numpy()}
        atoms, parts, start = atoms.copy(), [], end
        atoms.calc = load_ase(path, device="cpu")
        results = {"energy": atoms.get_potential_energy(), "forces": atoms.get_forces()}
        if periodic:
            torchsim["stress"] = full_3x3_to_voigt_6_stress(output["stress"][k].numpy())
            results["stress"] = atoms.get_stress()
        for calculator in (mace, cso):
            part = atoms.copy()
            part.calc = calculator
            energy, forces = part.get_potential_energy(), part.get_forces()
            parts.append({"energy": energy, "forces": forces, "stress": part.get_stress() if periodic else 0.0})
        for name, value in results.items():
            explicit = parts[0][name] + parts[1][name]
            tolerance = 1e-9 * max(np.abs(explicit).max(), 1e-5)
            np.testing.assert_allclose(value, explicit, rtol=0, atol=tolerance)
            np.testing.assert_allclose(torchsim[name], explicit, rtol=0, atol=tolerance)
        if len(atoms) > 1:
            assert abs(parts[1]["energy"]) > 1e-5


def test_precision_can_be_chosen(model_file, tmp_path):
    path, *_ = written(tmp_path, model_file)
    atoms = SYSTEMS["liquids"][0].copy()
    atoms.calc = load_ase(path, "cpu", "float32")
    single = load_torchsim(path, "cpu", "float32")
    assert single.dtype == torch.float32
    energy = float(single(torch_sim.io.atoms_to_state([atoms], single.device, single.dtype))["energy"][0])
    assert energy == pytest.approx(atoms.get_potential_energy(), rel=1e-5)


def test_facts_and_card_say_what_it_is(model_file, tmp_path):
    confirmation = {"density_g_cm3": 1.0049, "standard_error_g_cm3": 0.0017, "status": "ok", "reason": ""}
    path, facts_file, card_file = written(tmp_path, model_file, confirmation=confirmation)
    facts, text = json.loads(facts_file.read_text()), card_file.read_text()
    assert facts["sha256"] == file_hash(path)
    assert facts["base_model"] == describe_model(model_file) | {"source": "models/mace.model"}
    assert facts["correction"] == {
        "convention": "d3", "alpha": 0.05, "a1": 0.8125, "s6": 1.0, "a2": 2.5, "a3": 0.0, "a4": 6.25,
        "cutoffs": {"dispersion": 12.0, "dispersion_width": 2.0, "coordination": 6.0, "coordination_width": 1.0},
    }  # fmt: skip
    assert facts["tuning"]["target_source"] == "a handbook, p. 7" and facts["tuning"]["reason"] is None
    assert facts["residual_g_cm3"] == pytest.approx(-0.0002)
    assert facts["confirmation_residual_g_cm3"] == pytest.approx(-0.0014)
    for part in (
        "(0.6 and 1.07) belong is not known",
        "a handbook, p. 7", file_hash(model_file), file_hash(path), "models/mace.model", "0.7 to 0.93", "0.8125",
        "1.0049 ± 0.0017", "1.0061 ± 0.0021", "torch 2", "load_ase", "EMC_298K",
    ):  # fmt: skip
        assert part in text
    # The same facts go with the file itself, and the same input gives the same file.
    inside = torch.load(path, weights_only=False)["facts"]
    assert inside == {key: value for key, value in facts.items() if key != "sha256"}
    (tmp_path / "again").mkdir()
    again, *_ = written(tmp_path / "again", model_file, confirmation=confirmation)
    assert file_hash(again) == file_hash(path)


def test_a_target_that_was_not_reached_is_told(model_file, tmp_path):
    gaps = {key: np.nan for key in ("a1_low", "a1_high", "standard_error_g_cm3", "slope_g_cm3")}
    tuning = TUNING | gaps | {"status": "unreachable", "reason": "the target lies outside of a1_range"}
    short = {"density_g_cm3": np.nan, "standard_error_g_cm3": np.nan, "status": "insufficient", "reason": "too short"}
    *_, card_file = written(tmp_path, model_file, tuning, confirmation=short)
    text = card_file.read_text()
    assert "unreachable: the target lies outside of a1_range" in text
    assert "not known (insufficient: too short)" in text
    assert "nan" not in text and "None" not in text


def test_what_gives_no_corrected_model_is_refused(model_file, tmp_path):
    without = TUNING | {"a1": np.nan, "status": "unresolved", "reason": "all runs blew up"}
    assert "all runs blew up" in refusal(written, tmp_path, model_file, without)
    assert "d4" in refusal(written, tmp_path, model_file, TUNING | {"convention": "d4"})
    other = describe_model(model_file) | {"sha256": "0" * 64}
    assert "0" * 64 in refusal(written, tmp_path, model_file, description=other)
    assert not list(tmp_path.iterdir())


def test_what_is_no_model_is_refused(model_file, tmp_path):
    (tmp_path / "text").write_text("hello\nworld\n")
    torch.save({"format": "another"}, tmp_path / "dictionary")
    for path in (tmp_path / "text", tmp_path / "dictionary", tmp_path / "missing"):
        for load in (load_torchsim, load_ase):
            message = refusal(load, path, device="cpu")
            assert message.startswith("model: ") and str(path) in message
    assert "neither a corrected model nor a committee" in refusal(card_of, model_file)
