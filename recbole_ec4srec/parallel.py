"""Independent chunks of work, one single-threaded worker a core.

Chunks that fit into a core's cache are too small to be divided among threads operator by operator: most of the time
would go to waiting for one another.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import torch


def for_each(work, chunks, device="cpu"):
    """Call ``work(chunk)``, without gradients, for all ``chunks``; as a generator that yields None after each.

    On a CPU as many calls run at once as PyTorch has threads, each with one thread; on a GPU one after the other. The
    results must not depend on the order. An error in one ends all.
    """
    threads = torch.get_num_threads()
    if torch.device(device).type != "cpu" or threads == 1:
        for chunk in chunks:
            with torch.no_grad():
                work(chunk)
            yield
        return
    chunks = iter(chunks)

    def worker():
        torch.set_num_threads(1)

    pool = ThreadPoolExecutor(threads, initializer=worker)
    try:
        yield from pool.map(torch.no_grad()(work), chunks)
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(threads)
