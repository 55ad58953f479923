"""The models against independent PyTorch builds: outputs, gradients, statistics.

The peer runs in float64, so that the difference is our rounding alone: two float32 builds differ
by more than either does from the truth where batch normalisation meets a nearly constant feature.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from damff_jax.models.damff import DAMFF
from damff_jax.models.kernels.gru import BiGRU

torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install -e '.[parity]'")
from damff_jax.benchmark.torch_peer import TorchDAMFF  # noqa: E402 (needs torch)

BATCH, SEGMENTS, FRAMES, MELS = 3, 8, 18, 24
RELATIVE = 1e-4


@pytest.fixture(scope="module", autouse=True)
def optimised():
    """Programs as users have them: tolerances are of their rounding."""
    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", False)
    yield
    jax.config.update("jax_disable_most_optimizations", before)


@pytest.fixture(scope="module")
def case():
    """A model whose variables all differ from their initial values, its peer, and a batch."""
    rng = np.random.default_rng(0)
    log_mel = rng.normal(-30, 12, (BATCH, SEGMENTS, FRAMES, MELS)).astype(np.float32)
    labels = rng.uniform(-1, 1, (BATCH, SEGMENTS, 2)).astype(np.float32)
    mask = np.ones((BATCH, SEGMENTS), bool)
    model = DAMFF(axis_name=None, squeeze_channels=2, hidden_size=12)
    variables = jax.jit(lambda k: model.init(k, log_mel, mask, train=False))(jax.random.key(0))
    variables = jax.tree.map(
        lambda a: (a * rng.uniform(0.8, 1.2, a.shape) + rng.uniform(0, 0.2, a.shape)).astype("f4"),
        variables,
    )
    # A negative scale reverses the order of the pooled values.
    variables["params"] = jax.tree.map_with_path(
        lambda path, a: (
            a * rng.choice([-1, 1], a.shape).astype("f4") if path[-1].key == "scale" else a
        ),
        variables["params"],
    )
    variables["input_stats"] = {
        "mean": rng.normal(-30, 2, MELS).astype(np.float32),
        "std": rng.uniform(9, 15, MELS).astype(np.float32),
    }
    peer = TorchDAMFF(frames=FRAMES, n_mels=MELS, squeeze_channels=2, hidden_size=12)
    peer = peer.double()
    return model, variables, peer, log_mel, labels, mask


def assert_close(actual, expected, name=""):
    expected = np.asarray(expected)
    tolerance = RELATIVE * np.abs(expected).max()
    np.testing.assert_allclose(np.asarray(actual), expected, rtol=0, atol=tolerance, err_msg=name)


@pytest.mark.parametrize("train", [False, True])
def test_outputs_gradients_and_statistics(case, train):
    model, variables, peer, log_mel, labels, mask = case

    @jax.jit
    def loss_and_grads(params):
        def loss_fn(params):
            y, updates = model.apply(
                {**variables, "params": params}, log_mel, mask, train=train, mutable=["batch_stats"]
            )
            return jnp.mean((y - labels) ** 2), (y, updates)

        return jax.value_and_grad(loss_fn, has_aux=True)(params)

    (_, (y, updates)), grads = loss_and_grads(variables["params"])

    peer.load_flax(variables)
    peer.train(train)
    peer.zero_grad()
    peer_y = peer(torch.from_numpy(log_mel).double())
    torch.mean((peer_y - torch.from_numpy(labels)) ** 2).backward()
    assert_close(y, peer_y.detach().numpy(), "output")

    # Loading our gradients like variables arranges them as the peer's.
    ours = TorchDAMFF(frames=FRAMES, n_mels=MELS, squeeze_channels=2, hidden_size=12)
    ours.load_flax({**variables, **updates, "params": grads})
    largest = max(p.grad.abs().max().item() for p in peer.parameters())
    for (name, grad), p in zip(ours.named_parameters(), peer.parameters(), strict=True):
        if "bias_hh" in name:
            continue  # PyTorch's second LSTM bias, which has the gradient of the first
        if train and _is_bias_before_norm(name):
            # Batch normalisation cancels such a bias: its gradient is only rounding.
            assert max(grad.abs().max().item(), p.grad.abs().max().item()) < 1e-6 * largest, name
        else:
            assert_close(grad.detach().numpy(), p.grad.numpy(), name)

    # PyTorch's running variance is the unbiased one, n / (n - 1) times ours.
    if train:
        means = {n: b for n, b in ours.named_buffers() if "running_mean" in n}
        assert len(means) == 10
        for name, mean in means.items():
            assert_close(mean.numpy(), dict(peer.named_buffers())[name].numpy(), name)


def _is_bias_before_norm(name: str) -> bool:
    convolution = name.startswith("branches") and name.endswith("0.bias")
    dense = name.startswith("fusion") and name.endswith(("0.bias", "3.bias"))
    return convolution or dense


def test_parameter_counts_differ_by_the_second_lstm_bias():
    model = DAMFF(axis_name=None)
    log_mel, mask = jnp.zeros((1, 1, 50, 128)), jnp.ones((1, 1), bool)
    params = jax.eval_shape(
        lambda: model.init(jax.random.key(0), log_mel, mask, train=False)["params"]
    )
    count = sum(p.size for p in jax.tree.leaves(params))
    assert sum(p.numel() for p in TorchDAMFF().parameters()) == count + 2 * 4 * 48


def test_a_wrong_shape_is_refused(case):
    with pytest.raises(ValueError, match="cannot load"):
        TorchDAMFF(frames=FRAMES, n_mels=MELS, hidden_size=16).load_flax(case[1])


def test_the_gru_is_that_of_pytorch():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(3, 6, 5)).astype(np.float32)
    layer = BiGRU(hidden_size=4)
    mask = np.ones((3, 6), bool)
    shapes = jax.eval_shape(lambda: layer.init(jax.random.key(0), x, mask)["params"])
    params = jax.tree.map(lambda p: rng.normal(0, 0.5, p.shape).astype(np.float32), shapes)

    peer = torch.nn.GRU(5, 4, batch_first=True, bidirectional=True).double()
    with torch.no_grad():
        for direction, suffix in enumerate(("", "_reverse")):
            own = {name: torch.from_numpy(p[direction]) for name, p in params.items()}
            # The gates' second biases are zero, the candidate's is ours.
            second_bias = torch.cat([torch.zeros(8), own["candidate_bias"]])
            for name, value in (
                ("weight_ih_l0", own["input_kernel"].T),
                ("weight_hh_l0", own["recurrent_kernel"].T),
                ("bias_ih_l0", own["bias"]),
                ("bias_hh_l0", second_bias),
            ):
                getattr(peer, name + suffix).copy_(value)

    y, pull_back = jax.vjp(lambda params, x: layer.apply({"params": params}, x, mask), params, x)
    peer_x = torch.from_numpy(x).double().requires_grad_()
    peer_y, _ = peer(peer_x)
    assert_close(y, peer_y.detach().numpy(), "output")

    weights = rng.normal(size=y.shape).astype(np.float32)
    grads, x_grad = pull_back(jnp.asarray(weights))
    (peer_y * torch.from_numpy(weights)).sum().backward()
    assert_close(x_grad, peer_x.grad.numpy(), "input")
    for direction, suffix in enumerate(("", "_reverse")):
        peer_grads = {
            "input_kernel": getattr(peer, f"weight_ih_l0{suffix}").grad.T,
            "recurrent_kernel": getattr(peer, f"weight_hh_l0{suffix}").grad.T,
            "bias": getattr(peer, f"bias_ih_l0{suffix}").grad,
            "candidate_bias": getattr(peer, f"bias_hh_l0{suffix}").grad[8:],
        }
        for name, grad in peer_grads.items():
            assert_close(grads[name][direction], grad.numpy(), name + suffix)
