"""Measures the speed of all parts against other libraries: `python -m damff_jax.benchmark`.

There is a file per suite (`step`, `lstm`, `input`, `features`, `predict`), each with a generator
`cases` that takes `Settings` and yields the cases as they are measured. The suites share the other
files. Only `input` loads TensorFlow.
"""
