"""EMOPIA: quadrants as labels, splits by song, renderings."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from input_pipeline.corpus import CorpusError
from input_pipeline.emopia.emopia_dataset_builder import emopia_corpus, labels_of
from input_pipeline.emopia.settings import EmopiaSplit, song_of
from input_pipeline.midi import RenderingOptions
from input_pipeline.splits import SongList

DUMMY = Path(__file__).parents[2] / "input_pipeline" / "emopia" / "dummy_data"
CLIP = DUMMY / "midis" / "Q1_one_0.mid"

pytestmark = pytest.mark.usefixtures("soundfonts")


def dataset(folder, names):
    """Clips of these names, with the sound of a dummy one."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(CLIP, folder / name)
    return folder


def splits(corpus, split):
    """{clip: split} of the clips in a split."""
    n_segments = {song.song_id: len(song.labels) for song in corpus.songs}
    return split.assign(SongList(tuple(corpus.labelled), n_segments), None)


@pytest.mark.parametrize(
    ("quadrant", "valence", "arousal"),
    [("Q1", 0.5, 0.5), ("Q2", -0.5, 0.5), ("Q3", -0.5, -0.5), ("Q4", 0.5, -0.5)],
)
@pytest.mark.parametrize(("seconds", "n"), [(0.4, 1), (0.5, 1), (1.99, 3), (30.0, 60)])
def test_labels_are_the_signs_of_the_quadrant_all_through(quadrant, valence, arousal, seconds, n):
    labels = labels_of(f"{quadrant}_song_0", seconds)
    assert labels.first_segment == 0 and labels.mask_TxV.all()
    assert labels.values_TxV.dtype == np.float32
    np.testing.assert_array_equal(labels.values_TxV, [[valence, arousal]] * n)


@pytest.mark.parametrize(
    ("clip", "song"),
    [("Q1_one_0", "one"), ("Q4_a_b_12_3", "a_b_12"), ("Q2__-x_0", "_-x"), ("Q3_Q1_9_10", "Q1_9")],
)
def test_the_song_is_the_part_between_quadrant_and_number(clip, song):
    assert song_of(clip) == song


@pytest.mark.parametrize("name", ["Q1_one", "Q1__0", "Q2_one_x", "Q3_one_0_"])
def test_foreign_names_are_refused(tmp_path, name):
    folder = dataset(tmp_path / "emopia", ["Q1_one_0.mid", f"{name}.mid"])
    with pytest.raises(CorpusError, match=f"are named Q1_<song>_<number>, not {name}$"):
        emopia_corpus(folder, RenderingOptions())


def test_a_clip_that_occurs_twice_is_refused(tmp_path):
    names = ["a/Q1_one_0.mid", "b/c/Q1_one_0.mid"]
    folder = dataset(tmp_path / "emopia", names)
    first, second = (folder / name for name in names)
    with pytest.raises(CorpusError, match=f"two files for clip Q1_one_0: {first} and {second}"):
        emopia_corpus(folder, RenderingOptions())


def test_an_unreadable_clip_costs_itself_alone(tmp_path):
    folder = dataset(tmp_path / "emopia", ["Q1_one_0.mid"])
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "Q2_bad_0.mid").write_text("no music")
    (folder / "link").symlink_to(tmp_path / "there")
    corpus = emopia_corpus(folder, RenderingOptions())
    assert [song.song_id for song in corpus.songs] == ["Q1_one_0"]
    assert list(corpus.failed) == ["Q2_bad_0"]
    assert "link/Q2_bad_0.mid: not readable as MIDI" in corpus.failed["Q2_bad_0"].reason
    assert corpus.sounds(folder) == ["Q1_one_0.mid", "link/Q2_bad_0.mid"]


def test_a_folder_without_clips_or_without_a_readable_one_is_refused(tmp_path):
    folder = dataset(tmp_path / "emopia", ["Q5_one_0.mid", "readme.mid"])
    with pytest.raises(CorpusError, match=f"^{folder}: no MIDI files named like Q1_<song>"):
        emopia_corpus(folder, RenderingOptions())
    (folder / "Q1_bad_0.mid").write_text("no music")
    with pytest.raises(CorpusError, match=r"Q1_bad_0\.mid: not readable as MIDI"):
        emopia_corpus(folder, RenderingOptions())


def test_all_clips_of_a_song_are_in_one_split_whatever_their_quadrants(tmp_path):
    names = [f"Q{1 + (k + i) % 4}_song {k}_{i}.mid" for k in range(12) for i in range(1 + k % 3)]
    folder = dataset(tmp_path / "emopia", names)

    corpus = emopia_corpus(folder, RenderingOptions())

    def split(seed):
        return splits(corpus, EmopiaSplit(validation_fraction=0.25, split_seed=seed))

    split_of = split(0)
    assert split_of.keys() == {Path(name).stem for name in names}
    assert set(split_of.values()) == {"train", "validation"}
    of_song = {song: {s for c, s in split_of.items() if song_of(c) == song}
               for song in map(song_of, split_of)}  # fmt: skip
    assert len(of_song) == 12 and all(len(x) == 1 for x in of_song.values())
    assert sum(x == {"validation"} for x in of_song.values()) == 3
    assert split(0) == split_of != split(1)


def test_only_renderings_of_training_clips_are_in_a_split():
    corpus, once = (emopia_corpus(DUMMY, RenderingOptions(renderings=n)) for n in (3, 1))
    split = EmopiaSplit(validation_fraction=0.34)
    split_of, written = splits(corpus, split), splits(once, split)
    assert set(written) == {"Q1_one_0", "Q1_one_1", "Q2_two_0", "Q3_three_1"}
    assert set(written.values()) == {"train", "validation"}
    training = [clip for clip, split in written.items() if split == "train"]
    altered = {f"{clip}@{k}": "train" for clip in training for k in (1, 2)}
    assert altered and split_of == {**written, **altered}


def test_all_clips_have_altered_renderings_with_the_signs_of_their_quadrant():
    corpus = emopia_corpus(DUMMY, RenderingOptions(renderings=3))
    assert len(corpus.songs) == len(corpus.labelled) == 4 * 3
    for song in corpus.songs:
        clip, _, number = song.song_id.partition("@")
        assert Path(song.source.path).stem == clip
        assert (song.source.tempo != 1.0) == bool(number)
        assert song.source.duration_s == pytest.approx(4.0 / song.source.tempo)
        expected = labels_of(clip, song.source.duration_s)
        np.testing.assert_array_equal(song.labels.values_TxV, expected.values_TxV)
        assert len(song.labels) == int(2 * song.source.duration_s)


def test_the_seed_of_the_renderings_is_not_that_of_the_split():
    def sources(seed):
        songs = emopia_corpus(DUMMY, RenderingOptions(renderings=2, rendering_seed=seed)).songs
        return {song.song_id: song.source for song in songs}

    assert sources(0) == sources(0) != sources(1)
    written = [name for name in sources(0) if "@" not in name]
    assert all(sources(0)[name] == sources(1)[name] for name in written)
