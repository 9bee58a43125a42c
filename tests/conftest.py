"""One OpenMP thread, set before any library loads; torch's default precision; and statistical tests.

A test marked `chance(probability)` checks numbers that differ between machines, because rounding determines the MD
trajectory. It states an upper bound of the probability that one attempt fails by chance, and uses the fixture
`seed`. It is repeated with other seeds until its false-failure probability is below 1e-5, and fails only if every
attempt does: a real error fails all of them. (Pure NumPy draws are the same on any machine, so tests that use only
these need no mark.) To see the result of one attempt: `pytest -m chance --attempts 1 --seed-offset 7`.
"""

from __future__ import annotations

import math
import os
import sys
import warnings
from collections.abc import Iterator

import pytest

os.environ["OMP_NUM_THREADS"] = "1"

FALSE_FAILURE = 1e-5
"""What the false failure of a test has to be less probable than."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--seed-offset", type=int, default=0, help="other seeds for tests marked `chance`")
    parser.addoption("--attempts", type=int, help="attempts of tests marked `chance`, whatever they state")


def attempts(probability: float) -> int:
    """How often a test is run until its false failure is improbable enough."""
    assert 0 < probability < 1
    return math.floor(math.log(FALSE_FAILURE) / math.log(probability)) + 1


@pytest.fixture(autouse=True)
def default_precision() -> Iterator[None]:
    """MACE's calculators change torch's default precision for the whole process; each test begins with float32."""
    yield
    if "torch" in sys.modules:
        sys.modules["torch"].set_default_dtype(sys.modules["torch"].float32)


@pytest.fixture
def seed(request: pytest.FixtureRequest) -> int:
    """Seed of a test marked `chance`; each attempt has its own."""
    return 1000 * int(request.config.getoption("--seed-offset"))


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    marker = pyfuncitem.get_closest_marker("chance")
    if marker is None:
        return None
    arguments = {name: pyfuncitem.funcargs[name] for name in pyfuncitem._fixtureinfo.argnames}
    count = pyfuncitem.config.getoption("--attempts") or attempts(*marker.args)
    for attempt in range(count):
        try:
            pyfuncitem.obj(**arguments | {"seed": arguments["seed"] + attempt})
            return True
        except AssertionError as error:
            if attempt == count - 1:
                raise
            warnings.warn(f"attempt {attempt + 1} of {count} failed: {str(error).splitlines()[0]}", stacklevel=1)
    return True
