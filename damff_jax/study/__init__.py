"""Studies: systems × folds × seeds, trained in the same way, and the table of their scores."""


class StudyError(ValueError):
    """A study that cannot be run or scored; the message is one line."""
