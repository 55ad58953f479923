"""Who is gone is told apart from who is not."""

import pytest

from damff_jax.run import peers
from damff_jax.run.peers import Peers


@pytest.fixture
def three(monkeypatch):
    """Processes that know each other, and whose aborts stay as they are."""
    monkeypatch.setattr(Peers, "_handle_aborts", lambda self: None)
    monkeypatch.setattr(peers.socket, "gethostname", lambda: "127.0.0.1")
    found = [Peers("train.py") for _ in range(3)]
    addresses = [one.listen() for one in found]
    for number, one in enumerate(found):
        one.meet(addresses, number)
    yield found
    for one in found:
        one.part(0)


def test_only_those_that_have_parted_are_gone(three):
    first, second, third = three
    assert first.gone() == second.gone() == []
    third.part(1)
    assert first.gone() == second.gone() == [2]
    second.part(1)
    assert first.gone() == [1, 2]


class EndError(Exception):
    """In place of the end of the process."""


@pytest.fixture
def without_end(monkeypatch):
    def end(status):
        raise EndError(status)

    monkeypatch.setattr(peers.os, "_exit", end)
    monkeypatch.setattr(peers, "_LINGER_SECONDS", 0)


def test_a_lost_connection_is_one_line_with_what_is_saved(three, without_end, tmp_path, capsys):
    first, second, _ = three
    first.saving_to(tmp_path)
    second.part(1)
    with pytest.raises(EndError, match="1"):
        first.explain(RuntimeError("UNKNOWN: Gloo all-reduce failed: Connection reset by peer"))
    assert capsys.readouterr().err == (
        f"train.py: error: process 1 is gone; no step is saved in {tmp_path} on this host\n"
    )


def test_a_process_that_ends_by_itself_keeps_its_status_and_says_nothing(
    three, without_end, capsys
):
    """Though it loses the connection to the others on its way."""
    three[0].part(143)
    with pytest.raises(EndError, match="143"):
        three[0].explain(RuntimeError("Socket closed"))
    assert capsys.readouterr().err == ""


def test_other_errors_are_left_to_others(three, without_end, capsys):
    for error in (ValueError("batch_size 3 is not a multiple"), KeyboardInterrupt()):
        three[0].explain(error)
    assert capsys.readouterr().err == ""
    assert peers.who([]) == "the connection to another process is lost"
    assert peers.who([1, 3]) == "processes 1, 3 are gone"
