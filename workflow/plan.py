"""Print what a study would cost before anything runs: `python workflow/plan.py [config/x.yaml]` (docs/plan.md).

The jobs and the reasons are those of Snakemake's own dry run, taken from the events that it sends to logger plugins.
"""

from __future__ import annotations

import argparse
import logging
import os
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from snakemake.cli import main as snakemake  # noqa: E402
from snakemake.common.configfile import load_configfile  # noqa: E402
from snakemake.utils import update_config  # noqa: E402
from snakemake_interface_logger_plugins.base import LogHandlerBase  # noqa: E402
from snakemake_interface_logger_plugins.common import LogEvent  # noqa: E402
from snakemake_interface_logger_plugins.registry import LoggerPluginRegistry  # noqa: E402

from physembed.config.files import check_files  # noqa: E402
from physembed.errors import PhysEmbedError  # noqa: E402
from physembed.plan.history import RuleFiles, measurements  # noqa: E402
from physembed.plan.liquid_costs import COSTS  # noqa: E402
from physembed.plan.plan import PlannedJob, as_text, make_plan  # noqa: E402
from physembed.plan.sizes import sizes_of  # noqa: E402
from physembed.study import Study, load_study  # noqa: E402

JOBS: dict[int, PlannedJob] = {}
"""The jobs of the dry run by Snakemake's number; it may speak of one twice."""


class LogHandler(LogHandlerBase):
    """Keeps the jobs of a dry run, and passes on nothing but warnings and errors."""

    writes_to_stream = True
    writes_to_file = False
    has_filter = True
    has_formatter = True
    needs_rulegraph = False

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a job, or print what went wrong."""
        if getattr(record, "event", None) == LogEvent.JOB_INFO:
            job = record.__dict__
            resources = dict(job["resources"].items())
            JOBS[job["jobid"]] = PlannedJob(
                rule=job["rule_name"],
                wildcards=dict(job["wildcards"]),
                reason=job["reason"],
                threads=job["threads"],
                mem_mb=int(resources.get("mem_mb", 0)),
                gpu=int(resources.get("gpu", 0)) > 0,
                inputs=tuple(job["input"]),
                outputs=tuple(job["output"]),
            )
        elif record.levelno >= logging.WARNING:
            print(record.getMessage(), file=sys.stderr)


def planned_jobs(overlays: list[str]) -> list[PlannedJob]:
    """The jobs that Snakemake would run with these files laid over config/config.yaml; `all` makes nothing itself."""
    LoggerPluginRegistry().register_plugin("snakemake_logger_plugin_plan", sys.modules[__name__])
    files = ["--configfile", *overlays] if overlays else []
    try:
        snakemake(["--dry-run", "--nolock", "--logger", "plan", *files])
    except SystemExit as end:
        if end.code:
            raise
    return [job for job in JOBS.values() if job.rule != "all"]


def checked_study(overlays: list[str]) -> Study:
    """The study as the Snakefile sees it."""
    config: dict[str, object] = {}
    for path in ["config/config.yaml", *overlays]:
        update_config(config, load_configfile(path))
    return load_study(config)


def rule_files() -> dict[str, RuleFiles]:
    """Benchmark and provenance of each rule, with wildcards, from the rules as snakefmt lays them out."""
    found = {}
    for file in sorted((ROOT / "workflow/rules").glob("*.smk")):
        for name, body in re.findall(r"^rule (\w+):\n(.*?)(?=^\S|\Z)", file.read_text(), re.MULTILINE | re.DOTALL):
            benchmark = re.search(r'^    benchmark:\n        "([^"]+)"', body, re.MULTILINE)
            provenance = re.search(r'^        provenance="([^"]+)"', body, re.MULTILINE)
            if benchmark and provenance:
                found[name] = RuleFiles(benchmark.group(1), provenance.group(1))
    return found


def main() -> None:
    """Plan and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", nargs="*", help="files laid over config/config.yaml, as for --configfile")
    overlays = [str(Path(path).resolve()) for path in parser.parse_args().config]
    os.chdir(ROOT)
    try:
        check_files(["config/config.yaml", *overlays])
    except PhysEmbedError as error:
        sys.exit(str(error))
    jobs = planned_jobs(overlays)
    try:
        study = checked_study(overlays)
    except PhysEmbedError as error:
        sys.exit(str(error))
    sizes = sizes_of(study)
    measured = measurements(ROOT, rule_files(), study, sizes, COSTS)
    print(f"Plan of the study {study.config.study} (nothing is run)\n")
    print(as_text(make_plan(jobs, study, sizes, COSTS, measured)))


if __name__ == "__main__":
    main()
