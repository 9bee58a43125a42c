"""The profiles against the rules."""

import re
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]


def test_the_slurm_profile_names_every_rule_that_uses_a_gpu():
    text = (ROOT / "profiles/slurm/profile.v9+.yaml").read_text()
    profile = yaml.safe_load(re.sub(r"^# (?=set-resources:|  )", "", text, flags=re.MULTILINE))
    assert profile["set-resources"]["npt"] == {"gpu_model": "h100"}
    rules = "".join(file.read_text() for file in (ROOT / "workflow/rules").glob("*.smk"))
    using = {block.split(":")[0] for block in re.split(r"^rule ", rules, flags=re.MULTILINE)[1:] if " gpu=" in block}
    assert profile["set-resources"].keys() == using
    assert "training" in using
