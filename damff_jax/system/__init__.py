"""The operating system: files, locks, signals, digests and the command line."""
