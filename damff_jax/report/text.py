"""Text of pages and plots: numbers and times as people write them, and safe HTML."""

import html


def escape(text: object) -> str:
    """Text as HTML; lone surrogates, as in names that are not valid Unicode, are escaped too."""
    clean = str(text).encode(errors="backslashreplace").decode()
    return html.escape(clean, quote=True)


def number(x: float) -> str:
    """Up to four significant digits, with a minus sign: −0.25, 3, 1,500, 2e−04."""
    if x and not 1e-3 <= abs(x) < 1e7:
        text = f"{x:.0e}"
    else:
        text = f"{x:,.4g}" if abs(x) < 1000 else f"{x:,.0f}"
    return text.replace("-", "−")


def decimals(x: float, n: int = 2) -> str:
    """Some decimals, with a minus sign, but never −0.00."""
    return f"{round(x, n) + 0.0:.{n}f}".replace("-", "−")


def signed(x: float, n: int = 2) -> str:
    """Some decimals and always a sign; `signed` of the script writes a value in the same way."""
    return f"{round(x, n) + 0.0:+.{n}f}".replace("-", "−")


def clock(seconds: float, *, decimals: int = 0) -> str:
    """Seconds as m:ss or h:mm:ss, as players show them."""
    units = round(seconds * 10**decimals)
    whole, rest = divmod(units, 10**decimals)
    minutes, s = divmod(whole, 60)
    hours, m = divmod(minutes, 60)
    text = f"{hours}:{m:02}:{s:02}" if hours else f"{m}:{s:02}"
    return f"{text}.{rest:0{decimals}}" if decimals else text
