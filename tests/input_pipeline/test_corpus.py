"""Songs with labels and audio: none is lost without a report."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from input_pipeline.annotations import Alignment, Labels
from input_pipeline.corpus import (
    AudioFile,
    CorpusError,
    assemble,
    find_below,
    find_sources,
    first_segment,
    shorten,
)
from input_pipeline.folder.folder_dataset_builder import folder_corpus
from input_pipeline.folder.settings import FolderOptions

# Audio files -------------------------------------------------------------------------------------


def touch(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return folder


def find_paths(*arguments):
    return {song_id: source.path for song_id, source in find_sources(*arguments).items()}


def test_audio_files_are_found_below_the_folder_by_their_stem(tmp_path):
    touch(tmp_path, "a.mp3", "x/b.c.WAV", "x/y/d e.flac", "f.ogg", "notes.txt", ".hidden.wav")
    found = find_paths(tmp_path)
    assert found == {
        "a": f"{tmp_path}/a.mp3",
        "b.c": f"{tmp_path}/x/b.c.WAV",
        "d e": f"{tmp_path}/x/y/d e.flac",
        "f": f"{tmp_path}/f.ogg",
    }


@pytest.mark.parametrize("names", [("1.mp3", "1.wav"), ("a/1.mp3", "b/1.mp3")])
def test_two_files_of_one_song_are_refused_naming_both(tmp_path, names):
    touch(tmp_path, *names)
    with pytest.raises(CorpusError) as caught:
        find_paths(tmp_path)
    assert str(caught.value) == (
        f"two audio files for song 1: {tmp_path}/{names[0]} and {tmp_path}/{names[1]}"
    )


# Assembling --------------------------------------------------------------------------------------


def alignment_of(*song_ids, **kwargs):
    labels = Labels(0, np.zeros((4, 2), np.float32), np.ones((4, 2), bool))
    names = [field.name for field in dataclasses.fields(Alignment)]
    plain = {name: [] for name in names} | {"labels": dict.fromkeys(song_ids, labels)}
    return Alignment(**(plain | kwargs))


def sources_of(*song_ids):
    return {song_id: AudioFile(f"{song_id}.wav") for song_id in song_ids}


def test_audio_files_are_found_by_a_pattern(tmp_path):
    touch(tmp_path, "R/chorus/1.mp3", "R/chorus/x.2.MP3", "R/full/3.mp3", "R/chorus/4.wav")
    assert set(find_paths(tmp_path, "chorus/{song_id}.mp3")) == {"1", "x.2"}
    assert set(find_paths(tmp_path / "R" / "chorus", "x.{song_id}.*")) == {"2"}
    assert find_sources(tmp_path, "full/{song_id}.*") == {
        "3": AudioFile(f"{tmp_path}/R/full/3.mp3")
    }
    assert not find_paths(tmp_path, "orus/{song_id}.mp3")


def test_a_file_is_found_at_most_three_levels_down(tmp_path):
    touch(tmp_path, "a/b/c/labels/x.csv", "a/b/c/d/e/x.csv", "b/labels/x.csv")
    assert find_below(tmp_path, "labels/x.csv") == tmp_path / "b" / "labels" / "x.csv"
    assert find_below(tmp_path, "c", folder=True) == tmp_path / "a" / "b" / "c"
    with pytest.raises(CorpusError, match=r"no file e/x\.csv below it$"):
        find_below(tmp_path, "e/x.csv")
    with pytest.raises(CorpusError, match=r"no file c below it$"):
        find_below(tmp_path, "c")


def test_every_song_is_built_or_accounted_for():
    alignment = alignment_of(
        "1",
        "2",
        "3",
        "4",
        "10",
        unequal_lengths=["1", "4"],
        interior_gaps=["2"],
        unlabelled=["5"],
        valence_only=["6"],
        arousal_only=["7"],
    )
    corpus = assemble(alignment, sources_of("1", "2", "3", "8", "9", "20"))
    assert [song.song_id for song in corpus.songs] == ["1", "2", "3"]
    assert corpus.labelled == ["1", "2", "3", "4", "10"]
    assert corpus.left_out == {
        "labels without audio": ["4", "10"],
        "audio without labels": ["8", "9", "20"],
        "valence labels only": ["6"],
        "arousal labels only": ["7"],
        "no segment with both labels": ["5"],
    }
    assert corpus.notes == {
        "valence and arousal of unequal length, common span kept": ["1"],
        "labels missing inside the curve, masked": ["2"],
    }


def test_song_holds_its_own_labels_and_source():
    (song,) = assemble(alignment_of("1"), sources_of("1")).songs
    assert song.source == AudioFile("1.wav") and len(song.labels) == 4


def test_no_song_at_all_is_an_error():
    with pytest.raises(CorpusError, match="no song has both labels and audio"):
        assemble(alignment_of("1"), sources_of("2"))


def test_long_lists_are_shortened():
    names = [str(i) for i in range(12)]
    assert shorten(names) == "0, 1, 2, 3, 4, 5, 6, 7, 8, 9 and 2 more"
    assert shorten(names[:10]) == "0, 1, 2, 3, 4, 5, 6, 7, 8, 9"


# Audio that begins later than the song -----------------------------------------------------------


def labels_of(first_segment, n_segments):
    """Labels whose valence is the number of the segment in the song, in thousands."""
    values = np.zeros((n_segments, 2), np.float32)
    values[:, 0] = np.arange(first_segment, first_segment + n_segments) / 1000
    return Labels(first_segment, values, np.ones((n_segments, 2), bool))


@settings(deadline=None)
@given(
    spans=st.lists(st.tuples(st.integers(0, 40), st.integers(1, 40)), min_size=1, max_size=6),
    audio_start=st.one_of(st.floats(0, 45), st.integers(0, 450).map(lambda n: n / 10)),
)
def test_the_labels_of_segments_that_begin_with_the_audio_or_later_are_kept(spans, audio_start):
    labels = {str(i): labels_of(*span) for i, span in enumerate(spans)}
    kept = {
        song_id: [
            t
            for t in range(first, first + n)
            # The quotient of decimal numbers is not exact.
            if t / 2 >= audio_start - 1e-9
        ]
        for song_id, (first, n) in zip(labels, spans, strict=True)
    }
    unheard = [song_id for song_id, segments in kept.items() if not segments]
    alignment = alignment_of(labels=labels)
    if len(unheard) == len(spans):
        with pytest.raises(CorpusError, match=r"^audio_start .*: all labels are earlier"):
            assemble(alignment, sources_of(*labels), audio_start=audio_start)
        return
    corpus = assemble(alignment, sources_of(*labels), audio_start=audio_start)
    assert corpus.labelled == list(labels)
    cut_off = []
    for song in corpus.songs:
        segments = kept[song.song_id]
        assert song.audio_start == audio_start
        assert song.labels.first_segment == segments[0]
        np.testing.assert_array_equal(
            song.labels.values_TxV[:, 0], np.float32(np.array(segments) / 1000)
        )
        assert len(song.labels.mask_TxV) == len(segments)
        if len(segments) < len(labels[song.song_id]):
            cut_off.append(song.song_id)
    assert [song.song_id for song in corpus.songs] == [s for s in labels if s not in unheard]
    assert corpus.left_out.get("no labelled segment within the audio", []) == unheard
    assert corpus.notes.get("labels before the start of the audio, cut off", []) == cut_off
    assert corpus.n_before == sum(
        len(labels[song_id]) - len(segments) for song_id, segments in kept.items() if segments
    )


@pytest.mark.parametrize(
    ("audio_start", "segment"),
    [(0.0, 0), (0.1, 1), (0.5, 1), (0.51, 2), (12.3, 25), (12.5, 25), (29.977, 60), (30.0, 60)],
)
def test_the_first_segment_is_the_first_that_lies_wholly_within_the_audio(audio_start, segment):
    assert first_segment(audio_start) == segment


@given(tenths=st.integers(0, 10**6))
def test_a_start_that_a_segment_has_is_its_first_however_it_is_written(tenths):
    segment = -(-tenths // 5)
    assert first_segment(tenths / 10) == first_segment(tenths * 0.1) == segment


@pytest.mark.parametrize("audio_start", [-1.0, -1e-9, np.nan, np.inf, -np.inf, 1e308])
def test_an_invalid_start_is_refused(audio_start):
    with pytest.raises(CorpusError) as caught:
        assemble(alignment_of("1"), sources_of("1"), audio_start=audio_start)
    assert str(caught.value) == f"audio_start: {audio_start} is not a time in seconds, 0 or later"


def test_a_start_after_all_labels_is_an_error_that_says_so():
    with pytest.raises(CorpusError, match=r"^audio_start 2: all labels are earlier"):
        assemble(alignment_of("1", "2"), sources_of("1"), audio_start=2.0)


# The folder data set ------------------------------------------------------------------------------

DUMMY = Path(__file__).parents[2] / "input_pipeline" / "folder" / "dummy_data"


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"low": 1.0, "high": 0.0}, "low 1 must be below high 0"),
        ({"start_time": float("inf")}, "start_time: inf is not finite"),
        ({"start_time": float("nan")}, "start_time: nan is not finite"),
        ({"audio_start": -0.5}, "audio_start: -0.5 is not a time in seconds"),
        ({"audio_start": float("nan")}, "audio_start: nan is not a time in seconds"),
        ({"audio_start": float("inf")}, "audio_start: inf is not a time in seconds"),
        ({"audio_start": 4.0}, "audio_start 4: all labels are earlier"),
    ],
)
def test_bad_options_of_the_folder_are_refused(options, reason):
    with pytest.raises(CorpusError, match=reason):
        folder_corpus(DUMMY, FolderOptions(**options))
