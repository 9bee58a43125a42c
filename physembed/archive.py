"""The archive of a finished study, for publication: results, their sources, and how to reproduce and cite them.

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
"""Trajectories are files of these names, and everything in these folders."""
TRAJECTORY_MB = 20.0
"""Larger trajectories are left out by default."""
CITATION = Path("CITATION.cff")
CODE = "code_version"
UNKNOWN = "a version that was not recorded"
TABLES = (("molecules", "table"), ("liquids", "table"), ("liquids", "experiment"))
"""Keys of the configuration that name a table."""
README = """\
# Results of the study {name}

Made with PhysEmbed, a Snakemake workflow. Start with `results/summary.html`.

- `results/`: the results, each with a provenance file that lists its settings, seeds, versions and hashes
- `config.yaml`: the complete configuration
- `tables/`: the tables that it names, each under its key; files named by these tables are not included, but the
  provenance files contain their hashes
- `versions.json`: package versions
- `MANIFEST.csv`: every file of the study with its size and SHA-256, and why some are not included

## Left out

{left_out}

## Code

{codes}
{notes}
## How to reproduce

Check out PhysEmbed at {code}. Put the tables where `config.yaml` names them and
`config.yaml` itself to `config/{name}.yaml`, then run

```
make install
.venv/bin/snakemake --cores all --configfile config/{name}.yaml
```

## How to cite

Cite this archive by its own identifier, the software by `CITATION.cff`, and the method by the reference there.
"""


@dataclass(frozen=True)
class Entry:
    """A file of the study and whether it is included in the archive."""

    path: Path
    """Relative to the study's folder."""
    size: int
    """Bytes."""
    sha256: str
    reason: str
    """Why it is left out; empty if it is included."""


@dataclass(frozen=True)
class Record:
    """A provenance file and its content."""

    path: Path
    content: dict[str, Any]


def entries(study: Path, *, trajectory_mb: float = TRAJECTORY_MB, logs: bool = True) -> list[Entry]:
    """Every file of a study, sorted by path.

    Args:
        study: its folder, `results/<study>`.
        trajectory_mb: larger trajectories are left out.
        logs: include the logs of the jobs.
    """
    found = []
    for path in sorted(study.rglob("*")):
        if path.is_file():
            relative, size = path.relative_to(study), path.stat().st_size
            reason = _left_out(relative, size, trajectory_mb, logs)
            found.append(Entry(relative, size, file_hash(path), reason))
    return found


def _left_out(path: Path, size: int, trajectory_mb: float, logs: bool) -> str:
    """Why a file is left out, or an empty string."""
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
    """All provenance files of a study, with that of the study itself first.

    Raises:
        PhysEmbedError: the study is not finished, or a result was changed or removed after others were made from it;
            one line that names it.
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
    """Yield inconsistencies between results and the inputs recorded by others."""
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
    """Path of an input if it is a result of this study; inputs are named relative to the folder of `results`."""
    parts = Path(name).parts
    return study.joinpath(*parts[2:]) if parts[:2] == ("results", study.name) else None


def pack(study: str | Path, target: str | Path, *, trajectory_mb: float = TRAJECTORY_MB, logs: bool = True) -> str:
    """Pack a finished study into a tar.gz file and return a one-sentence summary.

    In addition to the results the archive contains README.md, MANIFEST.csv, config.yaml (the complete configuration),
    the tables that it names, versions.json and CITATION.cff. The working directory must be that of the workflow.

    Args:
        study: its folder, `results/<study>`.
        target: the archive.
        trajectory_mb: larger trajectories are left out; the manifest lists their size and hash.
        logs: include the logs of the jobs.

    Raises:
        PhysEmbedError: the study is not complete, or a file that belongs in the archive is missing.
    """
    folder = Path(study).resolve()
    found = records(folder)
    if Path(target).resolve().is_relative_to(folder):
        raise PhysEmbedError(f"archive: {target}: is inside the study itself; choose another location")
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
        # Neither the name nor the time of packing is written to the header.
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
    """The tables named by the configuration, by key; those of liquids only if the study has any."""
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
    """README.md: contents of the archive, how to reproduce the results, how to cite them."""
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
    """Why the results do not come from a single published version, one sentence per reason."""
    notes = []
    if len(codes) > 1:
        notes.append(
            f"The results come from {len(codes)} versions: results not affected by later changes were not recomputed."
        )
    if dirty := sum(count for version, count in codes.items() if version.endswith("-dirty")):
        notes.append(
            f"{dirty} results come from a checkout with uncommitted changes (`-dirty`), which cannot be checked out."
        )
    if unknown := codes[UNKNOWN]:
        notes.append(f"{unknown} results do not record the version that made them.")
    return notes


def _summary(target: str | Path, everything: list[Entry]) -> str:
    kept = [entry for entry in everything if not entry.reason]
    size = Path(target).stat().st_size / 1e6
    return f"{target}: {len(kept)} of {len(everything)} files, {size:.1f} MB; its MANIFEST.csv lists all of them"


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
