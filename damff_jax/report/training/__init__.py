"""What a training report is made of: the run's files, its scores beside baselines, its sections."""
