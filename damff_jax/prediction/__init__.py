"""Curves of audio files: reading them, the model, and what is written."""
