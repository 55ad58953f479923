"""The quadrants of the valence-arousal plane, after Russell's circumplex model of affect."""

# By their words: whether valence and whether arousal are positive; 0 counts as positive.
QUADRANTS = {
    "excited": (True, True),
    "tense": (False, True),
    "sad": (False, False),
    "calm": (True, False),
}


def place(words: str) -> tuple[float, float]:
    """Where a quadrant's words stand on the plane: valence and arousal."""
    is_pleasant, is_energetic = QUADRANTS[words]
    return 0.5 if is_pleasant else -0.5, 0.9 if is_energetic else -0.9
