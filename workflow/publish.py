"""Write the results of a finished study as a page for docs/results: `python workflow/publish.py config/x.yaml ...`."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from physembed import stages  # noqa: E402
from physembed.errors import PhysEmbedError  # noqa: E402
from physembed.report.collected import model_summaries, molecules_part  # noqa: E402
from physembed.report.published import cpu_times, publish  # noqa: E402
from physembed.stages.inputs import of_summary  # noqa: E402
from workflow.overlays import checked_study  # noqa: E402


def main() -> None:
    """Collect and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("configs", nargs="+", help="the files laid over config/config.yaml, in this order")
    parser.add_argument("--folder", default="docs/results", help="where the page goes (default: docs/results)")
    arguments = parser.parse_args()
    configs, folder = [os.path.relpath(path, ROOT) for path in arguments.configs], Path(arguments.folder).resolve()
    given = " ".join(configs)
    os.chdir(ROOT)
    try:
        study = checked_study(configs)
        name = study.config.study
        results = Path("results") / name
        if not (results / "provenance.json").is_file():
            raise PhysEmbedError(f"{results}/summary.html is missing; run `snakemake --configfile {given}` first")
        settings, source = stages.summary(study), of_summary(study)
        publish(
            folder / f"{name}.md",
            molecules_part(source, settings["molecules"], settings["config"]),
            model_summaries(source, settings["models"], settings["liquids"]),
            sorted((results / "tables").glob("*.csv")),
            study=name,
            commands=[
                f".venv/bin/snakemake --cores all --configfile {given}",
                f"make results CONFIG={shlex.quote(given)}",
            ],
            versions=json.loads((results / "provenance.json").read_text("utf-8"))["versions"],
            times=cpu_times(results, [path.stem for path in Path("workflow/scripts").glob("*.py")]),
        )
    except PhysEmbedError as error:
        sys.exit(str(error))
    print(f"{folder / name}.md")


if __name__ == "__main__":
    main()
