"""What FFmpeg notes while it works: the only place where it reports most damage."""

import av

# Level, component and text of a note.
Note = tuple[int, str, str]


def enable() -> None:
    """Makes FFmpeg's notes available to `av.logging.Capture`; by default, PyAV drops them.

    By default, PyAV also drops a note that repeats the last one, even one of another file.
    """
    level = av.logging.get_level()
    if level is None or level < av.logging.WARNING:
        av.logging.set_level(av.logging.WARNING)
    av.logging.set_skip_repeated(False)


def errors(notes: list[Note]) -> list[str]:
    """The texts of those that are errors, each in one line."""
    return [" ".join(text.split()) for level, _, text in notes if level <= av.logging.ERROR]


def reason(error: Exception, notes: list[Note]) -> str:
    """One line on why something failed, from FFmpeg's notes where there are any."""
    texts = errors(notes)
    return texts[0] if texts else getattr(error, "strerror", None) or str(error)
