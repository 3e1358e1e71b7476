"""What is due as goods leave: pure arithmetic, exact to the last minor unit."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from domain.captures import LineUnits, due_for_shipped


def line(gross: int, ordered: int, fulfilled: int, cancelled: int = 0) -> LineUnits:
    return LineUnits(gross=gross, ordered=ordered, fulfilled=fulfilled, cancelled=cancelled)


def test_a_part_takes_its_share_rounded_half_up_and_the_last_takes_the_rest() -> None:
    assert due_for_shipped([line(1000, 3, 0)], 1500) == 0
    assert due_for_shipped([line(1000, 3, 1)], 1500) == 333
    assert due_for_shipped([line(1000, 3, 2)], 1500) == 667
    assert due_for_shipped([line(1000, 3, 3)], 1500) == 1500  # shipping comes with the last one


def test_cancelled_units_are_waited_for_no_more() -> None:
    assert due_for_shipped([line(1000, 4, 1, 3)], 300) == 300
    assert due_for_shipped([line(1000, 4, 0, 4)], 0) == 0


def test_a_share_is_never_more_than_the_order_comes_to() -> None:
    assert due_for_shipped([line(1000, 2, 1), line(1000, 2, 1)], 400) == 400


lines = st.lists(st.tuples(st.integers(0, 10**9), st.integers(1, 50)), min_size=1, max_size=6)


@given(lines, st.integers(0, 10**6), st.randoms(use_true_random=False))
def test_however_it_is_shipped_captures_grow_and_end_at_the_total(
    bought: list[tuple[int, int]], shipping: int, dice: object
) -> None:
    total = sum(gross for gross, _ in bought) + shipping
    shipped = [0] * len(bought)
    due = [0]
    units = [index for index, (_, ordered) in enumerate(bought) for _ in range(ordered)]
    dice.shuffle(units)  # type: ignore[attr-defined] # a random.Random
    for index in units:
        shipped[index] += 1
        due.append(
            due_for_shipped(
                [line(gross, ordered, shipped[at]) for at, (gross, ordered) in enumerate(bought)], total
            )
        )
    assert due == sorted(due)
    assert due[-1] == total
