"""Curves of audio files: reading the files, applying the model, writing the curves."""
