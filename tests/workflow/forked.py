"""Snakemake with its imports done: each call runs in a fork of one process, and saves the time that they take.

As a script this is that process. It reads a call as a line of JSON, and answers with the exit code.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path


@cache
def _server() -> subprocess.Popen[str]:
    """The process of this test session; it ends when its standard input does."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    # No thread but the main one, because a fork has no other: not that of PyArrow's memory pool either.
    environment["JE_ARROW_MALLOC_CONF"] = "background_thread:false"
    command = [sys.executable, __file__]
    return subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def snakemake(
    arguments: Sequence[str], folder: Path, environment: Mapping[str, str]
) -> subprocess.CompletedProcess[str]:
    """What `python -m snakemake ARGUMENTS` does in a folder, with this environment."""
    server = _server()
    assert server.stdin and server.stdout
    with tempfile.TemporaryDirectory() as outputs:
        files = [f"{outputs}/{name}" for name in ("stdout", "stderr")]
        call = {"arguments": list(arguments), "folder": str(folder), "environment": dict(environment), "files": files}
        print(json.dumps(call), file=server.stdin, flush=True)
        code = int(server.stdout.readline())
        stdout, stderr = (Path(file).read_text() for file in files)
    return subprocess.CompletedProcess(["snakemake", *arguments], code, stdout, stderr)


def _serve() -> None:
    from snakemake.cli import main

    for line in sys.stdin:
        call = json.loads(line)
        child = os.fork()
        if child == 0:
            os.chdir(call["folder"])
            os.environ.clear()
            os.environ.update(call["environment"])
            for stream, file in zip((1, 2), call["files"], strict=True):
                os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT), stream)
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            # As `python -m` would have it: the folder, and then PYTHONPATH.
            sys.path[:1] = [call["folder"], *filter(None, call["environment"].get("PYTHONPATH", "").split(os.pathsep))]
            sys.argv = ["snakemake", *call["arguments"]]
            sys.exit(main(call["arguments"]))
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    _serve()
