"""The frame of a workflow script: its log, its one-line errors and the record of where its result came from."""

from __future__ import annotations

import logging
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from physembed.errors import PhysEmbedError
from physembed.provenance import write_provenance


@contextmanager
def stage(job: Any) -> Iterator[logging.Logger]:
    """Run the body of a workflow script.

    `job` is the object that Snakemake hands to a script; used are `rule`, `log`, `input`, `params` and
    `output.provenance`. Log lines go to the rule's log file. A `PhysEmbedError` ends the process with its
    message as one line on standard error and exit code 1; any other exception goes to the log in full.
    """
    handler = logging.FileHandler(job.log[0], mode="a")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname).1s %(message)s", "%H:%M:%S"))
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    logging.captureWarnings(True)
    warnings.filterwarnings("ignore", message=".*TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD.*")
    log = logging.getLogger("physembed")
    began = time.monotonic()
    try:
        yield log
    except PhysEmbedError as error:
        log.error("%s", error)
        sys.exit(f"{job.rule}: {error}")
    except Exception:
        log.exception("%s failed", job.rule)
        sys.exit(f"{job.rule}: unexpected failure, see {job.log[0]}")
    write_provenance(
        job.output.provenance,
        stage=job.rule,
        settings=job.params.settings,
        inputs=list(job.input),
        code=job.params.code,
        seconds=time.monotonic() - began,
    )
