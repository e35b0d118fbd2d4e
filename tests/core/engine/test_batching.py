"""How many calls of a map go together."""

from __future__ import annotations

from flowyard.engine.batching import Sizer


def sizes(seconds: float, items: int, *, capacity: int, longest_seconds: float = 0.1) -> list[int]:
    """Return the chunks of a map whose items take so long each."""
    sizer = Sizer("auto", capacity, items, longest_seconds)
    chunks: list[int] = []
    under_way: list[int] = []
    while items:
        size = sizer.next_size()
        if size is None:  # the first ones are on their way
            for _ in range(under_way.pop(0)):
                sizer.took(seconds)
            continue
        size = min(size, items)
        sizer.sent(size)
        items -= size
        chunks.append(size)
        under_way.append(size)
    return chunks


def test_the_first_chunks_have_one_call_and_later_ones_take_a_tenth_of_a_second() -> None:
    chunks = sizes(0.001, 10_000, capacity=2)
    assert chunks[:4] == [1, 1, 1, 1]
    assert set(chunks[4:90]) == {100}


def test_chunks_are_longer_on_a_runner_that_wants_it_while_there_is_work_for_many() -> None:
    chunks = sizes(0.001, 20_000, capacity=2, longest_seconds=0.3)
    assert set(chunks[4:50]) == {300}
    later = chunks[50:]
    assert later == sorted(later, reverse=True)
    assert 100 in later


def test_no_chunk_has_more_calls_than_are_worth_it() -> None:
    assert max(sizes(0.000_001, 100_000, capacity=2)) == 1_000


def test_the_last_round_is_shared_by_all_workers() -> None:
    chunks = sizes(0.01, 1_000, capacity=4)
    assert max(chunks[-4:]) == 1


def test_chunks_of_quick_calls_do_not_become_too_small_to_be_worth_it() -> None:
    chunks = sizes(0.00001, 200, capacity=2)
    assert chunks[:4] == [1, 1, 1, 1]
    assert min(chunks[4:-1]) >= 49
    assert len(chunks) <= 9


def test_long_calls_are_sent_one_by_one() -> None:
    assert set(sizes(1.0, 40, capacity=2)) == {1}


def test_a_slow_start_does_not_make_many_small_chunks() -> None:
    sizer = Sizer("auto", 2, 10_000)
    under_way: list[int] = []
    chunks: list[int] = []
    left, calls = 10_000, 0
    while left:
        size = sizer.next_size()
        if size is None:
            for _ in range(under_way.pop(0)):
                calls += 1
                sizer.took(0.1 if calls <= 4 else 0.001)  # the first ones import something
            continue
        size = min(size, left)
        sizer.sent(size)
        under_way.append(size)
        chunks.append(size)
        left -= size
    assert len(chunks) < 200
    assert chunks.count(100) > 50
