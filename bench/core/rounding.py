"""Numbers as text, never more precise than their interval says they are known.

A value is shown to one digit more than the leading digit of half its interval's width: with [0.297, 0.460] half the
width is 0.08, its leading digit the second decimal, and the value has three. Without an interval, or with one of width
zero, whole numbers (counts) are shown in full and others to three significant digits.
"""

from __future__ import annotations

from decimal import Context, Decimal
from typing import Literal

Style = Literal["brackets", "plus_minus"]
SIGNIFICANT = 3  # digits of a number of which no interval is known
EXACT = Context(prec=800)  # more digits than any float64 has between its first and its last


def places(low: float, high: float) -> int:
    """Decimal places of a value whose interval is [low, high], low < high; negative where tens are rounded away."""
    return 1 - ((Decimal(repr(high)) - Decimal(repr(low))) / 2).adjusted()


def rounded(value: float, digits: int) -> str:
    """A finite value to `digits` decimal places, half to even; without a sign where that gives zero."""
    number = Decimal(repr(value)).quantize(Decimal(1).scaleb(-digits), context=EXACT)
    if number.is_zero():
        return f"{0:.{max(digits, 0)}f}"
    return f"{number:f}" if digits > 0 else str(int(number))


def shown(value: float, low: float | None, high: float | None, style: Style) -> tuple[str, ...]:
    """The parts of a value with its 95 % interval, as text.

    Args:
        value: finite.
        low: lower end, at most the value; None where there is no interval.
        high: upper end, at least the value.
        style: which parts.

    Returns:
        (value,) where there is no interval; (value, low, high) for "brackets"; (value, d) for "plus_minus", where d is
        the larger distance from the value to an end, so that value +- d covers the interval (before rounding).
    """
    if low is None or high is None or low == high:
        if value.is_integer():
            return (str(int(value)),)
        return (rounded(value, SIGNIFICANT - 1 - Decimal(repr(value)).adjusted()),)
    digits = places(low, high)
    ends = (low, high) if style == "brackets" else (max(value - low, high - value),)
    return tuple(rounded(number, digits) for number in (value, *ends))
