"""What a stage leaves behind: its record, seeds, files, progress lines and errors."""

import ast
import hashlib
import json
import logging
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from physembed import progress, provenance
from physembed.files import atomic
from physembed.progress import Progress, format_duration
from physembed.provenance import code_hash, file_hash, settings_hash
from physembed.seeds import derive_seed

SOURCES = {
    "physembed/__init__.py": "",
    "physembed/physics.py": "from physembed.inner import constants\n\ndef force(x):\n    return -constants.K * x\n",
    "physembed/inner/__init__.py": "NAME = 'inner'\n",
    "physembed/inner/constants.py": "K = 2.0\n",
    "physembed/other.py": "UNUSED = 1\n",
    "physembed/config/__init__.py": "import physembed.other\nDEFAULT = 1\n",
    "physembed/table.csv": "a,b\n1,2\n",
    "scripts/stage.py": "def run():\n    from physembed.physics import force\n    import physembed.config\n",
}


class Tree:
    """A separate package in a folder, whose code can be edited and hashed."""

    def __init__(self, folder, monkeypatch):
        self.folder, self.monkeypatch = folder, monkeypatch
        for name, text in SOURCES.items():
            self.write(name, text)

    def write(self, name, text):
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def hash(self, *data):
        self.monkeypatch.setattr(provenance, "ROOT", self.folder / "physembed")
        provenance._parsed.cache_clear()
        code_hash.cache_clear()
        return code_hash(self.folder / "scripts" / "stage.py", *data)


@pytest.fixture
def tree(tmp_path, monkeypatch):
    yield Tree(tmp_path / "tree", monkeypatch)
    provenance._parsed.cache_clear()
    code_hash.cache_clear()


@pytest.mark.parametrize(
    "name, text",
    [
        ("physembed/physics.py", "from physembed.inner import constants\ndef force(x): return -constants.K * x"),
        ("physembed/physics.py", '"""Doc."""\n' + SOURCES["physembed/physics.py"].replace(":\n", ":\n    'Doc.'\n")),
        ("physembed/inner/constants.py", "# of the spring\nK = 2.0\n'''In eV/Å^2.'''\n"),
        ("physembed/other.py", "UNUSED = 2\n"),
        ("physembed/config/__init__.py", "DEFAULT = 2\n"),
        ("physembed/table.csv", "a,b\n1,3\n"),
        ("scripts/other.py", "import physembed.other\n"),
    ],
)
def test_code_hash_ignores_what_changes_no_result(tree, name, text):
    before = tree.hash()
    tree.write(name, text)
    assert tree.hash() == before


@pytest.mark.parametrize(
    "name, text",
    [
        ("physembed/physics.py", SOURCES["physembed/physics.py"].replace("-", "")),
        ("physembed/inner/constants.py", "K = 2.1\n"),
        ("physembed/inner/__init__.py", "NAME = 'other'\n"),
        ("scripts/stage.py", SOURCES["scripts/stage.py"].replace("force", "force as f")),
    ],
)
def test_code_hash_follows_the_imports(tree, name, text):
    before = tree.hash()
    tree.write(name, text)
    assert tree.hash() != before
    tree.write(name, SOURCES[name])
    assert tree.hash() == before


@pytest.fixture
def empty_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("PHYSEMBED_CACHE", str(tmp_path / "cache"))
    provenance._digests.cache_clear()
    yield tmp_path / "cache"
    provenance._digests.cache_clear()


def test_no_file_is_parsed_twice(tree, empty_cache, monkeypatch):
    """Not by the next process either."""
    before = tree.hash()
    provenance._digests.cache_clear()
    monkeypatch.setattr(provenance, "_digest", lambda source: pytest.fail("parsed again"))
    assert tree.hash() == before


@pytest.mark.parametrize("content", ["", "[1, 2]", "{"])
def test_a_cache_that_is_damaged_or_not_writable_changes_no_hash(tree, empty_cache, content):
    before = tree.hash()
    (kept,) = empty_cache.glob("code-*.json")
    kept.write_text(content)
    provenance._digests.cache_clear()
    assert tree.hash() == before
    kept.unlink()
    empty_cache.rmdir()
    empty_cache.write_text("a file in the place of the folder")
    provenance._digests.cache_clear()
    assert tree.hash() == before


def test_code_hash_is_that_of_the_content_not_of_the_place(tree, tmp_path, monkeypatch):
    assert Tree(tmp_path / "a copy", monkeypatch).hash() == tree.hash()


def test_code_hash_holds_the_data_files_that_are_named(tree):
    before = tree.hash("table.csv")
    assert before != tree.hash()
    tree.write("physembed/table.csv", "a,b\n1,3\n")
    assert tree.hash("table.csv") != before


def test_the_package_has_no_imports_that_the_hash_does_not_follow():
    for path in provenance.ROOT.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            assert not (isinstance(node, ast.ImportFrom) and node.level > 0), f"{path}: a relative import"


def test_each_script_has_a_hash_of_its_own():
    scripts = sorted((Path(__file__).parents[2] / "workflow" / "scripts").glob("*.py"))
    assert len(scripts) > 10
    assert len({code_hash(script) for script in scripts}) == len(scripts)


def test_seeds_are_stable_and_distinct():
    expected = int(hashlib.sha256(b"2026:training:paracetamol:3").hexdigest()[:8], 16) >> 1
    assert derive_seed(2026, "training", "paracetamol", 3) == expected
    names = [(stage, molecule, index) for stage in "abc" for molecule in ("x", "y", "xy") for index in range(30)]
    seeds = {derive_seed(seed, *name) for seed in (1, 2) for name in names}
    assert len(seeds) == 2 * len(names)
    assert all(0 <= seed < 2**31 for seed in seeds)
    assert derive_seed(1, 23) != derive_seed(12, 3)


def test_settings_hash_knows_values_not_their_order():
    assert settings_hash({"a": 1, "b": [1, 2]}) == settings_hash({"b": [1, 2], "a": 1})
    assert settings_hash({"a": [1, 2]}) != settings_hash({"a": [2, 1]})
    assert settings_hash({"a": 1}) != settings_hash({"a": 1.5})


def test_atomic_replaces_the_file_at_the_end(tmp_path):
    target = tmp_path / "new" / "result.csv"
    for content in ("old", "new"):
        before = target.read_text() if target.exists() else None
        with atomic(target) as temporary:
            temporary.write_text(content)
            assert temporary.suffix == ".csv" and temporary.parent == target.parent
            assert (target.read_text() if target.exists() else None) == before
        assert target.read_text() == content
    assert list(target.parent.iterdir()) == [target]


def test_atomic_leaves_the_old_file_and_nothing_else_after_an_error(tmp_path):
    target = tmp_path / "result.csv"
    target.write_text("old")
    with pytest.raises(KeyboardInterrupt), atomic(target) as temporary:
        temporary.write_text("half")
        raise KeyboardInterrupt
    with pytest.raises(FileNotFoundError), atomic(target):
        pass  # nothing written
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize(
    "seconds, text",
    [
        (0, "0.0 s"), (4.23, "4.2 s"), (59.94, "59.9 s"), (59.97, "1 min 00 s"), (200.4, "3 min 20 s"),
        (3599.4, "59 min 59 s"), (3599.6, "1 h 00 min"), (3725, "1 h 02 min"), (360000, "100 h 00 min"),
    ],
)  # fmt: skip
def test_durations(seconds, text):
    assert format_duration(seconds) == text


class Clock:
    def __init__(self, monkeypatch):
        self.now = 1000.0
        monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: self.now))


def test_progress_lines(monkeypatch, caplog):
    caplog.set_level(logging.INFO)
    clock = Clock(monkeypatch)
    steps = Progress("stability", 1000, "steps")
    for done in range(100, 600, 100):
        clock.now += 2
        steps.update(done, "2 of 5 replicas collapsed")
    clock.now += 10
    steps.finish()
    # Every two seconds an update, but a line only where five have passed.
    assert caplog.messages == [
        "stability: 300/1000 steps, 50 steps/s, 14.0 s left, 2 of 5 replicas collapsed",
        "stability: 1000 steps done in 20.0 s",
    ]
    assert {record.levelname for record in caplog.records} == {"INFO"}


def test_progress_of_a_resumed_job_has_the_rate_of_this_process(monkeypatch, caplog):
    caplog.set_level(logging.INFO)
    clock = Clock(monkeypatch)
    frames = Progress("GAFF MD", 100, "frames", start=40)
    for done in (45, 50):
        clock.now += 10
        frames.update(done)
    assert caplog.messages == [
        "GAFF MD: resuming at 40/100 frames",
        "GAFF MD: 45/100 frames, time left not yet known",
        "GAFF MD: 50/100 frames, 0.5 frames/s, 1 min 40 s left",
    ]


def test_start_up_does_not_count(monkeypatch, caplog):
    """A minute of compilation in the first of 60 epochs, half a minute in the second, and then 4 s for each."""
    caplog.set_level(logging.INFO)
    clock = Clock(monkeypatch)
    epochs = Progress("training", 60, "epochs", warn_if_long=True)
    left = {}
    for done in range(1, 61):
        for _ in range({1: 64, 2: 34}.get(done, 4)):
            clock.now += 1
            epochs.update(done - 1)  # as a thread does that looks every second
        epochs.update(done)
        if found := re.search(r"(\d+)/60 epochs, .*, (?:(\d+) min )?([\d.]+) s left", caplog.messages[-1]):
            left[int(found[1])] = 60 * int(found[2] or 0) + float(found[3])
    assert "1/60 epochs, time left not yet known" in caplog.text
    assert all(record.levelname == "INFO" for record in caplog.records)
    true = {done: 4 * (60 - done) for done in left}
    assert all(left[done] == pytest.approx(true[done], rel=0.05) for done in left if done > 20)
    assert len([done for done in left if done > 20]) > 20


def test_the_rate_follows_work_that_gets_faster_or_slower(monkeypatch, caplog):
    caplog.set_level(logging.INFO)
    clock, done = Clock(monkeypatch), 0.0
    steps = Progress("npt", 1e6, "ps")
    for rate in (1.0, 5.0):
        for _ in range(3600):
            clock.now += 0.5
            done += 0.5 * rate
            steps.update(done)
        assert f", {rate:g} ps/s, " in caplog.messages[-1]


@pytest.mark.parametrize(
    "left, warnings", [(3590, []), (3610, ["training will take about 1 h 00 min on this CPU; a GPU is much faster"])]
)
def test_progress_warns_once_of_more_than_an_hour(monkeypatch, caplog, left, warnings):
    caplog.set_level(logging.WARNING)
    clock = Clock(monkeypatch)
    epochs = Progress("training", 40 + left, "epochs", warn_if_long=True)
    for done in (0, 0, 10, 20, 30):  # slow at the start, which would take hours; then one in a second
        clock.now += 10 if done > 10 else 200
        epochs.update(done)
        assert caplog.messages == []
    for done in (40, 50, 51):  # settled; at last slower
        clock.now += 10
        epochs.update(done)
    assert caplog.messages == warnings


SCRIPT = """
import logging, os, sys
from types import SimpleNamespace
from physembed.errors import PhysEmbedError
from physembed.stage import stage

job = SimpleNamespace(
    rule="labels", log=["stage.log"], input=["input.txt"], output=SimpleNamespace(provenance="provenance.json"),
    params=SimpleNamespace(settings={"accuracy": 1.0}, code="abc"), resources={"gpu": 1},
)
with stage(job) as log:
    print("printed")
    os.write(1, b"from C on stdout\\n")
    os.write(2, b"from C on stderr\\n")
    log.info("working")
    logging.getLogger("physembed.labels").warning("rejected a frame")
    logging.getLogger("otherpackage").warning("chatter")
    BODY
"""


def run_stage(folder, body):
    (folder / "input.txt").write_text("content")
    (folder / "stage.py").write_text(SCRIPT.replace("BODY", body))
    command = [sys.executable, "stage.py"]
    environment = os.environ | {"PYTHONPATH": str(provenance.ROOT.parent), "PYTHONUNBUFFERED": ""}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.stdout == ""
    log = (folder / "stage.log").read_text()
    for line in ("printed", "from C on stdout", "from C on stderr", "working", "rejected a frame", "chatter"):
        assert line in log
    return done, log


def test_stage_that_succeeds_writes_its_record(tmp_path):
    done, log = run_stage(tmp_path, "pass")
    assert done.returncode == 0
    assert done.stderr == "labels: rejected a frame\n"  # a warning of ours, and nothing of others
    assert "Traceback" not in log
    record = json.loads((tmp_path / "provenance.json").read_text())
    assert record["stage"] == "labels"
    assert record["settings"] == {"accuracy": 1.0}
    assert record["code_hash"] == "abc"
    assert record["inputs_sha256"] == {"input.txt": hashlib.sha256(b"content").hexdigest()}
    assert record["versions"]["physembed"] == "0.1.0" and record["versions"]["torch"].startswith("2.")
    assert 0 <= record["wall_seconds"] < 60


def test_stage_that_fails_says_why_in_one_line(tmp_path):
    done, log = run_stage(tmp_path, "raise PhysEmbedError('labels: 3 of 9 frames rejected; look at the ledger')")
    assert done.returncode == 1
    assert done.stderr.splitlines()[1:] == ["labels: labels: 3 of 9 frames rejected; look at the ledger"]
    assert "failed: labels: 3 of 9 frames rejected; look at the ledger" in log
    assert "Traceback" not in log
    assert not (tmp_path / "provenance.json").exists()


def test_unexpected_failure_has_its_traceback_in_the_log(tmp_path):
    done, log = run_stage(tmp_path, "raise ValueError('first line\\nsecond line')")
    assert done.returncode == 1
    assert done.stderr.splitlines()[1:] == [
        "labels: unexpected failure (ValueError: first line); the log stage.log has the traceback"
    ]
    assert "Traceback (most recent call last)" in log and "second line" in log
    assert not (tmp_path / "provenance.json").exists()


def test_file_hash(tmp_path):
    (tmp_path / "file").write_bytes(b"\x00" * 100_000)
    assert file_hash(tmp_path / "file") == hashlib.sha256(b"\x00" * 100_000).hexdigest()


def test_a_package_that_is_not_there_is_named(monkeypatch):
    monkeypatch.setattr(provenance, "PACKAGES", ("numpy", "no-such-package"))
    versions = provenance.package_versions()
    assert versions["no-such-package"] == "not installed" and versions["numpy"][0].isdigit()
    assert versions["python"] == ".".join(map(str, sys.version_info[:3]))
