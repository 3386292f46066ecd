"""Exact rates: frame rates are rationals written "30000/1001", never floats."""

from fractions import Fraction

STANDARD_RATES = (
    Fraction(24000, 1001),
    Fraction(24),
    Fraction(25),
    Fraction(30000, 1001),
    Fraction(30),
    Fraction(50),
    Fraction(60000, 1001),
    Fraction(60),
)
"""What players and televisions expect; a variable source is brought to the nearest of these."""

# 23.976 and 24 are 0.1 % apart: half of that tells them apart and forgives a millisecond clock's rounding.
SNAP_RELATIVE = Fraction(1, 2000)

# 1001 keeps the NTSC family exact.
DENOMINATOR_MAX = 1001


def parse_rate(text: str | None) -> Fraction | None:
    """Read "30000/1001", "25/1" or "25"; None for "0/0", "N/A" and anything that is no positive number."""
    if not text:
        return None
    try:
        value = Fraction(text.replace(":", "/"))
    except (ValueError, ZeroDivisionError):
        return None
    return value if value > 0 else None


def rate_text(rate: Fraction) -> str:
    """Write a rational as it travels: "25/1", "30000/1001"."""
    return f"{rate.numerator}/{rate.denominator}"


def tidy_rate(rate: Fraction) -> Fraction:
    """Give the standard rate that a measured one means, or the measured one with a bounded denominator."""
    for standard in STANDARD_RATES:
        if abs(rate - standard) <= standard * SNAP_RELATIVE:
            return standard
    whole = Fraction(round(rate))
    if whole and abs(rate - whole) <= whole * SNAP_RELATIVE:
        return whole
    return rate.limit_denominator(DENOMINATOR_MAX)


def nearest_standard_rate(rate: Fraction) -> Fraction:
    """Give the standard rate nearest by ratio, so that 55 goes to 50 and not by absolute distance."""
    return min(STANDARD_RATES, key=lambda standard: max(standard / rate, rate / standard))
