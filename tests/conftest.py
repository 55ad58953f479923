"""Set-up that must come before JAX and TensorFlow are imported."""

import os

# Four simulated devices, so that what depends on their number can be tested anywhere.
os.environ["XLA_FLAGS"] = (
    os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=4"
)
