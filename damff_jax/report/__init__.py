"""Plots and pages of curves and of training."""

COLOURS = {"valence": "#1f77b4", "arousal": "#d62728"}
# Words for the quadrants of the plane, and where they stand: (valence, arousal).
QUADRANTS = {(0.5, 0.9): "excited", (-0.5, 0.9): "tense", (-0.5, -0.9): "sad", (0.5, -0.9): "calm"}
