"""The archive of a finished study, for publication: results, what they came from, and how to make and cite them.

`MANIFEST.csv` in the archive has one row per file of the study: path, bytes, sha256, kept (yes or no), reason.
The same study packed twice with the same version gives the same bytes.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import io
import json
import logging
import sys
import tarfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from physembed.errors import PhysEmbedError
from physembed.files import atomic
from physembed.provenance import file_hash

log = logging.getLogger(__name__)

TRAJECTORY_NAMES = {"trajectory.xyz", "pressure.npz"}
TRAJECTORY_FOLDERS = {"trajectories"}
"""What counts as a trajectory: files of these names, and everything in these folders."""
TRAJECTORY_MB = 20.0
"""Trajectories above this are left out unless another size is given."""
CITATION = Path("CITATION.cff")
CODE = "code_version"
UNKNOWN = "a version that was not recorded"
TABLES = (("molecules", "table"), ("liquids", "table"), ("liquids", "experiment"))
"""Keys of the configuration that name a table."""
README = """\
# Results of the study {name}

Made with PhysEmbed, a Snakemake workflow. `results/summary.html` is the place to begin.

- `results/`: the results; beside each lies a provenance file with its settings, seeds, versions and hashes
- `config.yaml`: the complete configuration
- `tables/`: the tables that it names, each under its key; files that these name are not here, but the provenance
  files have their hashes
- `versions.json`: versions of the packages
- `MANIFEST.csv`: every file of the study with its size and SHA-256, and why some are not here

## Left out

{left_out}

## Code

{codes}
{notes}
## To make them again

Check out PhysEmbed at {code}. Put the tables where `config.yaml` names them and
`config.yaml` itself to `config/{name}.yaml`, then run

```
make install
.venv/bin/snakemake --cores all --configfile config/{name}.yaml
```

## To cite

Cite this archive by its own identifier, the software by `CITATION.cff`, and the method by the reference there.
"""


@dataclass(frozen=True)
class Entry:
    """A file of the study and whether it goes into the archive."""

    path: Path
    """Relative to the study's folder."""
    size: int
    """Bytes."""
    sha256: str
    reason: str
    """Why it is left out; empty if it is kept."""


@dataclass(frozen=True)
class Record:
    """A provenance file and what it says."""

    path: Path
    content: dict[str, Any]


def entries(study: Path, *, trajectory_mb: float = TRAJECTORY_MB, logs: bool = True) -> list[Entry]:
    """Every file of a study, in the order of paths.

    Args:
        study: its folder, `results/<study>`.
        trajectory_mb: larger trajectories are left out.
        logs: keep the logs of the jobs.
    """
    found = []
    for path in sorted(study.rglob("*")):
        if path.is_file():
            relative, size = path.relative_to(study), path.stat().st_size
            reason = _left_out(relative, size, trajectory_mb, logs)
            found.append(Entry(relative, size, file_hash(path), reason))
    return found


def _left_out(path: Path, size: int, trajectory_mb: float, logs: bool) -> str:
    """Why a file is left out, or nothing."""
    if path.parts[0] == "restart":
        return "restart file"
    if path.name.startswith("."):
        return "temporary file"
    if "logs" in path.parts[:-1] and not logs:
        return "log"
    trajectory = path.name in TRAJECTORY_NAMES or TRAJECTORY_FOLDERS & set(path.parts[:-1])
    if trajectory and size > trajectory_mb * 1e6:
        return f"trajectory above {trajectory_mb:g} MB"
    return ""


def records(study: Path) -> list[Record]:
    """All provenance files of a study, that of the study itself first.

    Raises:
        PhysEmbedError: the study is not finished, or a result was changed or lost after others were made from it; one
            line that says which.
    """
    own = study / "provenance.json"
    if not study.is_dir():
        raise PhysEmbedError(f"archive: {study}: no such folder; give the results of a study, results/<study>")
    if not own.is_file():
        raise PhysEmbedError(f"archive: {study}: not finished: provenance.json is missing; run the workflow to its end")
    paths = [own, *(path for path in sorted(study.rglob("*provenance.json")) if path != own)]
    paths = [path for path in paths if path.relative_to(study).parts[0] != "restart"]
    found = [Record(path, json.loads(path.read_text())) for path in paths]
    for problem in _problems(study, found):
        raise PhysEmbedError(f"archive: {problem}; run the workflow again")
    return found


def _problems(study: Path, found: list[Record]) -> Iterator[str]:
    """What keeps the results from being the outcome of one chain."""
    now: dict[str, str] = {}
    for record in found:
        for name, sha256 in record.content["inputs_sha256"].items():
            path = _of_study(study, name)
            if path is None:
                continue
            if not path.is_file():
                yield f"{path}: is missing, but {record.path.parent} was made from it"
                continue
            if now.setdefault(name, file_hash(path)) != sha256:
                yield f"{path}: is not what {record.path.parent} was made from"


def _of_study(study: Path, name: str) -> Path | None:
    """An input's path, if it is a result of this study; inputs are named from the folder that holds `results`."""
    parts = Path(name).parts
    return study.joinpath(*parts[2:]) if parts[:2] == ("results", study.name) else None


def pack(study: str | Path, target: str | Path, *, trajectory_mb: float = TRAJECTORY_MB, logs: bool = True) -> str:
    """Pack a finished study into a tar.gz file and return what was done, in a sentence.

    Beside the results the archive holds README.md, MANIFEST.csv, config.yaml (the complete configuration), the tables
    that it names, versions.json and CITATION.cff. The working directory is that of the workflow.

    Args:
        study: its folder, `results/<study>`.
        target: the archive.
        trajectory_mb: larger trajectories are left out; the manifest has their size and hash.
        logs: keep the logs of the jobs.

    Raises:
        PhysEmbedError: the study is not complete, or a file that belongs into the archive is missing.
    """
    folder = Path(study).resolve()
    found = records(folder)
    if Path(target).resolve().is_relative_to(folder):
        raise PhysEmbedError(f"archive: {target}: lies in the study itself; put it elsewhere")
    for note in code_notes(code_versions(found)):
        log.warning("%s", note)
    everything = entries(folder, trajectory_mb=trajectory_mb, logs=logs)
    config = found[0].content["settings"]["config"]
    added = {
        "README.md": readme(folder.name, found, everything).encode(),
        "MANIFEST.csv": manifest(everything).encode(),
        "config.yaml": yaml.safe_dump(config, sort_keys=False, allow_unicode=True).encode(),
        "versions.json": (json.dumps(found[0].content["versions"], indent=1) + "\n").encode(),
        "CITATION.cff": _content(CITATION),
    }
    added |= {f"tables/{name}{path.suffix}": _content(path) for name, path in _tables(config).items()}
    with (
        atomic(target) as temporary,
        temporary.open("wb") as file,
        # Neither the name nor the time of packing goes into the header.
        gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=0) as zipped,
        tarfile.open(fileobj=zipped, mode="w", format=tarfile.PAX_FORMAT) as archive,
    ):
        for name, content in added.items():
            archive.addfile(_header(f"{folder.name}/{name}", len(content)), io.BytesIO(content))
        for entry in everything:
            if not entry.reason:
                with (folder / entry.path).open("rb") as source:
                    archive.addfile(_header(f"{folder.name}/results/{entry.path.as_posix()}", entry.size), source)
    return _summary(target, everything)


def _header(name: str, size: int) -> tarfile.TarInfo:
    """A file's header without owner, time or mode of this machine."""
    header = tarfile.TarInfo(name)
    header.size, header.mode = size, 0o644
    return header


def _content(path: Path) -> bytes:
    if not path.is_file():
        raise PhysEmbedError(f"archive: {path}: no such file; pack from the folder of the workflow")
    return path.read_bytes()


def _tables(config: dict[str, Any]) -> dict[str, Path]:
    """The tables that the configuration names, by their key; those of liquids only if the study has any."""
    wanted = [pair for pair in TABLES if pair[0] != "liquids" or config.get("liquids", {}).get("models")]
    return {f"{section}_{key}": Path(config[section][key]) for section, key in wanted}


def manifest(everything: list[Entry]) -> str:
    """MANIFEST.csv; paths are relative to `results/` in the archive."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("path", "bytes", "sha256", "kept", "reason"))
    for entry in everything:
        writer.writerow(
            (entry.path.as_posix(), entry.size, entry.sha256, "no" if entry.reason else "yes", entry.reason)
        )
    return text.getvalue()


def readme(name: str, found: list[Record], everything: list[Entry]) -> str:
    """README.md: what the archive holds, how to make the results again, how to cite them."""
    codes = code_versions(found)
    return README.format(
        name=name,
        left_out="\n".join(_left_out_lines(everything)),
        codes="\n".join(f"- {version}: {count} results" for version, count in sorted(codes.items())),
        notes="".join(f"\n{note}\n" for note in code_notes(codes)),
        code=found[0].content.get(CODE, UNKNOWN),
    )


def _left_out_lines(everything: list[Entry]) -> list[str]:
    counts = Counter(entry.reason for entry in everything if entry.reason)
    sizes = {reason: sum(entry.size for entry in everything if entry.reason == reason) for reason in counts}
    return [f"- {reason}: {counts[reason]} files, {sizes[reason] / 1e6:.1f} MB" for reason in sorted(counts)] or [
        "Nothing."
    ]


def code_versions(found: list[Record]) -> Counter[str]:
    """Number of results by the version of the code that made them."""
    return Counter(record.content.get(CODE, UNKNOWN) for record in found)


def code_notes(codes: Counter[str]) -> list[str]:
    """What keeps the results from being those of one published version, a sentence each."""
    notes = []
    if len(codes) > 1:
        notes.append(
            f"The results come from {len(codes)} versions: those that no later change touched were not redone."
        )
    if dirty := sum(count for version, count in codes.items() if version.endswith("-dirty")):
        notes.append(
            f"{dirty} results come from a checkout with changes in no commit (`-dirty`): none can check it out."
        )
    if unknown := codes[UNKNOWN]:
        notes.append(f"{unknown} results do not say which version made them.")
    return notes


def _summary(target: str | Path, everything: list[Entry]) -> str:
    kept = [entry for entry in everything if not entry.reason]
    size = Path(target).stat().st_size / 1e6
    return f"{target}: {len(kept)} of {len(everything)} files, {size:.1f} MB; MANIFEST.csv in it lists them all"


def main() -> None:
    """Pack a study from the command line."""
    parser = argparse.ArgumentParser(prog="python -m physembed.archive", description="Pack a finished study.")
    parser.add_argument("study", type=Path, help="its folder, results/<study>")
    parser.add_argument("--target", type=Path, help="the archive (default: results/<study>.tar.gz)")
    parser.add_argument("--trajectory-mb", type=float, default=TRAJECTORY_MB, help="leave out larger trajectories")
    parser.add_argument("--no-logs", action="store_true", help="leave out the logs of the jobs")
    arguments = parser.parse_args()
    folder = arguments.study.resolve()
    target = arguments.target or arguments.study.parent / f"{folder.name}.tar.gz"
    try:
        print(pack(folder, target, trajectory_mb=arguments.trajectory_mb, logs=not arguments.no_logs))
    except PhysEmbedError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
