"""Independent chunks of work, one single-threaded worker for each core.

Chunks that fit into a core's cache are too small for PyTorch to divide each operation among threads: most of the time
the threads would wait for one another.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

T = TypeVar("T")


def for_each(work: Callable[[T], None], chunks: Iterable[T], device: str | torch.device) -> Iterator[None]:
    """Call ``work(chunk)`` in inference mode for all ``chunks``; a generator that yields after each, in their order.

    On a CPU as many calls run at once as PyTorch has threads, each with one thread; on another ``device`` one after the
    other. The results must not depend on the order of the calls. The first error ends all and is raised.
    """
    work, threads = torch.inference_mode()(work), torch.get_num_threads()
    if threads == 1 or torch.device(device).type != "cpu":
        yield from map(work, chunks)
        return
    pool = ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,))
    try:
        yield from pool.map(work, chunks)
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(threads)
