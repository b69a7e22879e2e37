from service.scheduling.shares import PartSize


def test_parts_become_larger_where_they_are_quick_and_smaller_where_they_are_slow() -> None:
    size = PartSize(100, least=30, most=1000, seconds=0.1)
    for _ in range(10):
        size.took(size.now, 0.01)
    assert size.now == 1000
    for _ in range(10):
        size.took(size.now, 1.0)
    assert size.now == 30


def test_a_part_that_was_not_full_says_nothing_of_a_larger_one() -> None:
    size = PartSize(100, least=10, most=1000, seconds=0.1)
    size.took(20, 0.001)
    size.took(100, 0.1)
    assert size.now == 100


def test_a_greedy_client_works_in_small_parts_which_say_nothing_of_the_whole() -> None:
    size = PartSize(100, least=30, most=1000, seconds=0.1)
    assert [size.part(greedy=False), size.part(greedy=True)] == [100, 25]
    size.took(25, 0.02)
    assert size.part(greedy=False) == 100
    assert PartSize.fixed(1).part(greedy=True) == 1


def test_a_fixed_size_stays() -> None:
    size = PartSize.fixed(7)
    for seconds in (0.0, 100.0):
        size.took(7, seconds)
        assert size.now == 7
