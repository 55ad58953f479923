"""The fault campaign: it counts outcomes, detects bad ones, and finds none at present."""

import json
import time

import numpy as np
import pytest

from tests import campaign
from tests.faults import mutations, workers


def run_pretended(tmp_path, n):
    return workers.run_trials("pretended", n, folder=tmp_path, seed=0, workers=2, limit=2.0)


def test_every_outcome_is_counted_and_the_bad_ones_are_reported(tmp_path):
    started = time.monotonic()
    counts, bad = run_pretended(tmp_path, 12)
    assert time.monotonic() - started < 100
    assert counts == {"refused": 2, "handled": 2, "silent": 2, "crashed": 4, "hung": 2}
    assert [line.split(":")[0] for line in bad] == [
        f"pretended {i}" for i in (2, 3, 4, 5, 8, 9, 10, 11)
    ]
    assert "3: crashed: the process died with exit status 7" in bad[1]
    assert "4: crashed: : KeyError: 'none'" in bad[2]


def test_mutations_are_a_function_of_the_seed():
    def mutated(seed):
        rng = np.random.default_rng(seed)
        return [mutations.mutate(bytes(500), rng) for _ in range(50)]

    assert mutated(0) == mutated(0) != mutated(1)
    kinds = {what.content != bytes(500) for what in mutated(0)}
    assert kinds == {True, False}
    for content, first, _ in mutated(2):
        assert content[:first] == bytes(500)[:first]


@pytest.mark.parametrize("argument", ["--audio=-1", "--workers=0", "--speakers=1"])
def test_bad_command_line_is_refused_with_status_2(argument):
    with pytest.raises(SystemExit) as stop:
        campaign.main([argument])
    assert stop.value.code == 2


@pytest.mark.slow
def test_nothing_is_silent_today(capsys):
    assert campaign.main(["--audio=600", "--labels=600", "--shards=40", "--seed=2"]) == 0
    numbers = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert list(numbers) == ["audio", "labels", "midi", "checkpoints", "shards", "kills"]
    assert numbers["audio"]["tried"] == 600 == sum(numbers["audio"].values()) - 600
    assert min(numbers["audio"]["refused"], numbers["audio"]["handled"]) > 100
