"""Work shared by several threads, which sleep while idle."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(64, thread_name_prefix="physembed")


def shared(part: Callable[[int, int, int], None], count: int, threads: int) -> None:
    """Call `part(thread, first, end)` for each thread's share of `range(count)`, and wait for all."""
    threads = max(1, min(threads, count))
    bounds = [round(count * index / threads) for index in range(threads + 1)]
    others = [_pool().submit(part, index, *bounds[index : index + 2]) for index in range(1, threads)]
    part(0, *bounds[:2])
    for other in others:
        other.result()
