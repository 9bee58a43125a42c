"""The built wheel, away from the repository: it is complete, and the README's examples run on it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from email.parser import Parser
from pathlib import Path
from zipfile import ZipFile

import pytest

from physembed import __version__

from .conftest import ROOT, Checkout, copy_repository

UV = Path(sys.executable).with_name("uv")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel of the package; everything that is needed to build it is installed."""
    copy = copy_repository(tmp_path_factory.mktemp("source")).root
    command = [UV, "build", "--quiet", "--wheel", "--no-build-isolation", "--python", sys.executable, "--offline", copy]
    subprocess.run(command, check=True)
    (built,) = (copy / "dist").glob("*.whl")
    return built


def test_wheel_holds_every_file_of_the_package_and_no_other(wheel: Path) -> None:
    with ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if ".dist-info/" not in name}
        (metadata,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        facts = Parser().parsestr(archive.read(metadata).decode())
    tracked = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "physembed"],
        cwd=ROOT, check=True, text=True, capture_output=True,
    ).stdout.split()  # fmt: skip
    assert packed == {name for name in tracked if (ROOT / name).is_file()}
    assert {Path(name).suffix for name in packed} >= {".py", ".typed", ".csv", ".html"}
    assert (facts["Name"], facts["Version"]) == ("physembed", __version__)
    assert any(line.startswith("torch==") for line in facts.get_all("Requires-Dist"))


def test_examples_of_the_readme_run_away_from_the_repository(
    wheel: Path, finished: Checkout, finished_liquids: Checkout, tmp_path: Path
) -> None:
    installed, work = tmp_path / "installed", tmp_path / "work"
    command = [UV, "pip", "install", "--quiet", "--offline", "--no-deps", "--python", sys.executable]
    subprocess.run([*command, "--target", installed, wheel], check=True)
    work.mkdir()
    made = finished.root / "results/minimal/methanol"
    for path in ("topology/topology.prmtop", "topology/topology.inpcrd", "gaff_md/trajectory.xyz"):
        (work / Path(path).name).symlink_to(made / path)
    model = finished_liquids.root / "results/minimal_liquids/models/tiny/corrected/corrected_model.pt"
    calculator, sampling = (
        next(
            block
            for block in re.findall(r"^```python\n(.*?)^```", (ROOT / "README.md").read_text(), re.M | re.S)
            if what in block
        )
        for what in ("load_ase(", "bond_table(")
    )
    calculator = re.sub(r'load_ase\("[^"]+"\)', f"load_ase({str(model)!r})", calculator)
    script = (
        "import physembed\n"
        f"assert physembed.__file__.startswith({str(installed)!r}), physembed.__file__\n"
        f"{sampling.replace('::100', '::10')}\n"
        "atoms = frames[0]\n"
        f"{calculator}\n"
        "print(atoms.get_potential_energy())\n"
    )
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=work, env=environment | {"PYTHONPATH": str(installed)},
        text=True, capture_output=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert float(done.stdout.split()[-1]) < 0
    assert "REF_energy" not in (work / "train.xyz").read_text()
    assert "modifications" in (work / "train.xyz").read_text()
