"""From songs and their labels to batches: TFDS builders, shards and the tf.data pipeline."""
