"""Configuration files before they are merged: repeated keys, names that are dropped, files that are no YAML."""

from __future__ import annotations

from pathlib import Path

import pytest
from snakemake.common.configfile import load_configfile
from snakemake.utils import update_config

from physembed.config import load
from physembed.config.files import check_files
from physembed.errors import PhysEmbedError

BASE = "arms:\n  original: {bonds_per_frame: 0}\n  adaptive: {}\nmodels:\n  a: {tune_on: x}\n"


def written(folder: Path, *texts: str) -> list[Path]:
    """Files with these texts: the first complete, the others laid over it."""
    paths = [folder / f"{number}.yaml" for number in range(len(texts))]
    for path, text in zip(paths, texts, strict=True):
        path.write_text(text)
    return paths


def refusal(folder: Path, *texts: str) -> str:
    with pytest.raises(PhysEmbedError) as caught:
        check_files(written(folder, *texts))
    message = str(caught.value)
    assert "\n" not in message
    return message.replace(f"{folder}/", "")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("study: a\nseed: 1\nstudy: b\n", "1.yaml: lines 1 and 3: study is listed twice"),
        ("training:\n  epochs: 2\n\n  epochs: 3\n", "1.yaml: lines 2 and 4: training.epochs is listed twice"),
        ("arms:\n  a: {}\n  b: {}\n  a: {}\n", "1.yaml: lines 2 and 4: arms.a is listed twice"),
        ("training: {epochs: 2, 'epochs': 3}\n", "1.yaml: lines 1 and 1: training.epochs is listed twice"),
        ('{\n\t"seed": 1,\n\t"seed": 2\n}', "1.yaml: lines 2 and 3: seed is listed twice"),
        (
            "arms:\n  orignal: null\n",
            "1.yaml: line 2: arms.orignal: null drops a name, but no file before this one defines it",
        ),
        ("arms:\n  original: ~\n  original2:\n", "1.yaml: line 3: arms.original2"),
        ("arms: {}\n", "1.yaml: line 1: arms: {} has no effect"),
        ("a: 1\nmodels: {}\n", "1.yaml: line 2: models: {} has no effect"),
        ("a: [1, 2\nb: 3\n", "1.yaml: line 2, column 2: invalid YAML: expected ',' or ']', but got ':'"),
        (
            "a: 1\n\tb: 2\n",
            "1.yaml: line 2, column 1: invalid YAML: found character '\\t' that cannot start any token",
        ),
    ],
)
def test_refusals_name_file_line_and_key(tmp_path: Path, text: str, expected: str) -> None:
    assert refusal(tmp_path, BASE, text).startswith(expected)


def test_hints(tmp_path: Path) -> None:
    assert refusal(tmp_path, BASE, "arms: {orignal: null}").endswith("did you mean 'original'?")
    assert "arms: {name: null} (known: adaptive, original)" in refusal(tmp_path, BASE, "arms: {}")


def test_nothing_in_a_file_is_constructed(tmp_path: Path) -> None:
    """A tag that would call a function when it is constructed does not."""
    check_files(written(tmp_path, f"a: !!python/object/apply:os.mkdir ['{tmp_path / 'made'}']\n"))
    assert not (tmp_path / "made").exists()


def test_what_is_allowed(tmp_path: Path) -> None:
    for texts in (
        [BASE, "", "study: a\n"],
        ["arms: {}\n"],  # a study of liquids only
        [BASE, "arms: {original: null}\n", "arms: {original: {}}\n", "arms: {original: null}\n"],
        [BASE, "x: {a: 1}\ny: {a: 1}\nz: [{a: 1}, {a: 2}]\n1: a\n'1': b\n"],
        ["base: &b {a: 1}\nc:\n  <<: *b\n  a: 2\n"],
    ):
        check_files(written(tmp_path, *texts))
    # The complete file again, as Snakemake hands it to its jobs, is no overlay.
    path = written(tmp_path, "arms: {}\n")[0]
    check_files([path, tmp_path / "not there.yaml", path])


def test_null_drops_an_arm_as_snakemake_merges(tmp_path: Path) -> None:
    overlay = tmp_path / "overlay.yaml"
    overlay.write_text("arms: {original: null, adaptive: {stretch_A: 0.3}}\nmodels: {MACE-OFF23-S: null}\n")
    paths = [Path("config/config.yaml"), overlay]
    check_files(paths)
    merged: dict[str, object] = {}
    for path in paths:
        update_config(merged, load_configfile(path))
    config = load(merged)
    assert list(config.arms) == ["adaptive"]
    assert config.arms["adaptive"].stretch_A == 0.3
    assert list(config.models) == ["MACE-EC-EMC"]


def test_a_study_of_liquids_alone_needs_no_arm() -> None:
    models = {"mine": {"tune_on": "EMC_298K"}}
    settings = {"arms": {}, "molecules": {"names": []}, "liquids": {"models": ["mine"]}, "models": models}
    assert load(settings).arms == {}
    with pytest.raises(PhysEmbedError, match=r"arms: \{\}: names no training set"):
        load({"arms": {}})
