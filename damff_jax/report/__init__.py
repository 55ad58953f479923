"""Plots and pages of curves and of training."""

COLOURS = {"valence": "#1f77b4", "arousal": "#d62728"}
