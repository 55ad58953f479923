"""Formats of a curve, each a module whose `text` returns the content of a file."""

from damff_jax.report.formats import audacity, csv, jams, json, sonic_visualiser

__all__ = ["audacity", "csv", "jams", "json", "sonic_visualiser"]
