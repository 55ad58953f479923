"""Errors and warnings of checkpoints; in their own module, which does not import JAX."""


class CheckpointError(ValueError):
    """A checkpoint is missing, damaged or does not fit; the message is one line."""


class CheckpointWarning(UserWarning):
    """A checkpoint is damaged; the message is one line, and says what is done instead."""
