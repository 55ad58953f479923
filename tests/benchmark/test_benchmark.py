import functools
import json
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from damff_jax import predict as predict_command
from damff_jax.benchmark import __main__ as command
from damff_jax.benchmark import (
    collectives,
    deam,
    features,
    input,
    lstm,
    made_up,
    plot,
    predict,
    recipe,
    results,
    roofline,
    scaling,
    step,
    table,
)
from damff_jax.benchmark.collectives import Collective
from damff_jax.benchmark.recipe import Sizes
from damff_jax.benchmark.settings import BenchmarkError, Settings, Variant
from damff_jax.benchmark.timing import Plan, Work, in_turns, median_and_spread
from damff_jax.features import FeatureConfig
from damff_jax.models import create_model
from damff_jax.system import extras
from damff_jax.training import parallel

ROOT = Path(__file__).parents[2]
# The paper's form, and one that compiles quickly.
TINY_MODEL = {"channels": (2, 3, 4), "hidden_size": 3}
TINY = Sizes(segments=4, frames=8, n_mels=16, model=TINY_MODEL)
ONE_BRANCH = {"channels": (2, 2, 2), "branches": "a", "sequence": "none"}
SIMPLE = Sizes(segments=4, frames=8, n_mels=16, model=ONE_BRANCH)
TINY_FEATURES = FeatureConfig(
    sample_rate=16000, n_fft=1024, win_length=1024, hop_length=1000, n_mels=16
)
QUICK = Settings(rounds=2, seconds=0.0)
CEILINGS = {"flops_per_s": 1e9, "bytes_per_s": 1e9}
SMALL_LSTM = {"batch_size": 2, "segments": 4, "features": 6, "hidden_size": 3}
KEYS = {"suite", "name", "median_s", "spread_s", "compile_s", "ratio", "ratio_spread", "peers"}


@pytest.fixture
def known_ceilings(monkeypatch):
    for suite in (step, lstm):
        monkeypatch.setattr(suite, "ceilings", lambda device, dtype: CEILINGS)


class FakeClock:
    """A clock that only works advance, and that records whose turn it was."""

    def __init__(self):
        self.now = 0.0
        self.log = []

    def __call__(self):
        return self.now

    def work(self, name, durations):
        durations = iter(durations)

        def call():
            self.log.append(name)
            self.now += next(durations)

        return Work(call)


def forever(seconds):
    while True:
        yield seconds


# ------------------------------------------------------------------------------------ timing


def test_turns_alternate_and_calls_before_them_do_not_count():
    clock = FakeClock()
    works = {
        "a": clock.work("a", [100, 100, 1, 2, 3, 4]),
        "b": clock.work("b", [50, 50, 5, 6, 7, 8]),
    }
    measured = in_turns(works, Plan(rounds=4, seconds=0), clock=clock)
    assert clock.log == list("aabbabbaabba")
    np.testing.assert_array_equal(measured["a"], [1, 2, 3, 4])
    np.testing.assert_array_equal(measured["b"], [5, 6, 7, 8])


def test_a_measurement_lasts_as_long_as_both_limits_say():
    clock = FakeClock()
    works = {"a": clock.work("a", forever(1.0)), "b": clock.work("b", forever(3.0))}
    plan = functools.partial(Plan, turn_seconds=1.0)
    assert len(in_turns(works, plan(rounds=3, seconds=0), clock=clock)["a"]) == 3
    assert len(in_turns(works, plan(rounds=3, seconds=39), clock=clock)["b"]) == 10


def test_quick_calls_are_counted_by_the_turn():
    clock = FakeClock()
    works = {"quick": clock.work("q", forever(1 / 64)), "slow": clock.work("s", forever(2.0))}
    measured = in_turns(works, Plan(rounds=1, seconds=0, turn_seconds=0.25), clock=clock)
    assert "".join(clock.log) == "qq" + "ss" + 16 * "q" + "s"
    assert measured["quick"] == [1 / 64]
    assert measured["slow"] == [2.0]


@pytest.mark.parametrize("pipelined", [False, True])
def test_a_turn_includes_waiting_for_its_work(pipelined):
    clock = FakeClock()
    waited = []

    def barrier(result):
        waited.append(result)
        clock.now += 1.0

    work = Work(lambda: "result", barrier, pipelined)
    plan = Plan(rounds=1, seconds=0, turn_seconds=4.0)
    measured = in_turns({"a": work}, plan, clock=clock)
    # Two calls to warm up, then a turn of four.
    assert waited == ["result"] * (3 if pipelined else 6)
    assert measured["a"] == [0.25 if pipelined else 1.0]


def test_the_spread_is_the_distance_between_the_quartiles():
    assert median_and_spread(np.array([5.0, 1.0, 2.0, 4.0, 3.0])) == (3.0, 2.0)
    assert median_and_spread(np.array([7.0])) == (7.0, 0.0)


# ------------------------------------------------------------------------------------ roofline


def test_operations_are_those_of_products_and_convolutions_that_are_used():
    a, b = jnp.zeros((3, 5)), jnp.zeros((5, 7))
    assert roofline.model_flops(jnp.dot, a, b) == 2 * 3 * 5 * 7

    def loop(a, b):
        return jax.lax.scan(lambda c, _: (c + a @ b, None), jnp.zeros((3, 7)), length=11)[0]

    assert roofline.model_flops(jax.jit(loop), a, b) == 11 * 2 * 3 * 5 * 7

    def unused(a, b):
        return a @ b, jax.vjp(lambda b: a @ b, b)[1](jnp.ones((3, 7)))[0]

    assert roofline.model_flops(jax.jit(unused), a, b) == 2 * 2 * 3 * 5 * 7

    def convolution(x, kernel):
        names = ("NHWC", "HWIO", "NHWC")
        return jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=names)

    x, kernel = jnp.zeros((2, 6, 5, 3)), jnp.zeros((3, 1, 3, 4))
    assert roofline.model_flops(convolution, x, kernel) == 2 * (2 * 6 * 5 * 4) * (3 * 1 * 3)


def test_operations_of_the_papers_model_are_those_of_its_layers():
    model = create_model(recipe.PAPER.model_config(), dtype="float32", axis_name=None)
    log_mel, mask = jnp.zeros((1, 60, 50, 128)), jnp.ones((1, 60), bool)
    apply = functools.partial(model.apply, train=False)
    variables = jax.eval_shape(
        functools.partial(model.init, train=False), jax.random.key(0), log_mel, mask
    )
    count = roofline.model_flops(apply, variables, log_mel, mask)
    # By hand, multiplications per segment.
    convolutions = 50 * 64 * 8 * 16 * (25 + 9) + 25 * 32 * 32 * 64 * (9 + 25)
    attention = 2 * 64 * 16 + 2 * 192 * 48
    sequence = 2 * (192 + 48) * 4 * 48 + 96 * 2
    products = convolutions + attention + 12 * 16 * 64 + sequence
    # On the CPU a convolution of one channel is a sum of shifted images: the others' is counted.
    first = 50 * 128 * 8 * (5 + 3)
    assert count == 2 * 60 * (products + first)


def test_the_larger_floor_binds():
    def of(n_bytes):
        analysis = {"model_flops": 2e9, "bytes": n_bytes}
        return roofline.roofline(np.array([5.0, 6.0, 9.0]), analysis, CEILINGS)

    bound_by = of(1e9)
    assert (bound_by["compute_s"], bound_by["memory_s"], bound_by["bound"]) == (2, 1, "compute")
    assert bound_by["ratio"] == 3
    assert (of(3e9)["bound"], of(3e9)["ratio"]) == ("memory", 2)
    assert (of(None)["bound"], of(None)["memory_s"]) == ("compute", None)


def test_a_compiler_without_an_analysis_gives_none():
    class Compiled:
        def cost_analysis(self):
            return None

    assert roofline.cost(Compiled()) == {"flops": None, "bytes": None}
    compiled = jax.jit(lambda x: x @ x).lower(jnp.zeros((8, 8))).compile()
    assert roofline.cost(compiled)["flops"] > 0


def test_ceilings_are_measured():
    rates = roofline.ceilings(jax.local_devices()[0], "float32")
    assert set(rates) == {"flops_per_s", "bytes_per_s"}
    assert min(rates.values()) > 0


# ------------------------------------------------------------------------------------ results


def some_case(name="train", scale=1.0, **more):
    seconds = {"ours": scale * np.array([2.0, 4.0, 3.0]), "torch": np.array([1.0, 4.0, 2.0])}
    return results.case("step", name, seconds, n_clips=6, n_devices=2, **more)


def test_a_ratio_is_that_of_the_same_round():
    case = some_case(compile_s=1.5, flops=7)
    assert case.keys() > KEYS
    assert (case["median_s"], case["spread_s"], case["compile_s"]) == (3.0, 1.0, 1.5)
    assert case["ratio"] == {"torch": 1.5}
    assert case["ratio_spread"] == {"torch": 0.5}
    assert case["peers"] == {"torch": {"median_s": 2.0, "spread_s": 1.5}}
    assert (case["clips_per_s"], case["clips_per_s_per_device"]) == (2.0, 1.0)
    assert case["flops"] == 7
    assert "torch 1.50 ± 0.50" in table.row(case)
    assert table.row(some_case()).split()[:5] == ["step/train", "3.00", "s", "1.00", "s"]


def test_the_json_comes_back(tmp_path):
    results.write(tmp_path / "a.json", [some_case()])
    content = results.read(tmp_path / "a.json")
    assert set(content) == {"device", "versions", "cases"}
    assert content["versions"]["jax"] == jax.__version__
    assert content["device"]["count"] == 4
    assert content["cases"] == [some_case()]


def test_two_files_are_compared_case_by_case():
    old = results.document([some_case(), some_case("gone")])
    new = results.document([some_case(scale=2.0), some_case("eval")])
    lines = table.compare(old, new).splitlines()
    # Both vary by a third, independently: 2 · √(1/9 + 1/9) = .943.
    assert lines[1].split() == ["step/train", "3.00", "s", "6.00", "s", "2.000", "±", "0.943"]
    assert lines[2].endswith("(new case)")
    assert len(lines) == 3
    old["device"] = {"kind": "another"}
    assert "devices differ" in table.compare(old, new)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, ""),
        (0.0, "0.00 µs"),
        (4.321e-6, "4.32 µs"),
        (0.09876, "98.8 ms"),
        (0.4321, "432 ms"),
        (1.0, "1.00 s"),
        (75.26, "75.3 s"),
        (4321.0, "4321 s"),
    ],
)
def test_seconds_have_three_digits(seconds, text):
    assert table.format_seconds(seconds) == text


def test_the_picture(tmp_path):
    plot.plot(tmp_path / "a.png", "one $ machine", [some_case(), some_case("eval")] * 3)
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


# ------------------------------------------------------------------------------------ suites


def test_names_show_what_differs_from_the_papers_setting_on_one_device():
    assert Variant().name("train") == "train"
    assert Variant(8, "bfloat16", 2).name("train") == "train/batch8/bfloat16/devices2"
    assert Variant(n_devices=4).name("eval") == "eval/devices4"
    settings = Settings(batch_sizes=(4, 8), dtypes=("float32", "bfloat16"), devices=(1, 2))
    assert len(set(settings.variants())) == 8


def test_step(known_ceilings, monkeypatch):
    monkeypatch.setattr(step, "_torch_work", lambda *arguments: Work(lambda: None))
    settings = Settings(devices=(1, 2), compare_torch=True, rounds=2, seconds=0.0)
    cases = list(step.cases(settings, SIMPLE))
    assert [c["name"] for c in cases] == ["train", "eval", "train/devices2", "eval/devices2"]
    for case, n_devices in zip(cases, (1, 1, 2, 2), strict=True):
        assert case.keys() > KEYS
        assert case["suite"] == "step"
        assert case["compile_s"] > 0
        assert case["clips_per_s_per_device"] == case["clips_per_s"] / n_devices
        assert case["bytes"] > 0
        assert case["roofline"]["ratio"] > 0
        # There is no PyTorch peer on several devices.
        assert list(case["ratio"]) == ["torch"][: 2 - n_devices]
    # A device has half of the work, and training three times that of evaluation or less.
    train, evaluation, halved, _ = (case["model_flops"] for case in cases)
    assert halved == train / 2
    assert 2 * evaluation < train <= 3 * evaluation
    json.dumps(cases, allow_nan=False)


def test_the_train_step_trains_and_is_compiled_once():
    _, state, one_step = recipe.build(Variant(), SIMPLE)
    train_step = recipe.train_step(one_step, recipe.local_devices(1))
    batch = parallel.split(made_up.batch(4, 4, 8, 16), devices=recipe.local_devices(1))
    compiled = []
    jax.monitoring.register_event_duration_secs_listener(
        lambda name, seconds, **_: compiled.append(name) if "backend_compile" in name else None
    )
    train_step.lower(state, batch).compile()
    n_compiled = len(compiled)
    call = step.training(train_step, state, batch)
    losses = [float(call()[1]["loss"]) for _ in range(3)]
    assert losses[2] < losses[0]
    assert len(compiled) == n_compiled


def test_lstm(known_ceilings):
    settings = Settings(dtypes=("bfloat16",), rounds=2, seconds=0.0)
    (case,) = lstm.cases(settings, **SMALL_LSTM)
    assert case["name"] == "train/bfloat16"
    assert set(case["ratio"]) == set(case["peers"]) == {"linen_rnn"}
    assert case["compile_s"] > 0
    # Three products of the input's (two for the backward pass), as many of the state's.
    products = 2 * 2 * 4 * (6 + 3) * 4 * 3
    assert case["model_flops"] == 3 * 2 * products


def test_linens_lstm_has_as_many_parameters_and_outputs():
    x = np.zeros((2, 4, 6), np.float32)
    (apply, variables), (peer_apply, peer_variables) = (
        build(x, 3, "float32") for build in (lstm._ours, lstm._linen)
    )
    assert apply(variables, x).shape == peer_apply(peer_variables, x).shape == (2, 4, 6)
    counts = [sum(p.size for p in jax.tree.leaves(v)) for v in (variables, peer_variables)]
    assert counts[0] == counts[1]


def test_cudnns_lstm_can_be_traced_where_it_cannot_run(monkeypatch):
    sizes = "jaxlib.gpu_rnn.compute_rnn_workspace_reserve_space_sizes"
    monkeypatch.setattr(sizes, lambda *arguments: (1, 1), raising=False)
    apply, weights = lstm._cudnn(np.zeros((2, 4, 6), np.float32), 3)
    arguments = weights, jnp.zeros((2, 4, 6)), jnp.zeros((2, 4, 6))
    grads = jax.eval_shape(lstm._gradients(apply), *arguments)
    assert [g.shape for g in grads] == [weights.shape, (2, 4, 6)]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_torchs_works(dtype):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    from damff_jax.benchmark import torch_works

    batch = made_up.batch(4, TINY.segments, TINY.frames, TINY.n_mels)
    how = {"dtype": dtype, "on_gpu": False}
    train = torch_works.train_step(TINY, batch, **how)
    losses = [train.call().item() for _ in range(5)]
    assert losses[-1] < losses[0]
    assert torch_works.eval_step(TINY, batch, **how).call().shape == (4, TINY.segments, 2)
    x, cotangent = np.zeros((2, 4, 6), np.float32), np.ones((2, 4, 6), np.float32)
    grads = torch_works.lstm(x, cotangent, 3, **how).call()
    assert grads[0].shape == x.shape
    assert sum(g.numel() for g in grads[1:]) == 2 * (6 + 3 + 2) * 4 * 3
    assert all(torch.isfinite(g).all() for g in grads)


def test_torchs_loss_is_ours():
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    from damff_jax.benchmark import torch_works
    from damff_jax.training import losses

    x, y = (made_up.labels((3, 5, 2), seed=seed) for seed in (1, 2))
    ours = losses.ccc_pooled(x, y, np.ones_like(x, bool))
    theirs = torch_works.ccc_pooled(torch.from_numpy(x), torch.from_numpy(y))
    np.testing.assert_allclose(ours, theirs.numpy(), rtol=1e-5)


def test_features():
    log_mel, workers = features.cases(QUICK, seconds=1.5)
    assert log_mel["name"] == "log_mel"
    assert workers["name"].startswith("log_mel/workers")
    assert workers["speedup"] > 0
    for case in (log_mel, workers):
        assert case["compile_s"] is None
        assert set(case["ratio"]) == {"librosa"}
        assert 0 <= case["max_difference_db"] <= 1e-4
        assert case["times_real_time"].keys() == {"ours", "librosa"}


def test_features_that_differ_are_no_comparison():
    measured = {"ours": np.ones(2), "librosa": np.ones(2)}
    for difference_db in (0.01, float("nan")):
        with pytest.raises(BenchmarkError, match="differ by"):
            features._case("log_mel", measured, 1.0, 1, difference_db)


def test_input(monkeypatch):
    monkeypatch.setattr(input, "n_cores", lambda: 1)
    monkeypatch.setattr(input.reading, "cases", lambda suite, numbers, n_steps: [])
    cases = list(
        input.cases(QUICK, SIMPLE, n_songs=3, song_segments=9, features=TINY_FEATURES, n_records=1)
    )
    assert [case["name"] for case in cases] == ["crops", "train", "shards"]
    crops, train, shards = cases
    assert crops["clips_per_s"] == pytest.approx(4 / crops["median_s"])
    assert 0 <= train["waiting"] <= 1
    assert train["pipeline_to_step"] > 0
    assert train["compile_s"] > 0
    assert shards["clips_per_s"] > 0
    assert crops["compile_s"] is shards["compile_s"] is None


def test_reading(monkeypatch):
    """A training in this process instead of one of its own."""
    what = []

    def measure(measurement):
        what.append(measurement)
        return input.reading.measure(measurement)

    monkeypatch.setattr(input.reading, "_measure", measure)
    monkeypatch.setattr(input.reading.time, "sleep", lambda seconds: None)
    sizes = {"features": TINY_FEATURES, "song_segments": 25, "crop_segments": 4, "batch_size": 2}
    memory, stream = input.reading.cases("input", [3], n_batches=40, n_steps=4, **sizes)
    assert [case["name"] for case in (memory, stream)] == ["memory/3", "stream/3"]
    assert [m.reading for m in what] == ["stream", "memory", "stream"]
    for case in (memory, stream):
        assert case["rounds"] == 2 and case["n_steps"] == 4
        assert case["clips_per_s"] == pytest.approx(2 / case["median_s"])
        assert case["slowest_step"] >= 1
        assert case["peak_bytes"] > 2**27
        assert "first batch after" in case["notes"][1]


@pytest.mark.slow
def test_reading_is_measured_in_a_process_of_its_own(tmp_path):
    sizes = {"features": TINY_FEATURES, "crop_segments": 4, "batch_size": 2, "n_steps": 3}
    case = input.reading._measure(
        input.reading.Measurement(str(tmp_path), 3, n_batches=20, **sizes)
    )
    # From the start of the process, which has to import JAX and TensorFlow.
    assert 0.5 < case["first_batch_s"] < 300
    assert len(case["seconds"]) == 1


def test_a_measurement_that_fails_is_an_error_of_one_line(monkeypatch, tmp_path):
    failed = subprocess.CompletedProcess(
        [], 1, stdout="", stderr="Traceback\nMemoryError: no more\n"
    )
    monkeypatch.setattr(subprocess, "run", lambda *arguments, **how: failed)
    with pytest.raises(BenchmarkError, match="training on 3 songs failed: MemoryError: no more"):
        input.reading._measure(input.reading.Measurement(str(tmp_path), 3))


def test_deam():
    settings = Settings(devices=(2,))
    (case,) = deam.cases(settings, SIMPLE, n_songs=5, n_epochs=4, batch_size=4, steps_per_call=3)
    assert case["name"] == "run/devices2"
    assert 0 < case["compile_s"] < case["median_s"]
    # 20 clips, rounded up to whole calls.
    assert case["clips_per_s"] == pytest.approx(24 / case["median_s"])


def test_the_time_of_collectives_is_that_of_their_bytes_and_hops():
    found = [Collective("all-reduce", 600), Collective("all-reduce", 400)]
    # 4 × 4 × 2 chips: rings of 3, 3 and 1 hops, there and back, for each of the two.
    torus = [scaling.Level(64, 1e6, 1e-3, dimensions=3)]
    assert scaling.seconds(found, 32, torus) == pytest.approx(2 * 1000 * 31 / 32 / 1e6 + 28e-3)
    # A switch of 4, and between such groups one where each chip has a quarter of the sum.
    switches = [scaling.Level(4, 1e6, 0.0), scaling.Level(1e9, 1e3, 1e-3)]
    inner, outer = 2 * 1000 * 3 / 4 / 1e6, 2 * 250 * 7 / 8 / 1e3 + 2 * 2 * 3e-3
    assert scaling.seconds(found, 32, switches) == pytest.approx(inner + outer)
    assert scaling.seconds(found, 1, switches) == 0


def test_scaling(monkeypatch):
    """A prediction from one device's step, named as such."""
    monkeypatch.setattr(
        collectives, "of_training_step", lambda dtype, model: [Collective("all-reduce", 8000)]
    )
    cases = list(scaling.cases(QUICK, SIMPLE))
    assert len(cases) == len(scaling.NETWORKS) * len(scaling.CHIPS)
    assert cases[0]["name"] == "tpu_v5p/8" and cases[-1]["name"] == "h100/1024"
    for case in cases:
        assert case["notes"][0].startswith("PREDICTION")
        prediction = case["prediction"]
        assert (prediction["collectives"], prediction["bytes"]) == (1, 8000)
        assert 0 < prediction["of_linear"] < 1
        assert case["median_s"] > prediction["measured_s"]
    efficiency = [case["prediction"]["of_linear"] for case in cases[: len(scaling.CHIPS)]]
    assert efficiency == sorted(efficiency, reverse=True)


def test_a_step_that_cannot_be_compiled_is_an_error():
    with pytest.raises(BenchmarkError, match=r"scaling: .* \(ValueError: model.depth: no such"):
        collectives.of_training_step("float32", {"depth": 3})


def test_predict(monkeypatch, tmp_path):
    runs = []

    def fake(song, workdir, cache):
        assert song.is_file()
        runs.append(len(list(cache.glob("*"))))
        cache.mkdir(exist_ok=True)
        (cache / "program").touch()

    monkeypatch.setattr(predict, "_predict", fake)
    cases = list(predict.cases(QUICK, SIMPLE, features=TINY_FEATURES, seconds=2.0))
    assert [case["name"] for case in cases] == ["file", "file/warm_cache"]
    # Warming up, then turns: the cold runs find nothing, the others what the first one left.
    assert runs[:2] == [0, 0]
    assert sorted(runs[2 : 2 + 4 * (len(runs) // 4)])[0] == 0
    assert set(runs[2:]) == {0, 1}


def test_predict_takes_the_checkpoint(tmp_path, capsys):
    import soundfile

    predict.write_checkpoint(tmp_path / "run", SIMPLE, TINY_FEATURES)
    song = tmp_path / "song.mp3"
    soundfile.write(song, made_up.sound(3.0, 16000), 16000, format="MP3")
    argv = [str(song), f"--checkpoint={tmp_path / 'run'}", f"--output_dir={tmp_path}"]
    assert predict_command.main(argv) == 0
    assert (tmp_path / "song.csv").read_text().count("\n") == 1 + 6


def test_a_prediction_that_fails_is_an_error(tmp_path):
    (tmp_path / "song.mp3").touch()
    with pytest.raises(BenchmarkError, match=r"status 2: predict: error: .*no checkpoint"):
        predict._predict(tmp_path / "song.mp3", tmp_path, tmp_path / "cache")


def test_model_suites_run_without_tensorflow():
    code = """
import sys
from damff_jax.benchmark import features, lstm, predict, step
from damff_jax.benchmark.recipe import Sizes
from damff_jax.benchmark.settings import Settings
step.ceilings = lambda device, dtype: {"flops_per_s": 1e9, "bytes_per_s": 1e9}
settings = Settings(rounds=1, seconds=0.0)
model = {"channels": (2, 2, 2), "branches": "a", "sequence": "none"}
list(step.cases(settings, Sizes(segments=4, frames=8, n_mels=16, model=model)))
assert not any(name.split(".")[0].startswith("tensorflow") for name in sys.modules)
assert "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


# ------------------------------------------------------------------------------------ command line


@pytest.fixture
def measured(monkeypatch):
    """Suites that yield one case each, immediately."""
    seen = []

    def run(suites, settings):
        seen.append((suites, settings))
        for suite in suites:
            yield {**some_case(), "suite": suite}

    monkeypatch.setattr(command, "run", run)
    return seen


def test_a_run_from_flags_to_files(measured, tmp_path, capsys):
    old, new, picture = (tmp_path / name for name in ("old.json", "new.json", "new.png"))
    assert command.main(["--suite=step", f"--json={old}"]) == 0
    flags = [
        "--suite=lstm,step",
        "--batch_sizes=4,8",
        "--dtypes=bfloat16",
        "--devices=1,2",
        "--repeats=3",
        "--seconds=0.5",
    ]
    argv = [*flags, f"--json={new}", f"--plot={picture}", f"--against={old}"]
    assert command.main(argv) == 0
    assert measured[1] == (
        ("lstm", "step"),
        Settings((4, 8), ("bfloat16",), (1, 2), compare_torch=False, rounds=3, seconds=0.5),
    )
    assert [case["suite"] for case in results.read(new)["cases"]] == ["lstm", "step"]
    assert picture.is_file()
    out = capsys.readouterr().out
    assert "step/train" in out
    assert "1.000 ± 0.471" in out


def test_all_suites_run_by_default_and_each_exists(measured):
    assert command.main([]) == 0
    ((suites, settings),) = measured
    assert suites == command.DEFAULT_SUITES == ("step", "lstm", "input", "features", "predict")
    assert settings == Settings()
    for module, name in zip((step, lstm, input, features, predict), suites, strict=True):
        assert name == module.SUITE


def test_results_are_kept_after_a_failure(monkeypatch, tmp_path, capsys):
    def run(suites, settings):
        yield some_case()
        raise BenchmarkError("no more")

    monkeypatch.setattr(command, "run", run)
    assert command.main([f"--json={tmp_path / 'a.json'}"]) == 1
    assert len(results.read(tmp_path / "a.json")["cases"]) == 1
    assert capsys.readouterr().err == "benchmark: error: no more\n"


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--suite=speed"], "'speed'; available: step, lstm"),
        (["--suite="], "''; available"),
        (["--batch_sizes=4,none"], "'none' is not a positive integer"),
        (["--batch_sizes=0"], "'0' is not a positive"),
        (["--dtypes=float64"], "'float64'; available: float32, bfloat16"),
        (["--batch_sizes=6", "--devices=4"], "batch size 6 is not a multiple of 4 devices"),
        (["--batch_sizes=8", "--devices=8"], "8 requested, but only 4 available"),
        (["--repeats=-1"], "not a positive"),
        (["--seconds=nan"], "not a duration"),
        (["--json=/nowhere/at/all.json"], "/nowhere/at: No such file or directory"),
        (["--compare=numpy"], "invalid choice"),
        (["--against=/nowhere.json"], "No such file"),
        (["everything"], "unrecognized arguments"),
    ],
)
def test_a_wrong_command_line_prints_one_line_and_status_2(measured, argv, message, capsys):
    with pytest.raises(SystemExit) as error:
        command.main(argv)
    assert error.value.code == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert message in lines[0]
    assert not measured


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"cases": [{"suite": "step"}]}'])
def test_another_file_is_nothing_to_compare_with(measured, content, tmp_path, capsys):
    (tmp_path / "old.json").write_text(content)
    with pytest.raises(SystemExit):
        command.main([f"--against={tmp_path / 'old.json'}"])
    assert "not a JSON file of the benchmark" in capsys.readouterr().err


def test_missing_torch_is_reported_before_anything_runs(measured, monkeypatch, capsys):
    monkeypatch.setitem(extras._MODULES, "parity", ("no_such_module",))
    with pytest.raises(SystemExit) as error:
        command.main(["--compare=torch"])
    assert error.value.code == 2
    assert "needs the extra [parity]" in capsys.readouterr().err
    assert not measured
