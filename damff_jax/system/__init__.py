"""What the operating system gives: files, locks, signals, digests and the command line."""
