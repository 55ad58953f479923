"""What is said of audio files: errors and warnings of one line that name the file."""


class AudioError(ValueError):
    """An audio file that cannot be used; the message is one line and names the file."""


class AudioWarning(UserWarning):
    """An audio file that is used although something about it is off."""
