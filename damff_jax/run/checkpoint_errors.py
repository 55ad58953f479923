"""What can be wrong with a checkpoint; importing it takes no JAX, unlike using a checkpoint."""


class CheckpointError(ValueError):
    """A checkpoint that is missing, damaged or does not fit; the message is one line."""


class CheckpointWarning(UserWarning):
    """A checkpoint is damaged, and what is done without it; the message is one line."""
