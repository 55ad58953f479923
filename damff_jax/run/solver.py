"""Training a model in closed form, into a workdir."""

import functools
import math

import jax
import jax.numpy as jnp
import optax

from damff_jax.evaluation import metrics
from damff_jax.evaluation.inference import Windowing
from damff_jax.run.metric_writer import MetricWriter
from damff_jax.run.run import Data, Run, first_state, open_workdir, validate
from damff_jax.run.train_log import banner
from damff_jax.training import closed_form, parallel
from damff_jax.training.train_state import TrainState


def solve(run: Run, data: Data) -> None:
    """Trains a model that has a closed-form solution; each candidate solution counts as a step.

    Validation chooses among the solutions as among the steps of a training.

    Raises:
      CheckpointError, FeatureMismatchError: the workdir holds another run.
    """
    state = first_state(run, data.train, optax.identity(), with_ema=False)
    with open_workdir(run, state) as (checkpoints, restored):
        if restored is not None:
            print(f"{run.workdir} already holds the solution")
            return
        banner("solving")
        best, chosen = -math.inf, state
        with MetricWriter(run.workdir, first_step=0) as writer:
            for step, solution in enumerate(solutions_of(run, data, state), start=1):
                values = {"params": solution.params, "batch_stats": solution.batch_stats}
                values = jax.tree.map(jnp.asarray, values)
                state = parallel.replicate(state.replace(step=jnp.int32(step), **values))
                if data.validation is None:
                    print(f"{solution.description}, not validated: there are no validation songs")
                    chosen = state
                    continue
                summary, score = validate(run, state, data.validation)
                writer.write(step, metrics.flatten(summary, "validation/"))
                v, a = (summary[name]["pooled"]["ccc"] for name in metrics.DIMENSIONS)
                print(f"{solution.description}: validation CCC valence {v:.3f} arousal {a:.3f}")
                if score > best:
                    best, chosen = score, state
        if data.validation is not None:
            checkpoints.save_if_best(chosen, run.meta, best)
        checkpoints.save(chosen, run.meta)


def solutions_of(run: Run, data: Data, state: TrainState) -> list[closed_form.Solution]:
    """See `closed_form.solutions`."""
    feature_step = functools.partial(closed_form.feature_step, model=run.model)
    apply = parallel.map_eval_step(feature_step, way=run.config.parallel)
    return closed_form.solutions(
        run.model,
        functools.partial(apply, state.eval_variables()),
        data.train,
        windowing=Windowing.of(run.config),
        batch_size=run.config.data.eval_batch_size * jax.local_device_count(),
        validated=data.validation is not None,
    )
