"""Labels in one long table."""

import numpy as np
import pytest

from input_pipeline.annotations import LabelError, Scale
from input_pipeline.label_table import read_table

HEADER = "id,t,a,v,other\n"


def read(tmp_path, text, **settings):
    path = tmp_path / "labels.csv"
    path.write_text(text, encoding="utf-8")
    return read_table(path, song_id="id", time="t", valence="v", arousal="a", **settings)


def test_rows_in_any_order_become_curves(tmp_path):
    text = "\ufeff" + HEADER + "2.0,15.5,0.5,1,x\r\n7, 0,0,0\n2,15.0,0.25,.75,\n\n2,16.0,1,nan,\n"
    alignment = read(tmp_path, text, scale=Scale(0, 1))
    assert list(alignment.labels) == ["2", "7"]
    labels = alignment.labels["2"]
    assert labels.first_segment == 30
    # Valence first; the scale's middle is 0, and the span ends where one curve ends.
    np.testing.assert_array_equal(labels.values_TxV, np.float32([[0.5, -0.5], [1, 0]]))
    assert labels.mask_TxV.all() and alignment.unequal_lengths == ["2"]
    assert alignment.labels["7"].first_segment == 0


def test_a_missing_row_is_a_masked_segment(tmp_path):
    alignment = read(tmp_path, HEADER + "1,0,0,0\n1,1,0.5,0.5\n")
    assert alignment.interior_gaps == ["1"]
    np.testing.assert_array_equal(alignment.labels["1"].mask_TxV[:, 0], [True, False, True])


def test_a_song_without_any_label_is_named(tmp_path):
    alignment = read(tmp_path, HEADER + "1,0,0,0\n2,0,,\n")
    assert list(alignment.labels) == ["1"] and alignment.unlabelled == ["2"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "1: column 'id' is missing"),
        ("id,t,a\n1,0,0\n", "1: column 'v' is missing; found: id, t, a"),
        ("id,t,a,v,v\n1,0,0,0,0\n", "1: column 'v' occurs twice"),
        (HEADER, "1: no songs in the file"),
        (HEADER + "1,0,0,0,0,0\n", "2: the header has only 5 columns"),
        (HEADER + ",0,0,0\n", "2:1: no song id"),
        (HEADER + "1,,0,0\n", "2:2: no time"),
        (HEADER + "1,0.25,0,0\n", "2:2: 0.25 s is not a multiple of 0.5 s, 0 or later"),
        (HEADER + "1,-0.5,0,0\n", "2:2: -0.5 s is not a multiple"),
        (HEADER + "1,1e300,0,0\n", "2:2: 1e300 s is not a multiple"),
        (HEADER + "1,1e12,0,0\n", "2:2: 1e12 s is not a multiple"),
        (HEADER + "1,inf,0,0\n", "2:2: 'inf' is not a number"),
        (HEADER + "1,0,0,0\n1,0.0,0,0\n", "3:2: song 1 already has a row for 0.0 s"),
        (HEADER + "1,0,0,1.5\n", "2:4: 1.5 is outside [-1, 1]"),
        (HEADER + "1,0,x,0\n", "2:3: 'x' is not a number"),
    ],
)
def test_invalid_cells_are_refused_with_their_place(tmp_path, text, reason):
    with pytest.raises(LabelError) as caught:
        read(tmp_path, text)
    assert str(caught.value).startswith(f"{tmp_path / 'labels.csv'}:{reason}")
