"""The pure part of training: losses, steps, crops, and the steps on all devices."""
