"""Snakemake and its scripts with their imports done: each runs in a fork of one process, and saves that time.

The packages of others are imported once in a test session (ten seconds of CPU for a script with torch and MACE), never
PhysEmbed itself, of which each copy of the repository has its own. What kills jobs, or has to know what their own
processes are, starts `python -m snakemake` instead (test_kills, test_reruns, test_slurm).

As a script this is the process that forks. A copy of it is what Snakemake starts in place of Python: with `SOCKET` in
the environment it hands a script over, with folder, environment and streams, and ends with the same exit code.
"""

import json
import os
import socket
import sys

SOCKET = "PHYSEMBED_TESTS_FORK"
"""Variable with the path of the socket on which the forking process listens."""
IMPORTED = (
    "ase.io", "cuequivariance_torch", "mace.calculators", "mace.cli.run_train", "matplotlib.figure", "MDAnalysis",
    "numba", "openmm.app", "pandas", "parmed", "pyarrow", "pydantic", "pymbar", "rdkit.Chem.AllChem", "scipy.stats",
    "sklearn", "snakemake.cli", "snakemake.script", "stacie", "tad_dftd3", "tblite.interface", "torch", "torch_sim",
)  # fmt: skip
"""Packages of others that rules and scripts import, or something that imports them."""


def run(program: str, arguments: list[str], folder: str, environment: dict[str, str], streams: list[int]) -> int:
    """Have a program run in a fork, `snakemake` or the file of a script; its exit code."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(environment[SOCKET])
        call = json.dumps([program, arguments, folder, environment]).encode()
        socket.send_fds(connection, [len(call).to_bytes(8)], streams)
        connection.sendall(call)
        answer = connection.recv(4)
    return int.from_bytes(answer, signed=True) if answer else 1


def completed(program, arguments, folder, environment):  # type: ignore[no-untyped-def]
    """What `python -m snakemake ARGUMENTS` does in a folder with this environment, or `python SCRIPT ARGUMENTS`."""
    import subprocess
    import tempfile
    from pathlib import Path

    with tempfile.TemporaryDirectory() as outputs:
        files = [Path(outputs, name) for name in ("stdout", "stderr")]
        with files[0].open("w") as out, files[1].open("w") as err, open(os.devnull) as null:  # noqa: PTH123
            streams = [null.fileno(), out.fileno(), err.fileno()]
            variables = {**environment, SOCKET: _server()}
            code = run(str(program), list(arguments), str(folder), variables, streams)
        stdout, stderr = (file.read_text() for file in files)
    return subprocess.CompletedProcess([program, *arguments], code, stdout, stderr)


_started: dict[str, object] = {}


def _server() -> str:
    """The socket of the process of this test session, which ends when its standard input does."""
    import subprocess
    import tempfile
    from pathlib import Path

    if not _started:
        folder = Path(tempfile.mkdtemp(prefix="forked"))
        path, client = str(folder / "socket"), folder / "python"
        client.write_text(f"#!{sys.executable} -SE\n{Path(__file__).read_text()}")
        client.chmod(0o755)
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        # No thread but the main one, because a fork has no other: not that of PyArrow's memory pool either.
        environment |= {"JE_ARROW_MALLOC_CONF": "background_thread:false", "OMP_NUM_THREADS": "1"}
        # No import makes a CUDA context, which no fork could use; the studies of these tests run on the CPU.
        environment["CUDA_VISIBLE_DEVICES"] = ""
        command = [sys.executable, __file__, path]
        server = subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert server.stdout
        assert server.stdout.readline() == "ready\n"
        _started[path] = server
    return next(iter(_started))


def _serve(path: str) -> None:
    import gc
    import importlib
    import select
    import shutil
    import signal
    import threading
    from pathlib import Path

    before = dict(os.environ)
    for name in IMPORTED:
        importlib.import_module(name)
    # MACE says in a variable how files of models are to be read.
    set_by_imports = {name: value for name, value in os.environ.items() if before.get(name) != value}
    assert "physembed" not in sys.modules
    gc.freeze()  # or each fork would copy the memory of what was imported when it looks for garbage
    assert threading.active_count() == len(list(Path("/proc/self/task").iterdir())) == 1, "forks lack other threads"
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(path)
        listening.listen()
        print("ready", flush=True)
        while select.select([listening, sys.stdin], [], [])[0] == [listening]:
            connection, _ = listening.accept()
            if os.fork() == 0:
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                listening.close()
                _answer(connection, set_by_imports)
            connection.close()
    shutil.rmtree(Path(path).parent)


def _answer(connection: socket.socket, set_by_imports: dict[str, str]) -> None:
    """Run what is asked for in a child of this process, and send its exit code; neither of the two returns."""
    size, streams, _, _ = socket.recv_fds(connection, 8, 3)
    text = b""
    while len(text) < int.from_bytes(size):
        text += connection.recv(1 << 20)
    program, arguments, folder, environment = json.loads(text)
    child = os.fork()
    if child:
        _, status = os.waitpid(child, 0)
        connection.sendall(os.waitstatus_to_exitcode(status).to_bytes(4, signed=True))
        os._exit(0)
    connection.close()
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
    # As Python would have it: the folder (that of a script), and then PYTHONPATH.
    first = folder if program == "snakemake" else os.path.dirname(program)  # noqa: PTH120
    sys.path[:1] = [first, *filter(None, environment.get("PYTHONPATH", "").split(os.pathsep))]
    sys.argv = [program, *arguments]
    if program == "snakemake":
        from snakemake.cli import main

        sys.executable = os.path.join(os.path.dirname(environment[SOCKET]), "python")  # noqa: PTH118, PTH120
        _end(lambda: sys.exit(main(arguments)))
    import runpy

    os.environ.update(set_by_imports)
    _end(lambda: runpy.run_path(program, run_name="__main__"))


def _end(program):  # type: ignore[no-untyped-def]
    """Run a program and end as Python would, except that all that was imported is not taken apart first.

    That would take longer than the imports did: this process shares their memory, and every page would be copied.
    """
    import atexit
    import threading
    import traceback

    code = 0
    try:
        program()
    except SystemExit as end:
        if end.code is not None and not isinstance(end.code, int):
            print(end.code, file=sys.stderr)
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
        code = 1
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    if SOCKET in os.environ:
        sys.exit(run(sys.argv[1], sys.argv[2:], os.getcwd(), dict(os.environ), [0, 1, 2]))  # noqa: PTH109
    _serve(sys.argv[1])
