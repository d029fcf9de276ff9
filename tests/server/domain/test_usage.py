"""How pieces of usage become intervals."""

import numpy as np
from gpufleet_server.domain.usage import DAY, FIELDS, KEY, MOST, SUMS, Pieces, cut, merge, of_rows, together
from hypothesis import given
from hypothesis import strategies as st

_GAP = 2_000_000
_S = 1_000_000
_MIDNIGHT = 20_000 * DAY

_small = st.integers(0, 10**6)


@st.composite
def rows(draw: st.DrawFn) -> list[list[int]]:
    """Pieces of few keys around a midnight, some of them near each other."""
    found = []
    for _ in range(draw(st.integers(0, 12))):
        key = [draw(st.integers(0, 1)) for _ in KEY]
        begin = _MIDNIGHT + draw(st.integers(-40, 40)) * _S
        end = begin + draw(st.integers(0, 60)) * _S
        found.append([*key, begin, end, *(draw(_small) for _ in FIELDS[len(KEY) + 2 :])])
    return found


def _plain(pieces: Pieces) -> list[tuple[int, ...]]:
    """The intervals, in an order of their own."""
    return sorted(zip(*(getattr(pieces, name).tolist() for name in FIELDS), strict=True))


def _merged(pieces: Pieces) -> Pieces:
    pieces = cut(pieces)
    return merge(pieces, np.full(len(pieces), _GAP))[0]


def _key(piece: dict[str, int]) -> list[int]:
    return [*(piece[name] for name in KEY), piece["begin"] // DAY]


def _by_hand(pieces: Pieces) -> list[tuple[int, ...]]:
    """The same one after the other."""
    found: list[dict[str, int]] = []
    for row in sorted(_plain(cut(pieces)), key=lambda row: row[: len(KEY) + 1]):
        piece = dict(zip(FIELDS, row, strict=True))
        last = found[-1] if found else None
        if last and _key(last) == _key(piece) and piece["begin"] - last["end"] <= _GAP:
            last |= {name: last[name] + piece[name] for name in SUMS}
            last |= {name: max(last[name], piece[name]) for name in ("end", *MOST)}
        else:
            found.append(piece)
    return sorted(tuple(piece.values()) for piece in found)


@given(rows())
def test_it_is_what_one_would_do_by_hand(given_rows: list[list[int]]) -> None:
    """Pieces of a key in their order, each put to the one before where no more than the gap is between them."""
    pieces = of_rows(given_rows)
    assert _plain(_merged(pieces)) == _by_hand(pieces)


@given(rows(), st.randoms(use_true_random=False), st.integers(0, 12))
def test_neither_order_nor_what_came_first_matters(given_rows: list[list[int]], random: object, first: int) -> None:
    """Some pieces now and the others later, in any order, come to the same intervals as all at once."""
    shuffled = list(given_rows)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    early = _merged(of_rows(shuffled[:first]))
    assert _plain(_merged(together([early, of_rows(shuffled[first:])]))) == _plain(_merged(of_rows(given_rows)))


@given(st.lists(st.integers(1, 86_400), min_size=1, max_size=20), st.integers(0, 86_399))
def test_a_run_in_any_pieces_is_one_interval_a_day(lengths: list[int], start: int) -> None:
    """However a run is cut into reports, it is one interval, cut at each midnight UTC, and no ms is lost."""
    begin, parts = _MIDNIGHT + start * _S, []
    for length in lengths:
        ms = length * 1000
        parts.append([1, 2, 0, 3, begin, begin + length * _S, ms, ms - 7, 7, 50 * ms, ms, 9, 80 * ms, ms, 1])
        begin += length * _S
    whole = _merged(cut(of_rows(parts)))
    end, total = begin, sum(lengths) * 1000
    begin = _MIDNIGHT + start * _S
    assert whole.begin.tolist() == [begin, *range(_MIDNIGHT + DAY, end, DAY)]
    assert whole.end.tolist() == [*range(_MIDNIGHT + DAY, end, DAY), end]
    assert (int(whole.observed.sum()), int(whole.held.sum())) == (total, 7 * len(lengths))
    assert int(whole.memory_sum.sum()) == 50 * total
    assert set(whole.memory_most.tolist()) == {9}


@given(rows())
def test_cutting_loses_nothing(given_rows: list[list[int]]) -> None:
    """What all pieces sum up to is the same afterwards, and none crosses a midnight."""
    pieces = of_rows(given_rows)
    parts = cut(pieces)
    for name in SUMS:
        assert getattr(parts, name).sum() == getattr(pieces, name).sum()
    assert (np.maximum(parts.end - 1, parts.begin) // DAY == parts.begin // DAY).all()


@given(rows())
def test_each_piece_is_told_where_it_went(given_rows: list[list[int]]) -> None:
    """Into an interval of its key that covers it."""
    pieces = cut(of_rows(given_rows))
    merged, into = merge(pieces, np.full(len(pieces), _GAP))
    whole = merged.take(into)
    assert ((whole.begin <= pieces.begin) & (pieces.end <= whole.end)).all()
    assert all((getattr(whole, name) == getattr(pieces, name)).all() for name in KEY)
