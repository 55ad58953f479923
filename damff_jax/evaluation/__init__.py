"""Evaluation: predicting songs window by window, and scoring the curves."""
