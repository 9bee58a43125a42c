"""The profiles against the rules."""

import re
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]


def rules():
    """Each rule of the workflow and its text."""
    text = "".join(file.read_text() for file in (ROOT / "workflow/rules").glob("*.smk"))
    return dict(block.split(":", 1) for block in re.split(r"^rule ", text, flags=re.MULTILINE)[1:])


def test_on_this_machine_jobs_take_turns_on_its_gpu():
    profile = yaml.safe_load((ROOT / "profiles/default/profile.v9+.yaml").read_text())
    assert profile["resources"] == {"gpu_percent": 100}
    for rule, text in rules().items():
        assert (" gpu=" in text) == (" gpu_percent=" in text), rule


def test_the_slurm_profile_names_every_rule_that_uses_a_gpu():
    text = (ROOT / "profiles/slurm/profile.v9+.yaml").read_text()
    profile = yaml.safe_load(re.sub(r"^# (?=set-resources:|  )", "", text, flags=re.MULTILINE))
    assert profile["set-resources"]["npt"] == {"gpu_model": "h100"}
    using = {rule for rule, text in rules().items() if " gpu=" in text}
    assert profile["set-resources"].keys() == using
    assert "training" in using
