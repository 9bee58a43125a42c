"""Print what a study would cost before anything runs: `python workflow/plan.py [config/x.yaml]` (docs/how-to/plan.md).

The jobs and the reasons are those of Snakemake's own dry run, taken from the events that it sends to logger plugins.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
# Trials count the seconds of one core; idle threads would be counted too.
os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = "1"

from snakemake.cli import main as snakemake  # noqa: E402
from snakemake_interface_logger_plugins.base import LogHandlerBase  # noqa: E402
from snakemake_interface_logger_plugins.common import LogEvent  # noqa: E402
from snakemake_interface_logger_plugins.registry import LoggerPluginRegistry  # noqa: E402

from physembed.config.files import check_files  # noqa: E402
from physembed.errors import PhysEmbedError  # noqa: E402
from physembed.plan.numbers import FILE, read, write  # noqa: E402
from physembed.plan.plan import PlannedJob, as_text, make_plan, trials_of  # noqa: E402
from physembed.plan.sizes import Sizes, sizes_of  # noqa: E402
from physembed.plan.trials import Trials  # noqa: E402
from physembed.study import Study  # noqa: E402
from workflow.overlays import BASE, checked_study  # noqa: E402

JOBS: dict[int, PlannedJob] = {}
"""The jobs of the dry run by Snakemake's job number; it may report one twice."""


class LogHandler(LogHandlerBase):
    """Collects the jobs of a dry run, and passes on only warnings and errors."""

    writes_to_stream = True
    writes_to_file = False
    has_filter = True
    has_formatter = True
    needs_rulegraph = False

    def emit(self, record: logging.LogRecord) -> None:
        """Collect a job, or print an error."""
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
    """The jobs that Snakemake would run with these overlays of config/config.yaml, without `all`."""
    LoggerPluginRegistry().register_plugin("snakemake_logger_plugin_plan", sys.modules[__name__])
    files = ["--configfile", *overlays] if overlays else []
    try:
        snakemake(["--dry-run", "--nolock", "--logger", "plan", *files])
    except SystemExit as end:
        if end.code:
            raise
    return [job for job in JOBS.values() if job.rule != "all"]


def calibrate(path: Path, jobs: list[PlannedJob], study: Study, sizes: Sizes) -> None:
    """Run the trials that the jobs need and that have not been run yet, and store the results."""
    known = read(path)
    missing = {name: of for name, of in trials_of(jobs, study, sizes).items() if name not in known}
    with tempfile.TemporaryDirectory(prefix="physembed-trials-") as folder:
        trials = Trials(study, Path(folder))
        for done, (name, (trial, model)) in enumerate(missing.items(), start=1):
            print(f"Trial {done} of {len(missing)}: {trial} {model}".rstrip(), flush=True)
            known[name] = trials.measure(trial, model)
            write(path, known)


def main() -> None:
    """Plan and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", nargs="*", help="overlays of config/config.yaml, as for --configfile")
    parser.add_argument("--calibrate", action="store_true", help="first run short trials on this machine (minutes)")
    arguments = parser.parse_args()
    overlays = [str(Path(path).resolve()) for path in arguments.config]
    os.chdir(ROOT)
    try:
        check_files([BASE, *overlays])
    except PhysEmbedError as error:
        sys.exit(str(error))
    jobs = planned_jobs(overlays)
    try:
        study = checked_study(overlays)
        sizes = sizes_of(study)
        path = ROOT / "results" / study.config.study / FILE
        if arguments.calibrate:
            calibrate(path, jobs, study, sizes)
    except PhysEmbedError as error:
        sys.exit(str(error))
    print(f"Plan of the study {study.config.study} (nothing is run)\n")
    print(as_text(make_plan(jobs, study, sizes, read(path))))


if __name__ == "__main__":
    main()
