"""VGMIDI: ratings as labels, folds by game, renderings."""

import csv
import itertools
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from damff_jax.evaluation import predictions
from input_pipeline.annotations import LabelError
from input_pipeline.corpus import CorpusError
from input_pipeline.midi import RenderingOptions
from input_pipeline.splits import SongList, refuse_missing_audio, song_ids_by_split
from input_pipeline.vgmidi import raters
from input_pipeline.vgmidi.ratings import labels_of, read_pieces
from input_pipeline.vgmidi.settings import DEFAULT_FOLDS, VgmidiSplit, game_of, split_pieces
from input_pipeline.vgmidi.vgmidi_dataset_builder import vgmidi_corpus

DUMMY = Path(__file__).parents[2] / "input_pipeline" / "vgmidi" / "dummy_data"


# Labels ------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(n=st.integers(1, 200), duration_s=st.floats(0.5, 600))
def test_segment_takes_the_rating_of_the_part_that_its_middle_falls_into(n, duration_s):
    values = np.stack([np.linspace(-1, 1, n), np.linspace(1, 0, n)], axis=1)
    labels = labels_of(values, duration_s)
    assert labels.first_segment == 0 and labels.mask_TxV.all()
    assert len(labels) == int(2 * duration_s)
    edges = np.arange(n + 1) * duration_s / n
    for t in range(len(labels)):
        part = np.searchsorted(edges, 0.5 * t + 0.25, side="right") - 1
        near = values[max(part - 1, 0) : part + 2]
        on_an_edge = np.abs(edges - (0.5 * t + 0.25)).min() < 1e-9
        expected = near if on_an_edge else values[[part]]
        assert (np.abs(expected - labels.values_TxV[t]).max(axis=1) < 1e-6).any()


def test_labels_of_a_handmade_piece():
    values = np.array([[0.1, 0], [0.2, 0], [0.3, 0]])
    labels = labels_of(values, 3.7)  # parts of 1.233 s; middles .25, .75, 1.25, ...
    np.testing.assert_array_equal(
        labels.values_TxV[:, 0], np.array([0.1, 0.1, 0.2, 0.2, 0.2, 0.3, 0.3], np.float32)
    )


# Annotations -------------------------------------------------------------------------------------


def piece(name="A_NES_Tetris_One.mid", measures=3):
    return {"midi": name, "name": name, "measures": measures, "duration": 10}


def rating(valence, arousal=None):
    return {"valence": valence, "arousal": valence if arousal is None else arousal}


def pieces_of(tmp_path, *contents):
    for i, content in enumerate(contents, start=1):
        text = content if isinstance(content, str) else json.dumps(content)
        (tmp_path / f"vgmidi_raw_{i}.json").write_text(text)
    return read_pieces(tmp_path)


def test_ratings_are_averaged_and_those_of_another_length_left_out(tmp_path):
    pieces, left_out = pieces_of(
        tmp_path,
        {
            "pieces": {"piece0": piece(), "piece0_1": piece("B_NES_Tetris_Two.mid", 1)},
            "annotations": {
                "piece0_0": rating([0.0, 0.5, 1.0], [0.0, 0.0, 0.0]),
                "piece0_1": rating([0.5, 0.5, -1.0], [1.0, 0.5, 0.25]),
                "piece0_2": rating([0.5, 0.5]),
                "piece0_3": rating([0.5, 0.5, 0.5], [0.5]),
                "piece0_1_0": rating([0.75], [0.25]),
            },
        },
    )
    assert pieces.keys() == {"A_NES_Tetris_One", "B_NES_Tetris_Two"}
    np.testing.assert_allclose(pieces["A_NES_Tetris_One"], [[0.25, 0.5], [0.5, 0.25], [0.0, 0.125]])
    np.testing.assert_allclose(pieces["B_NES_Tetris_Two"], [[0.75, 0.25]])
    assert left_out == {
        "annotations whose length differs from their piece": [
            "vgmidi_raw_1.json:piece0_2",
            "vgmidi_raw_1.json:piece0_3",
        ]
    }


def test_pieces_of_all_files_are_joined(tmp_path):
    contents = [
        {"pieces": {"piece0": piece(name)}, "annotations": {"piece0_0": rating([value] * 3)}}
        for name, value in (("a_b_c.mid", 0.25), ("d_e_f.mid", 0.5))
    ]
    pieces, left_out = pieces_of(tmp_path, *contents)
    assert {song_id: values[0, 0] for song_id, values in pieces.items()} == {
        "a_b_c": 0.25,
        "d_e_f": 0.5,
    }
    assert left_out == {}


def test_pieces_without_ratings_are_named(tmp_path):
    content = {
        "pieces": {"piece0": piece(), "piece1": piece("a.mid"), "piece2": piece("b.mid", 0)},
        "annotations": {"piece0_0": rating([0.5] * 3), "piece2_0": rating([])},
    }
    pieces, left_out = pieces_of(tmp_path, content)
    assert pieces.keys() == {"A_NES_Tetris_One"}
    assert left_out == {
        "pieces without ratings": ["vgmidi_raw_1.json:piece1", "vgmidi_raw_1.json:piece2"]
    }


PLAIN = {"pieces": {"piece0": piece()}, "annotations": {}}


@pytest.mark.parametrize(
    ("contents", "reason"),
    [
        (["{"], r"vgmidi_raw_1\.json: not a JSON file"),
        (["<html>Sign in"], r"not a JSON file \(an HTML or XML page: download the file itself"),
        (["[" * 10**5], r"vgmidi_raw_1\.json: not a JSON file"),
        (["[]"], r"vgmidi_raw_1\.json: not in VGMIDI's form"),
        ([{"pieces": {}}], "not in VGMIDI's form"),
        ([{"pieces": {"piece0": {}}, "annotations": {}}], "not in VGMIDI's form"),
        ([PLAIN | {"annotations": {"piece0_0": {"valence": [0]}}}], "not in VGMIDI's form"),
        ([PLAIN | {"annotations": {"piece0_0": rating([0, "x", 0])}}], "not in VGMIDI's form"),
        ([PLAIN | {"annotations": {"piece0_0": rating([0, 10**400, 0])}}], "not in VGMIDI's form"),
        ([PLAIN | {"annotations": {"piece0_0": rating([0, None, 0])}}], "a rating is outside"),
        (
            [
                PLAIN
                | {"annotations": {"piece0_0": rating([0, 1.5, 0]), "piece0_1": rating([0] * 3)}}
            ],
            r"vgmidi_raw_1\.json: piece0_0: a rating is outside \[-1, 1\]",
        ),
        ([PLAIN | {"annotations": {"piece0_0": rating([0, np.nan, 0])}}], "a rating is outside"),
        (
            [PLAIN | {"annotations": {"piece0_0": rating([0] * 3)}}] * 2,
            r"vgmidi_raw_2\.json: A_NES_Tetris_One occurs twice",
        ),
    ],
)
def test_malformed_annotations_are_refused_by_file(tmp_path, contents, reason):
    with pytest.raises(LabelError, match=reason):
        pieces_of(tmp_path, *contents)


def test_folder_without_annotations_is_refused(tmp_path):
    with pytest.raises(CorpusError, match=r"no vgmidi_raw_\*\.json in it"):
        read_pieces(tmp_path)


# Folds -------------------------------------------------------------------------------------------

GAMES = [game for fold in DEFAULT_FOLDS for game in fold]
DURATIONS = {f"S_NES_{game}_{i}": 30.0 + i for game in [*GAMES, "New Game"] for i in range(3)}


@pytest.mark.parametrize(
    ("song_id", "game"),
    [("Zelda_N64_The Legend_Title", "The Legend"), ("a_b", "a"), ("a_b_c_d", "c"), ("x", "x")],
)
def test_game_is_the_second_to_last_field(song_id, game):
    assert game_of(song_id) == game


@pytest.mark.parametrize("options", [{}, {"n_folds": 2}, {"n_folds": 5}, {"split_seed": 3}])
def test_every_piece_is_in_one_split_with_its_game_and_tested_once(options):
    tested = []
    for fold in range(options.get("n_folds", 3)):
        split_of = split_pieces(DURATIONS, VgmidiSplit(fold=fold, **options))
        assert split_of.keys() == DURATIONS.keys()
        assert set(split_of.values()) == {"train", "validation", "test"}
        for game in {game_of(song_id) for song_id in DURATIONS}:
            assert len({split_of[s] for s in DURATIONS if game_of(s) == game}) == 1
        tested += [song_id for song_id, split in split_of.items() if split == "test"]
    assert sorted(tested) == sorted(DURATIONS)


@pytest.mark.parametrize("fold", [0, 1, 2])
def test_default_folds_are_those_of_the_list(fold):
    known = {song_id: s for song_id, s in DURATIONS.items() if game_of(song_id) != "New Game"}
    split_of = split_pieces(known, VgmidiSplit(fold=fold))
    tested = {game_of(song_id) for song_id, split in split_of.items() if split == "test"}
    assert tested == set(DEFAULT_FOLDS[fold])


@pytest.mark.parametrize("options", [{}, {"n_folds": 4}])
def test_fold_minus_one_has_no_test_split(options):
    options = VgmidiSplit(fold=-1, **options)
    split_of = split_pieces(DURATIONS, options)
    assert split_of.keys() == DURATIONS.keys()
    splits = {game: {split_of[s] for s in DURATIONS if game_of(s) == game} for game in GAMES}
    assert all(len(split) == 1 for split in splits.values())
    n_validation = sum(split == "validation" for split in split_of.values())
    assert n_validation == 3 * round(0.15 * 25)
    assert set(split_of.values()) == {"train", "validation"}
    assert [VgmidiSplit(fold=fold).label() for fold in (-1, 0)] == ["all", "fold0"]


def test_other_numbers_of_folds_follow_the_seed():
    draws = [split_pieces(DURATIONS, VgmidiSplit(n_folds=4, split_seed=seed)) for seed in (1, 1, 2)]
    assert draws[0] == draws[1] != draws[2]


@pytest.mark.parametrize("options", [{"fold": 3}, {"fold": -2}, {"fold": 5, "n_folds": 5}])
def test_fold_that_does_not_exist_is_refused(options):
    with pytest.raises(CorpusError, match=f"fold {options['fold']} is outside 0\\.\\."):
        split_pieces(DURATIONS, VgmidiSplit(**options))


# The corpus ---------------------------------------------------------------------------------------


def assign(corpus, split):
    """{split: ids of its songs} of a corpus all of whose songs have their full length."""
    n_segments = {song.song_id: len(song.labels) for song in corpus.songs}
    return song_ids_by_split(split, SongList(tuple(corpus.labelled), n_segments), None)


@pytest.mark.usefixtures("soundfonts")
def test_pieces_without_midi_files_are_left_out(tmp_path):
    folder = shutil.copytree(DUMMY, tmp_path / "vgmidi")
    (folder / "labelled" / "midi" / "A_NES_Tetris_One.mid").unlink()
    corpus = vgmidi_corpus(folder, RenderingOptions())
    assert corpus.left_out == {"labels without audio": ["A_NES_Tetris_One"]}
    # Its piece is built from the other annotations.
    of_another_length = "annotations whose length differs from their piece"
    assert corpus.notes[of_another_length] == ["vgmidi_raw_1.json:piece0_2"]
    left = {"A_NES_Chrono Trigger_Two", "A_NES_The Sims_Three"}
    assert {song.song_id for song in corpus.songs} == left
    assert {
        s for song_ids in assign(corpus, VgmidiSplit(fold=1)).values() for s in song_ids
    } == left


@pytest.mark.usefixtures("soundfonts")
def test_a_midi_file_that_cannot_be_read_costs_its_piece_alone(tmp_path):
    folder = shutil.copytree(DUMMY, tmp_path / "vgmidi")
    path = folder / "labelled" / "midi" / "A_NES_Tetris_One.mid"
    path.write_bytes(path.read_bytes()[:-1])
    corpus = vgmidi_corpus(folder, RenderingOptions(renderings=2))
    assert list(corpus.failed) == ["A_NES_Tetris_One"] and corpus.left_out == {}
    failure = corpus.failed["A_NES_Tetris_One"]
    assert failure.reason == f"{path}: not readable as MIDI (it ends early)"
    assert "labelled/midi/A_NES_Tetris_One.mid" in corpus.sounds(folder)
    pieces = {"A_NES_Chrono Trigger_Two", "A_NES_The Sims_Three"}
    assert {song.song_id for song in corpus.songs} == pieces | {f"{x}@1" for x in pieces}
    for path in (folder / "labelled" / "midi").iterdir():
        path.write_bytes(b"")
    with pytest.raises(CorpusError, match=r"^no song can be built; the first: .*\.mid: not read"):
        vgmidi_corpus(folder, RenderingOptions())


@pytest.mark.usefixtures("soundfonts")
def test_pieces_and_files_match_whatever_their_unicode_form(tmp_path):
    folder = shutil.copytree(DUMMY, tmp_path / "vgmidi") / "labelled"
    (folder / "midi" / "A_NES_Tetris_One.mid").rename(folder / "midi" / "A_NES_Tetris_Oné.mid")
    for path in (folder / "annotations").iterdir():
        path.write_text(path.read_text().replace("Tetris_One.mid", "Tetris_Oné.mid"))
    corpus = vgmidi_corpus(folder.parent, RenderingOptions())
    assert corpus.left_out == {} and "A_NES_Tetris_Oné" in corpus.labelled
    assert len(corpus.songs) == 3


@pytest.mark.usefixtures("soundfonts")
def test_a_piece_without_a_midi_file_is_required_in_every_fold(tmp_path):
    folder = shutil.copytree(DUMMY, tmp_path / "vgmidi")
    (folder / "labelled" / "midi" / "A_NES_Tetris_One.mid").unlink()
    corpus = vgmidi_corpus(folder, RenderingOptions())
    songs = SongList(tuple(corpus.labelled), {s.song_id: len(s.labels) for s in corpus.songs})
    for fold in range(-1, 3):
        split_of = VgmidiSplit(fold=fold).assign(songs, None)
        with pytest.raises(CorpusError, match="1 labelled songs have no audio: A_NES_Tetris_One"):
            refuse_missing_audio(split_of, corpus.left_out)


@pytest.mark.usefixtures("soundfonts")
def test_pieces_have_altered_renderings_with_the_same_ratings():
    corpus = vgmidi_corpus(DUMMY, RenderingOptions(renderings=3))
    once = vgmidi_corpus(DUMMY, RenderingOptions())
    pieces = {song.song_id: song for song in once.songs}
    assert len(pieces) == 3
    for piece in pieces.values():
        assert (piece.source.semitones, piece.source.tempo, piece.source.velocity) == (0, 1.0, 1.0)
        assert piece.source.duration_s == 4.0
    names = {f"{piece}{end}" for piece in pieces for end in ("", "@1", "@2")}
    songs = {song.song_id: song for song in corpus.songs}
    assert songs.keys() == set(corpus.labelled) == names
    ratings, _ = read_pieces(DUMMY / "labelled" / "annotations")
    for name, piece in pieces.items():
        assert songs[name].source == piece.source
        altered = [songs[f"{name}@{number}"] for number in (1, 2)]
        sources = [song.source for song in altered]
        assert len({(x.semitones, x.tempo, x.velocity, x.soundfont) for x in sources}) == 2
        for song in altered:
            assert song.source.path == piece.source.path
            assert song.source.duration_s == pytest.approx(4.0 / song.source.tempo)
            # Four ratings, each of a quarter of the piece however long it lasts.
            labels, expected = song.labels, labels_of(ratings[name], song.source.duration_s)
            assert len(labels) == int(2 * song.source.duration_s) and labels.mask_TxV.all()
            np.testing.assert_array_equal(labels.values_TxV, expected.values_TxV)


@pytest.mark.usefixtures("soundfonts")
def test_only_renderings_of_training_pieces_are_in_a_split():
    corpus = vgmidi_corpus(DUMMY, RenderingOptions(renderings=3))
    for fold in range(3):
        by_split = assign(corpus, VgmidiSplit(fold=fold))
        # The same games as without altered renderings.
        once = assign(vgmidi_corpus(DUMMY, RenderingOptions()), VgmidiSplit(fold=fold))
        (piece,) = once["train"]
        assert by_split == {**once, "train": (piece, f"{piece}@1", f"{piece}@2")}
    assert "A_NES_Tetris_One" in assign(corpus, VgmidiSplit(fold=0))["test"]


@pytest.mark.usefixtures("soundfonts")
def test_the_seed_decides_the_renderings():
    def sources(seed):
        songs = vgmidi_corpus(DUMMY, RenderingOptions(renderings=2, rendering_seed=seed)).songs
        assert len(songs) == 6
        return {song.song_id: song.source for song in songs}

    assert sources(0) == sources(0) != sources(1)
    with pytest.raises(CorpusError, match="renderings 0"):
        vgmidi_corpus(DUMMY, RenderingOptions(renderings=0))


# Raters ------------------------------------------------------------------------------------------


def panel(tmp_path, ratings, names=("A_NES_Tetris_One", "A_NES_The Sims_Two")):
    """A data set of pieces of 4 s, each with these ratings (raters, 2 measures, 2)."""
    folder = tmp_path / "vgmidi" / "labelled"
    for part in ("annotations", "midi"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    content = {"pieces": {}, "annotations": {}}
    for k, name in enumerate(names):
        source = DUMMY / "labelled" / "midi" / "A_NES_Tetris_One.mid"
        shutil.copy(source, folder / "midi" / f"{name}.mid")
        content["pieces"][f"piece{k}"] = piece(f"{name}.mid", 2)
        for rater, values_NxV in enumerate(ratings):
            valence, arousal = np.transpose(values_NxV).tolist()
            content["annotations"][f"piece{k}_{rater}"] = rating(valence, arousal)
    (folder / "annotations" / "vgmidi_raw_1.json").write_text(json.dumps(content))
    return folder.parent


# Powers of two, so that a mean identifies its raters.
PANEL = np.array([[[x, -x], [x / 2, x / 4]] for x in (1 / 2, 1 / 4, 1 / 8, 1 / 16, 1 / 32)])


def raters_of(value):
    """The raters whose mean of the first valence a value is."""
    for size in range(1, len(PANEL) + 1):
        for chosen in itertools.combinations(range(len(PANEL)), size):
            if abs(np.mean(PANEL[list(chosen), 0, 0]) - value) < 1e-6:
                return set(chosen)
    raise AssertionError(f"{value} is the mean of no raters")


@pytest.mark.parametrize(("kind", "n_predicting"), [("half", 2), ("one", 1)])
def test_some_raters_predict_the_mean_of_the_others(tmp_path, kind, n_predicting):
    manual_dir = panel(tmp_path, PANEL)
    chosen = []
    for seed in range(12):
        curves = raters.panel_curves(manual_dir, kind, fold=0, seed=seed)
        assert list(curves) == ["A_NES_Tetris_One"]
        curve = curves["A_NES_Tetris_One"]
        assert curve.mask_TxV.shape == (8, 2) and curve.mask_TxV.all()
        sides = curve.prediction_TxV, curve.truth_TxV
        predicting, others = (raters_of(side_TxV[0, 0]) for side_TxV in sides)
        assert len(predicting) == n_predicting and predicting ^ others == set(range(5))
        chosen.append(frozenset(predicting))
        for side_TxV, part in zip(sides, (predicting, others), strict=True):
            mean = PANEL[list(part)].mean(axis=0)
            # The first rating is of the first half of the piece, the second of the second.
            expected = np.repeat(mean, 4, axis=0)
            np.testing.assert_allclose(side_TxV, expected, atol=1e-7)
    assert len(set(chosen)) > 2
    again = raters.panel_curves(manual_dir, kind, fold=0, seed=11)["A_NES_Tetris_One"]
    np.testing.assert_array_equal(again.prediction_TxV, curve.prediction_TxV)
    np.testing.assert_array_equal(again.truth_TxV, curve.truth_TxV)


def test_raters_are_drawn_for_every_piece_anew(tmp_path):
    names = [f"A_NES_Tetris_{k}" for k in range(8)]
    curves = raters.panel_curves(panel(tmp_path, PANEL, names), "one", fold=0, seed=0)
    assert list(curves) == names
    assert len({float(curve.prediction_TxV[0, 0]) for curve in curves.values()}) > 1


def test_the_command_writes_predictions_of_the_fold(tmp_path):
    manual_dir = panel(tmp_path, PANEL, ['A_NES_Tetris_One, "Two"', "A_NES_The Sims_Three"])
    argv = [f"--manual_dir={manual_dir}", f"--workdir={tmp_path / 'new' / 'run'}"]
    for fold, name in enumerate(['A_NES_Tetris_One, "Two"', "A_NES_The Sims_Three"]):
        assert raters.main([*argv, "--kind=half", f"--fold={fold}", "--seed=3"]) == 0
        with open(tmp_path / "new" / "run" / "predictions_test.csv", newline="") as file:
            header, *rows = csv.reader(file)
        assert tuple(header) == predictions.COLUMNS
        assert [row[:2] for row in rows] == [[name, f"{0.5 * t:.1f}"] for t in range(8)]
        curve = raters.panel_curves(manual_dir, "half", fold=fold, seed=3)[name]
        expected = np.concatenate([curve.prediction_TxV, curve.truth_TxV], axis=1)
        np.testing.assert_array_equal(np.float32([row[2:] for row in rows]), expected)


@pytest.mark.parametrize(
    ("ratings", "arguments", "status", "reason"),
    [
        (PANEL, ["--fold=3"], 1, "fold 3 is outside 0..2"),
        (PANEL, ["--fold=-1"], 1, "no piece of fold -1 has two raters or more"),
        (PANEL, ["--fold=2"], 1, "no piece of fold 2 has two raters or more"),
        (PANEL[:1], [], 1, "no piece of fold 0 has two raters or more"),
        (PANEL * 9, [], 1, "a rating is outside [-1, 1]"),
        (PANEL, ["--manual_dir=/nowhere"], 1, "no vgmidi_raw_*.json in it"),
        (PANEL, ["--workdir=/dev/null/x"], 1, "/dev/null/x"),
        (PANEL, ["--seed=-1"], 2, "--seed must not be negative"),
        (PANEL, ["--kind=all"], 2, "invalid choice: 'all'"),
    ],
)
def test_raters_report_errors(tmp_path, capsys, ratings, arguments, status, reason):
    manual_dir = panel(tmp_path, ratings)
    argv = [f"--manual_dir={manual_dir}", f"--workdir={tmp_path / 'run'}", "--kind=one"]
    try:
        returned = raters.main([*argv, *arguments])
    except SystemExit as stop:
        returned = stop.code
    line = capsys.readouterr().err.splitlines()[-1]
    assert returned == status
    assert line.startswith("raters: error: ") and reason in line
    assert not (tmp_path / "run").exists()


def test_pieces_without_a_midi_file_have_no_panel(tmp_path):
    manual_dir = panel(tmp_path, PANEL, ["A_NES_Tetris_One", "A_NES_Tetris_Two"])
    (manual_dir / "labelled" / "midi" / "A_NES_Tetris_Two.mid").unlink()
    assert list(raters.panel_curves(manual_dir, "one", fold=0, seed=0)) == ["A_NES_Tetris_One"]
