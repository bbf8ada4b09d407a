"""Numbers as people read them: few digits, a true minus, units beside them."""

from __future__ import annotations

MINUS = "\N{MINUS SIGN}"
MISSING = "\N{EN DASH}"


def number(value: float | None, digits: int = 3) -> str:
    """Return a number with a few significant digits, or a dash for one that is not defined.

    Example:
        >>> number(0.12345), number(1234567.0), number(None), number(-2.0), number(2e-9)
        ('0.123', '1.23e+06', '–', '−2', '2e−09')
    """
    return MISSING if value is None else _minus(f"{value:.{digits}g}")


def signed(value: float | None, digits: int = 3) -> str:
    """Return a difference with its sign.

    Example:
        >>> signed(0.5), signed(-0.5)
        ('+0.5', '−0.5')
    """
    return MISSING if value is None else _minus(f"{value:+.{digits}g}")


def percent(value: float | None, decimals: int = 1) -> str:
    """Return a share as a percentage.

    Example:
        >>> percent(0.1234)
        '12.3 %'
    """
    return MISSING if value is None else _minus(f"{100 * value:.{decimals}f} %")


def points(value: float | None, decimals: int = 2) -> str:
    """Return a difference of shares in percentage points, with its sign.

    Example:
        >>> points(-0.0012)
        '−0.12'
    """
    return MISSING if value is None else _minus(f"{100 * value:+.{decimals}f}")


def count(value: int, noun: str, plural: str | None = None) -> str:
    """Return a number of things.

    Example:
        >>> count(1, "layer"), count(1200, "sample")
        ('1 layer', '1,200 samples')
    """
    return f"{value:,} {noun if value == 1 else plural or noun + 's'}"


def _minus(text: str) -> str:
    """Give a number true minus signs, at which no line breaks."""
    return text.replace("-", MINUS)
