"""The life of a run: its config, checkpoints, logs, processes, and the loop."""
