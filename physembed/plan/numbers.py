"""The costs used by a plan: time per unit of work, measured by trials and stored in a file of the study."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from physembed.files import atomic
from physembed.provenance import ROOT, code_hash, settings_hash
from physembed.restart import lasting
from physembed.study import Study

FILE = "calibration.json"
"""Name of the file, in the folder of the study's results."""
SCRIPTS = {
    "label": "labels",
    "batch": "training",
    "step": "stability",
    "gaff_step": "gaff_npt",
    "liquid_label": "reference_labels",
    "liquid_batch": "liquid_training",
    "liquid_step": "npt",
}
"""The script whose code each trial represents."""


@dataclass(frozen=True)
class Point:
    """Cost of a unit of work for a system."""

    atoms: int
    seconds: float
    """Seconds of a core, or of a GPU."""
    gpu: bool


def seconds_at(points: Sequence[Point], atoms: int) -> float:
    """Cost of a unit for a system with this number of atoms: a power law through two points.

    With one point it is proportional to the number of atoms.
    """
    first, last = points[0], points[-1]
    power = 1.0
    if last.atoms != first.atoms and first.seconds > 0 and last.seconds > 0:
        power = math.log(last.seconds / first.seconds) / math.log(last.atoms / first.atoms)
    nearest = min(points, key=lambda point: abs(math.log(atoms / point.atoms)))
    return nearest.seconds * (atoms / nearest.atoms) ** power


def key(study: Study, trial: str, model: str) -> str:
    """Hash of what a cost depends on: the systems, the settings without lengths, and the code of the stage."""
    config = study.config.model_dump(mode="json")
    for section in ("training", "stability", "labels", "npt", "gaff_npt"):
        config[section].pop("seeds", None)
        for length in ("epochs", "duration_ps"):
            config[section].pop(length, None)
    systems: dict[str, Any] = {"molecules": [asdict(spec) for spec in study.molecules]}
    used: dict[str, Any] = {
        "label": [config["labels"]],
        "batch": [config["training"]],
        "step": [config["training"], config["stability"], config["frames"]["starts"]],
        "gaff_step": [config["gaff_npt"]],
    }
    if trial not in ("label", "batch", "step"):
        systems = {"liquids": [asdict(spec) for spec in study.liquids.values()]}
    if model:
        settings = study.model(model).settings.model_dump(mode="json")
        settings["training"].pop("epochs")
        used[trial] = [lasting({"model": settings}), config["labels"], config["npt"]]
    script = ROOT.parent / "workflow/scripts" / f"{SCRIPTS[trial]}.py"
    return f"{trial} {model} {settings_hash([systems, lasting({'of': used[trial]}), code_hash(script)])}"


def read(path: Path) -> dict[str, list[Point]]:
    """Read the costs from a file; empty if it does not exist."""
    if not path.is_file():
        return {}
    return {name: [Point(**point) for point in points] for name, points in json.loads(path.read_text()).items()}


def write(path: Path, numbers: dict[str, list[Point]]) -> None:
    """Write the costs to a file."""
    with atomic(path) as temporary:
        temporary.write_text(
            json.dumps({name: [asdict(p) for p in points] for name, points in numbers.items()}, indent=1)
        )
