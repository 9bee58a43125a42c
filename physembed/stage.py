"""The context of a workflow script: its log, its one-line errors and the provenance of its results."""

from __future__ import annotations

import logging
import os
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn, TextIO

from physembed.engine.cards import take_card
from physembed.errors import PhysEmbedError
from physembed.files import is_full, no_space
from physembed.process import keep_memory, leave_out_warp, postpone_dynamo, sleep_while_waiting
from physembed.provenance import write_provenance


@contextmanager
def stage(job: Any) -> Iterator[logging.Logger]:
    """Run the body of a workflow script.

    `job` is the object that Snakemake passes to a script; used are `rule`, `log`, `input`, `params`, `resources` and
    `output.provenance`. Log lines go to the rule's log file. A `PhysEmbedError` ends the process with its
    message as one line on standard error and exit code 1; any other exception is logged in full. Plain values that a
    script stores by name in `job.found` are written to the provenance record.

    Scripts import torch in the body, so that the process settings apply to it.
    """
    keep_memory()
    sleep_while_waiting()
    leave_out_warp()
    postpone_dynamo()
    console = os.fdopen(os.dup(sys.stderr.fileno()), "w")
    # Compiled libraries print to the file descriptors directly; redirect this to the log.
    with open(job.log[0], "a") as file:  # noqa: PTH123
        sys.stdout.flush()
        sys.stderr.flush()
        os.dup2(file.fileno(), sys.stdout.fileno())
        os.dup2(file.fileno(), sys.stderr.fileno())
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname).1s %(message)s", "%H:%M:%S"))
    handler.setLevel(logging.INFO)
    warn = logging.StreamHandler(console)
    warn.setLevel(logging.WARNING)
    warn.setFormatter(logging.Formatter(f"{job.rule}: %(message)s"))
    warn.addFilter(lambda record: record.name.startswith("physembed") and record.exc_info is None)
    logging.basicConfig(level=logging.INFO, handlers=[handler, warn], force=True)
    logging.captureWarnings(True)
    warnings.filterwarnings("ignore", message=".*TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD.*")
    log = logging.getLogger("physembed")
    began = time.monotonic()
    if job.resources.get("gpu") and (card := take_card()):
        log.info("uses GPU %s", card)
    try:
        yield log
    except PhysEmbedError as error:
        log.info("failed: %s", error)
        _exit(console, f"{job.rule}: {error}")
    except Exception as error:
        log.exception("%s failed", job.rule)
        if is_full(folder := Path(job.log[0]).parent, error):
            _exit(console, f"{job.rule}: {no_space(folder)}")
        last = f"{type(error).__name__}: {error}".splitlines()[0]
        _exit(console, f"{job.rule}: unexpected failure ({last}); the log {job.log[0]} has the traceback")
    write_provenance(
        job.output.provenance,
        stage=job.rule,
        settings=job.params.settings,
        inputs=list(job.input),
        code=job.params.code,
        seconds=time.monotonic() - began,
        found=getattr(job, "found", {}),
    )


def _exit(console: TextIO, message: str) -> NoReturn:
    print(message, file=console, flush=True)
    sys.stdout.flush()
    # Not sys.exit: its SystemExit would pass through Snakemake's wrapper, which adds its own traceback.
    os._exit(1)
