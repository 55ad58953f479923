"""The labels of the real DEAM and VGMIDI; needs DAMFF_REAL_DATA, the folder that holds both."""

import csv
import json
import os
from pathlib import Path

import numpy as np
import pytest

from input_pipeline.annotations import read_labels
from input_pipeline.deam.settings import DeamSplit, mediaeval2015_ids, split_songs
from input_pipeline.midi import midi_seconds
from input_pipeline.vgmidi.ratings import labels_of, read_pieces
from input_pipeline.vgmidi.settings import DEFAULT_FOLDS, VgmidiSplit, split_pieces

ROOT = Path(os.environ.get("DAMFF_REAL_DATA", ""))
pytestmark = pytest.mark.skipif(
    "DAMFF_REAL_DATA" not in os.environ,
    reason="set DAMFF_REAL_DATA to a folder with deam/ and vgmidi/ to check the real labels",
)
DEAM_LABELS = Path(
    "deam/annotations/annotations averaged per song/dynamic (per second annotations)"
)


# DEAM --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def deam():
    return read_labels(ROOT / DEAM_LABELS)


def rows_of(name):
    with open(ROOT / DEAM_LABELS / name, encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file)
    return header, {row[0].strip(): row[1:] for row in rows}


@pytest.mark.parametrize(
    ("name", "last_column", "n_cells"),
    [
        ("arousal.csv", "sample_626500ms", 129_999),
        ("valence.csv", "sample_626000ms", 130_000),
    ],
)
def test_label_files_are_those_of_the_release(name, last_column, n_cells):
    header, rows = rows_of(name)
    assert (header[1], header[-1]) == ("sample_15000ms", last_column)
    assert len(rows) == 1802
    assert sum(bool(cell.strip()) for row in rows.values() for cell in row) == n_cells


def test_every_song_is_read_and_the_uneven_ones_are_named(deam):
    assert len(deam.labels) == 1802
    uneven = {3, 22, 2002, 2011, 2020, 2027, 2036, 2042, 2045}
    assert {int(song_id) for song_id in deam.unequal_lengths} == uneven
    assert deam.interior_gaps == ["3", "22"]
    assert deam.unlabelled == deam.valence_only == deam.arousal_only == []


def test_every_clip_has_sixty_labels_from_second_fifteen_on(deam):
    clips = [labels for song_id, labels in deam.labels.items() if int(song_id) <= 2000]
    assert len(clips) == 1744
    assert {(labels.first_segment, len(labels)) for labels in clips} == {(30, 60)}
    assert all(labels.mask_TxV.all() for labels in clips)


def test_all_common_segments_are_kept_and_no_other(deam):
    assert sum(map(len, deam.labels.values())) == 129_995
    assert all(labels.mask_TxV.all() for labels in deam.labels.values())


def test_labels_are_the_cells_of_the_files(deam):
    for v, name in enumerate(("valence.csv", "arousal.csv")):
        header, rows = rows_of(name)
        assert header[1 + 10] == "sample_20000ms"
        for song_id, labels in deam.labels.items():
            cells = np.array([float(cell) for cell in rows[song_id][: len(labels)]])
            np.testing.assert_allclose(labels.values_TxV[:, v], cells, rtol=0, atol=1e-7)


def test_means_and_deviations_are_the_known_ones(deam):
    values = np.concatenate([labels.values_TxV for labels in deam.labels.values()])
    np.testing.assert_allclose(values.mean(axis=0), [0.077, 0.127], rtol=0, atol=5e-4)
    np.testing.assert_allclose(values.std(axis=0), [0.251, 0.283], rtol=0, atol=5e-4)


def test_mediaeval2015_ids_are_the_recovered_ones():
    path = ROOT / "deam" / "mediaeval2015_dev431_ids_recovered.json"
    recovered = json.loads(path.read_text(encoding="utf-8"))
    assert len(recovered) == 431
    assert mediaeval2015_ids() == {str(song_id) for song_id in recovered}


@pytest.mark.parametrize(
    ("protocol", "sizes"),
    [
        ("release", {"train": 1570, "validation": 174, "test": 58}),
        ("mediaeval2015", {"train": 388, "validation": 43, "test": 58}),
    ],
)
def test_protocols_split_the_songs(deam, protocol, sizes):
    split_of = split_songs(list(deam.labels), DeamSplit(protocol=protocol))
    splits = list(split_of.values())
    assert {split: splits.count(split) for split in sizes} == sizes
    assert len(split_of) == sum(sizes.values())
    assert {s for s in split_of if split_of[s] == "test"} == {str(i) for i in range(2001, 2059)}


# VGMIDI ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def vgmidi():
    """Mean ratings and playing times by piece, and what was left out."""
    pieces, left_out = read_pieces(ROOT / "vgmidi" / "labelled" / "annotations")
    folder = ROOT / "vgmidi" / "labelled" / "midi"
    durations = {song_id: midi_seconds(folder / f"{song_id}.mid") for song_id in pieces}
    return pieces, durations, left_out


def test_all_pieces_are_read_and_three_annotations_left_out(vgmidi):
    pieces, _, left_out = vgmidi
    assert len(pieces) == 158
    assert {reason: len(names) for reason, names in left_out.items()} == {
        "annotations whose length differs from their piece": 3
    }


def test_ratings_have_the_known_means_and_deviations(vgmidi):
    pieces, durations, _ = vgmidi
    values = np.concatenate(
        [labels_of(pieces[song_id], durations[song_id]).values_TxV for song_id in pieces]
    )
    np.testing.assert_allclose(values.mean(axis=0), [0.16, 0.01], rtol=0, atol=0.006)
    np.testing.assert_allclose(values.std(axis=0), [0.23, 0.26], rtol=0, atol=0.006)


def test_default_folds_are_the_published_ones():
    folds = json.loads((ROOT / "vgmidi" / "folds_by_game.json").read_text(encoding="utf-8"))
    assert [list(fold) for fold in DEFAULT_FOLDS] == folds["folds"]


def test_folds_are_of_equal_playing_time_and_hold_every_piece_once(vgmidi):
    _, durations, _ = vgmidi
    tested = []
    for fold in range(3):
        split_of = split_pieces(durations, VgmidiSplit(fold=fold))
        in_fold = [song_id for song_id, split in split_of.items() if split == "test"]
        assert sum(durations[song_id] for song_id in in_fold) == pytest.approx(6380, rel=0.01)
        tested += in_fold
    assert sorted(tested) == sorted(durations)
