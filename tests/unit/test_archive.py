"""The archive of a study: what is in it, what is left out, and what keeps a study from being packed."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import logging
import os
import sys
import tarfile
from pathlib import Path

import pytest
import yaml

from physembed.archive import main, pack
from physembed.config import Config
from physembed.errors import PhysEmbedError
from physembed.provenance import file_hash

CONFIG = Config(study="small").model_dump(mode="json")
FILES = {
    "summary.html": b"<html></html>",
    "methanol/gaff_md/trajectory.xyz": b"x" * 3_000_000,
    "methanol/stability/adaptive/seed1/trajectories/replica_000.xyz": b"y" * 1_000_000,
    "methanol/labels/adaptive.xyz": b"z" * 4_000_000,
    "methanol/logs/labels.log": b"done\n",
    "restart/gaff_md/methanol/0123/gaff_md.npz": b"state",
}


def provenance(study: Path, name: str, inputs: list[str], *, code: str | None = "0.1.0+g" + 40 * "a",
               settings: object = None) -> None:  # fmt: skip
    """Write a record with the present hashes of these inputs, which are named as rules name them."""
    record = {
        "stage": "any",
        "settings": settings or {},
        "inputs_sha256": {path: file_hash(path) for path in inputs},
        "versions": {"physembed": "0.1.0", "torch": "2.11"},
    }
    if code is not None:
        record["code_version"] = code
    (study / name).write_text(json.dumps(record))


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A finished study in the working directory: results/small."""
    monkeypatch.chdir(tmp_path)
    folder = Path("results/small")
    for name, content in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    Path("CITATION.cff").write_text("cff-version: 1.2.0\n")
    Path("config").mkdir()
    Path("config/molecules.tsv").write_text("name\tsmiles\nmethanol\tCO\n")
    provenance(folder, "methanol/labels/adaptive_provenance.json", ["results/small/methanol/gaff_md/trajectory.xyz"])
    provenance(folder, "provenance.json", ["results/small/methanol/labels/adaptive.xyz"], settings={"config": CONFIG})
    return folder


def packed(path: str | Path) -> dict[str, bytes]:
    """The files of an archive without their common folder, which is the study's name."""
    contents = {}
    with tarfile.open(path) as archive:
        for member in archive.getmembers():
            root, _, name = member.name.partition("/")
            file = archive.extractfile(member)
            assert root == "small"
            assert file is not None
            contents[name] = file.read()
    return contents


def rows(contents: dict[str, bytes]) -> dict[str, dict[str, str]]:
    """The manifest by path."""
    return {row["path"]: row for row in csv.DictReader(io.StringIO(contents["MANIFEST.csv"].decode()))}


def test_manifest_lists_every_file_and_says_truly_which_are_there(study: Path) -> None:
    pack(study, "small.tar.gz", trajectory_mb=2)
    contents = packed("small.tar.gz")
    manifest = rows(contents)
    assert set(manifest) == {path.relative_to(study).as_posix() for path in study.rglob("*") if path.is_file()}
    for path, row in manifest.items():
        content = (study / path).read_bytes()
        assert (int(row["bytes"]), row["sha256"]) == (len(content), hashlib.sha256(content).hexdigest())
        assert contents.get(f"results/{path}") == (content if row["kept"] == "yes" else None)
        assert bool(row["reason"]) == (row["kept"] == "no")


def test_restart_files_and_large_trajectories_alone_are_left_out(study: Path) -> None:
    pack(study, "small.tar.gz", trajectory_mb=2)
    left_out = {path: row["reason"] for path, row in rows(packed("small.tar.gz")).items() if row["kept"] == "no"}
    # Not the labels, which are larger but no trajectory, nor the smaller trajectory.
    assert left_out == {
        "methanol/gaff_md/trajectory.xyz": "trajectory above 2 MB",
        "restart/gaff_md/methanol/0123/gaff_md.npz": "restart file",
    }


def test_the_size_is_an_option(study: Path) -> None:
    pack(study, "small.tar.gz", trajectory_mb=0.5)
    assert "results/methanol/stability/adaptive/seed1/trajectories/replica_000.xyz" not in packed("small.tar.gz")
    pack(study, "small.tar.gz", trajectory_mb=3)
    assert "results/methanol/gaff_md/trajectory.xyz" in packed("small.tar.gz")


def test_logs_are_optional(study: Path) -> None:
    pack(study, "with.tar.gz")
    pack(study, "without.tar.gz", logs=False)
    assert set(packed("with.tar.gz")) - set(packed("without.tar.gz")) == {"results/methanol/logs/labels.log"}


def test_same_study_gives_the_same_bytes(study: Path, tmp_path: Path) -> None:
    pack(study, "one.tar.gz")
    for number, path in enumerate(sorted(study.rglob("*"))):
        os.utime(path, (number, number))
    (study / "summary.html").chmod(0o600)
    pack(study, tmp_path / "other name.tar.gz")
    assert Path("one.tar.gz").read_bytes() == (tmp_path / "other name.tar.gz").read_bytes()


def test_archive_holds_what_the_results_came_from(study: Path) -> None:
    pack(study, "small.tar.gz")
    contents = packed("small.tar.gz")
    assert Config.model_validate(yaml.safe_load(contents["config.yaml"])) == Config(study="small")
    assert contents["tables/molecules_table.tsv"] == Path("config/molecules.tsv").read_bytes()
    assert contents["CITATION.cff"] == Path("CITATION.cff").read_bytes()
    assert json.loads(contents["versions.json"]) == {"physembed": "0.1.0", "torch": "2.11"}
    assert f"Check out PhysEmbed at 0.1.0+g{40 * 'a'}." in contents["README.md"].decode()


@pytest.mark.parametrize(
    ("code", "note"),
    [
        ("0.1.0+g" + 40 * "a" + "-dirty", "1 results come from a checkout with uncommitted changes"),
        ("0.1.0+g" + 40 * "b", "The results come from 2 versions"),
        (None, "1 results do not record the version that made them"),
    ],
)
def test_code_that_cannot_be_checked_out_is_told(
    study: Path, caplog: pytest.LogCaptureFixture, code: str | None, note: str
) -> None:
    provenance(
        study, "methanol/labels/adaptive_provenance.json", ["results/small/methanol/gaff_md/trajectory.xyz"], code=code
    )
    with caplog.at_level(logging.WARNING):
        pack(study, "small.tar.gz")
    assert note in caplog.text
    assert note in packed("small.tar.gz")["README.md"].decode()


def test_nothing_is_told_of_one_clean_version(study: Path, caplog: pytest.LogCaptureFixture) -> None:
    pack(study, "small.tar.gz")
    assert caplog.text == ""


def test_unfinished_study_is_refused(study: Path) -> None:
    (study / "provenance.json").unlink()
    with pytest.raises(PhysEmbedError, match=r"small: not finished: provenance.json is missing; run the workflow"):
        pack(study, "small.tar.gz")
    assert not Path("small.tar.gz").exists()


def test_result_that_changed_after_its_use_is_refused(study: Path) -> None:
    (study / "methanol/labels/adaptive.xyz").write_text("other labels")
    with pytest.raises(PhysEmbedError, match=r"labels/adaptive.xyz: is not what .*small was made from"):
        pack(study, "small.tar.gz")


def test_lost_result_is_refused(study: Path) -> None:
    (study / "methanol/gaff_md/trajectory.xyz").unlink()
    with pytest.raises(PhysEmbedError, match=r"gaff_md/trajectory.xyz: is missing, but .*methanol/labels was made"):
        pack(study, "small.tar.gz")


def test_inputs_outside_the_study_need_not_be_there(study: Path) -> None:
    Path("own.sdf").write_text("a structure")
    provenance(study, "methanol/molecule_provenance.json", ["own.sdf"])
    Path("own.sdf").unlink()
    pack(study, "small.tar.gz")
    assert "results/methanol/molecule_provenance.json" in packed("small.tar.gz")


def test_archive_cannot_lie_in_the_study(study: Path) -> None:
    with pytest.raises(PhysEmbedError, match="is inside the study itself"):
        pack(study, study / "small.tar.gz")


def test_command_line(study: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["archive", "results/small", "--trajectory-mb", "2", "--no-logs"])
    main()
    contents = packed("results/small.tar.gz")
    kept = sum(name.startswith("results/") for name in contents)
    assert f"{kept} of {len(rows(contents))} files" in capsys.readouterr().out
    monkeypatch.setattr(sys, "argv", ["archive", "results/none"])
    with pytest.raises(SystemExit, match=r"^archive: .*none: no such folder; give the results of a study"):
        main()
