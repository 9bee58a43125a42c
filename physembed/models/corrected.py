"""The corrected model as one file that is given away: MACE + CSO with its facts and a card.

`corrected_model.pt` is a pickle, which can run any code when it is loaded: load only files that you trust.
`physembed.models.loading` makes models of it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from physembed.cso import get_convention
from physembed.cso.parameters import A2, A3, A4
from physembed.errors import PhysEmbedError
from physembed.files import atomic
from physembed.model_files.file import default_head, load_module, load_pickle
from physembed.models.committee import committee_card
from physembed.models.members import COMMITTEE, CORRECTED
from physembed.provenance import file_hash, package_versions


def write_corrected(
    model_file: str | Path,
    facts_file: str | Path,
    card_file: str | Path,
    *,
    name: str,
    base_model: str | Path,
    description: Mapping[str, Any],
    tuning: Mapping[str, Any],
    target_source: str,
    confirmation: Mapping[str, Any] | None = None,
) -> None:
    """Write the corrected model, its facts as JSON and a card to read.

    Args:
        model_file: where the model goes.
        facts_file: where the facts go.
        card_file: where the card goes, in Markdown.
        name: of the model in the configuration.
        base_model: file of the MACE model that is corrected.
        description: what is known of it (`model.json`); its `source` and `sha256` stand in the card.
        tuning: the row of the tuning table that is taken: alpha, a1, a1_low, a1_high, convention, method, tuned_on,
            target_g_cm3, density_g_cm3, standard_error_g_cm3, status, reason.
        target_source: where the target density was measured.
        confirmation: row of a density table (density_g_cm3, standard_error_g_cm3) of a run with the corrected
            model on the tuning liquid.

    Raises:
        PhysEmbedError: the base model is not the described one or holds no MACE model, the tuning gave no a1 or
            alpha, or its convention is unknown.
    """
    convention = get_convention(str(tuning["convention"]))
    alpha, a1 = (_finite(tuning, key) for key in ("alpha", "a1"))
    sha256 = file_hash(base_model)
    if description.get("sha256", sha256) != sha256:
        raise PhysEmbedError(
            f"corrected model: {base_model}: has SHA-256 {sha256}, its description {description['sha256']}; "
            "describe the model anew"
        )
    module = load_module(base_model, "cpu", "corrected model")
    default_head(module, f"corrected model: {base_model}")
    correction = {"convention": convention.name, "alpha": alpha, "a1": a1, "cutoffs": asdict(convention.cutoffs)}
    facts = {
        "format": CORRECTED,
        "name": name,
        "base_model": {**description, "sha256": sha256},
        "correction": {**correction, "s6": convention.s6, "a2": A2, "a3": A3, "a4": A4},
        "tuning": {**{key: _plain(value) for key, value in tuning.items()}, "target_source": target_source},
        "residual_g_cm3": _difference(tuning, tuning),
        "confirmation": None if confirmation is None else {key: _plain(value) for key, value in confirmation.items()},
        "confirmation_residual_g_cm3": None if confirmation is None else _difference(confirmation, tuning),
        "versions": package_versions(),
    }
    # An open file, because torch would store the name of the (temporary) file otherwise.
    with atomic(model_file) as temporary, temporary.open("wb") as handle:
        torch.save({"format": CORRECTED, "mace": module, **correction, "facts": facts}, handle)
    facts["sha256"] = file_hash(model_file)
    with atomic(facts_file) as temporary:
        temporary.write_text(json.dumps(facts, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    with atomic(card_file) as temporary:
        temporary.write_text(card(facts, Path(model_file).name), encoding="utf-8")


def card(facts: Mapping[str, Any], file_name: str) -> str:
    """The facts of `write_corrected` for a reader, in Markdown.

    Args:
        facts: the content of the JSON file.
        file_name: name of the model's file.
    """
    base, correction, tuning = facts["base_model"], facts["correction"], facts["tuning"]
    cutoffs, versions = correction["cutoffs"], facts["versions"]
    interval = ""
    if tuning.get("a1_low") is not None and tuning.get("a1_high") is not None:
        interval = f" (95 % confidence: {tuning['a1_low']:.4g} to {tuning['a1_high']:.4g})"
    coordination = f", coordination numbers {cutoffs['coordination']:g} Å" if correction["convention"] == "d3" else ""
    rows = {
        "base model": f"{base.get('source') or 'trained by this study'}, SHA-256 `{base['sha256']}`",
        "elements": ", ".join(base.get("elements", [])),
        "correction": "E = E_MACE + alpha E_CSO (Schröder, Creon, Schwabe, J. Chem. Theory Comput. 2015, 11, 3163)",
        "convention": f"{correction['convention']}; alpha and a1 mean nothing without it. To which convention the "
        "embedding paper's a1 (0.6 and 1.07) belong is not known",
        "cutoffs": f"dispersion {cutoffs['dispersion']:g} Å, switched off over {cutoffs['dispersion_width']:g} Å"
        + coordination,
        "alpha": f"{correction['alpha']:g}",
        "a1": f"{correction['a1']:.6g}{interval}",
        "tuned on": f"{tuning['tuned_on']}, method {tuning['method']}, status {tuning['status']}"
        + (f": {tuning['reason']}" if tuning.get("reason") else ""),
        "target": f"{tuning['target_g_cm3']:.4f} g/cm^3 ({facts['tuning']['target_source']})",
        "density at a1": _density(tuning, facts["residual_g_cm3"], "of the fit"),
    }
    if facts["confirmation"] is not None:
        rows["confirming run"] = _density(facts["confirmation"], facts["confirmation_residual_g_cm3"], "of the run")
    rows |= {"file": f"`{file_name}`, SHA-256 `{facts['sha256']}`"}
    rows |= {"made with": ", ".join(f"{name} {version}" for name, version in versions.items())}
    table = "\n".join(f"| {key} | {value} |" for key, value in rows.items())
    return f"""# {facts["name"]}, corrected

| | |
| --- | --- |
{table}

## Loading

The file is a pickle, which can run any code when it is loaded: load it only if you trust where it comes from, and
compare its SHA-256 with the one above.

```python
from physembed import load_ase, load_torchsim

atoms.calc = load_ase("{file_name}")  # energy, forces and stress in ASE
model = load_torchsim("{file_name}")  # for any number of systems in torch-sim
```

## Licence

The file contains the weights of the base model. They stay under the licence of their owner, which also says whether
this file may be passed on; the correction adds no restriction of its own.
"""


def card_of(path: str | Path) -> str:
    """The card of a corrected model or of a committee, from the file of the model alone.

    Raises:
        PhysEmbedError: the file holds neither.
    """
    saved = load_pickle(path, "cpu", "card")
    layout = saved.get("format") if isinstance(saved, dict) else None
    if layout == COMMITTEE:
        return committee_card(path, saved)
    if layout != CORRECTED:
        raise PhysEmbedError(
            f"card: {path}: holds {type(saved).__name__}, neither a corrected model nor a committee; other models have "
            "no card"
        )
    return card({**saved["facts"], "sha256": file_hash(path)}, Path(path).name)


def _finite(row: Mapping[str, Any], key: str) -> float:
    value = float(row[key])
    if not math.isfinite(value):
        raise PhysEmbedError(
            f"corrected model: the tuning on {row['tuned_on']} gave {key} = {value} "
            f"(status {row['status']}: {row['reason']}); scan other points or another alpha"
        )
    return value


def _plain(value: Any) -> Any:
    """A value of a table as JSON has it; a number that is not finite is null."""
    value = value.item() if hasattr(value, "item") else value
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _difference(row: Mapping[str, Any], tuning: Mapping[str, Any]) -> float | None:
    difference = _plain(row["density_g_cm3"] - tuning["target_g_cm3"])
    return None if difference is None else float(difference)


def _density(row: Mapping[str, Any], residual: float | None, whose: str) -> str:
    if residual is None:
        return f"not known ({row['status']}: {row['reason']})"
    error = row.get("standard_error_g_cm3")
    uncertainty = "" if error is None else f" ± {error:.4f}"
    return f"{row['density_g_cm3']:.4f}{uncertainty} g/cm^3 {whose}, {residual:+.4f} from the target"
