"""From songs and their labels to batches: TFDS builders, shards, and what is read from them."""

import os

# TensorFlow only reads and crops here; its start-up messages would hide our own.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
