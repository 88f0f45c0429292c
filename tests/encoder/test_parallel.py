"""Chunks of work on every core."""

import threading
import time

import pytest
import torch

from recbole_ec4srec.encoder.kernels.parallel import for_each


@pytest.fixture(params=[1, 2, 3])
def threads(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def test_every_chunk_is_worked_on_once_without_gradients(threads):
    result, seen = torch.zeros(100), []
    weight = torch.ones((), requires_grad=True)

    def work(rows):
        seen.append((torch.get_num_threads(), (weight * 2).requires_grad))
        result[rows] += rows * 1.0

    done = for_each(work, torch.arange(100).split(7), "cpu")
    assert len(list(done)) == 15
    assert torch.equal(result, torch.arange(100.0))
    assert seen == [(1, False)] * 15
    assert torch.get_num_threads() == threads
    assert (weight * 2).requires_grad


def test_workers_run_at_the_same_time():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    both = threading.Barrier(2, timeout=10)
    try:
        assert len(list(for_each(lambda _: both.wait(), range(4), "cpu"))) == 4
    finally:
        torch.set_num_threads(before)


def test_an_error_ends_all_and_leaves_the_threads_as_they_were(threads):
    called = []

    def work(number):
        called.append(number)
        time.sleep(0.001)
        if number == 3:
            raise ValueError("chunk 3")

    with pytest.raises(ValueError, match="chunk 3"):
        list(for_each(work, range(10_000), "cpu"))
    assert len(called) < 10_000
    assert torch.get_num_threads() == threads


def test_on_another_device_chunks_follow_each_other():
    main = threading.get_ident()
    calls = []
    list(for_each(lambda number: calls.append((number, threading.get_ident())), range(5), "cuda"))
    assert calls == [(number, main) for number in range(5)]
