"""Plots and pages of curves and of training."""
