"""A run: its config, checkpoints, logs, processes, and the training loop."""
