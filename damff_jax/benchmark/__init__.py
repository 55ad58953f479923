"""How fast the parts run, against the best there is: `python -m damff_jax.benchmark`.

A file per suite (`step`, `lstm`, `input`, `features`, `predict`), each with a generator `cases`
that takes `Settings` and gives the cases as they are measured. The rest is what they share. Only
`input` loads TensorFlow.
"""
