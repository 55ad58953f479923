"""The pure part of training: losses, crops, and steps on one device or many."""
