"""Files of a frozen encoder's embeddings, and the embeddings of segments."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from damff_jax.songs import Songs
from input_pipeline.corpus import CorpusError
from input_pipeline.embeddings import read_embeddings, teacher_targets

START_P = np.array([0.0, 1.5, 3.0, 4.5])


def songs_of(lengths, first_s=30.0):
    length = np.array(list(lengths.values()), np.int64)
    times_R = np.concatenate([first_s + 0.5 * np.arange(n) for n in length]).astype(np.float32)
    n = len(times_R)
    return Songs(
        song_ids=list(lengths),
        first=np.cumsum(length) - length,
        length=length,
        log_mel_RxFxM=np.zeros((n, 2, 3), np.float16),
        labels_RxV=np.zeros((n, 2), np.float32),
        mask_RxV=np.ones((n, 2), bool),
        times_R=times_R,
    )


def write(path, **changes):
    rng = np.random.default_rng(0)
    arrays = {
        "song_id": np.array([7, 3, 12], np.int32),
        "embedding": rng.normal(size=(3, 4, 5)).astype(np.float16),
        "patch_start_s": START_P,
    }
    arrays |= changes
    np.savez(path, **{name: x for name, x in arrays.items() if x is not None})
    return arrays


@settings(deadline=None, max_examples=20)
@given(n=st.integers(1, 12), audio_start=st.sampled_from([0.0, 30.0, 12.3]))
def test_a_segment_has_the_embedding_at_its_middle(tmp_path_factory, n, audio_start):
    path = tmp_path_factory.mktemp("e") / "x.npz"
    arrays = write(path)
    songs = songs_of({"3": n, "7": 2}, first_s=np.ceil(2 * audio_start) / 2)
    embedding_RxE, present_R = read_embeddings(path).of_segments(songs, audio_start)
    assert embedding_RxE.shape == (n + 2, 5) and embedding_RxE.dtype == np.float32
    # Patches of 3 s cover 7.5 s.
    middle_R = songs.times_R + 0.25 - audio_start
    np.testing.assert_array_equal(present_R, (middle_R >= 0) & (middle_R <= 7.5))
    for row, song in zip(range(n + 2), [1] * n + [0] * 2, strict=True):
        expected = [
            np.interp(middle_R[row], START_P + 1.5, arrays["embedding"][song, :, e].astype(float))
            for e in range(5)
        ]
        if present_R[row]:
            np.testing.assert_allclose(embedding_RxE[row], expected, atol=1e-5)
        else:
            assert not embedding_RxE[row].any()


def test_segments_of_missing_patches_have_no_embedding(tmp_path):
    embedding = np.ones((3, 4, 5), np.float32)
    embedding[1, 2:] = np.nan
    write(tmp_path / "x.npz", embedding=embedding, patch_s=3.0)
    found, present_R = read_embeddings(tmp_path / "x.npz").of_segments(songs_of({"3": 15}), 30.0)
    # Up to the centre of the last present patch, at 3 s.
    np.testing.assert_array_equal(present_R, np.arange(15) < 6)
    np.testing.assert_array_equal(found[present_R], 1)


def test_songs_without_embeddings_are_named(tmp_path):
    write(tmp_path / "x.npz")
    with pytest.raises(CorpusError, match=r"x\.npz: no embeddings of songs 5, 6$"):
        read_embeddings(tmp_path / "x.npz").of_segments(songs_of({"3": 1, "5": 1, "6": 1}), 30.0)


def test_ids_may_be_text(tmp_path):
    write(tmp_path / "x.npz", song_id=np.array(["a b", "é", "2.0"]))
    assert set(read_embeddings(tmp_path / "x.npz").row) == {"a b", "é", "2"}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"song_id": None}, "not an .npz file of embeddings"),
        ({"embedding": np.zeros((3, 4, 0))}, r"embedding \(3, 4, 0\) are no"),
        ({"embedding": np.zeros((3, 3, 5))}, r"patch_start_s \(4,\) and embedding \(3, 3, 5\)"),
        ({"embedding": np.full((3, 4, 5), "x")}, "of numbers"),
        ({"song_id": np.array([1, 1, 2])}, "a song occurs twice"),
        ({"patch_start_s": START_P[::-1]}, "patch_start_s is not ascending"),
        ({"patch_s": -1.0}, "patch_s is not positive"),
        ({"song_id": np.array([object()] * 3)}, "not an .npz file of embeddings"),
    ],
)
def test_a_file_of_another_form_is_refused_in_one_line(tmp_path, changes, reason):
    write(tmp_path / "x.npz", **changes)
    with pytest.raises(CorpusError, match=reason) as caught:
        read_embeddings(tmp_path / "x.npz")
    assert str(caught.value).startswith(f"{tmp_path / 'x.npz'}: ") and "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"nothing", b"PK\x03\x04" + bytes(100)])
def test_a_file_that_is_not_an_archive_is_refused(tmp_path, content):
    (tmp_path / "x.npz").write_bytes(content)
    with pytest.raises(CorpusError, match=r"x\.npz: not an \.npz file of embeddings"):
        read_embeddings(tmp_path / "x.npz")
    with pytest.raises(CorpusError, match="No such file"):
        read_embeddings(tmp_path / "none.npz")


def test_a_teachers_targets_are_standardised_over_the_segments_that_have_some():
    rng = np.random.default_rng(0)
    embedding_RxE = rng.normal(3, [1, 10, 0], (50, 3)).astype(np.float32)
    present_R = np.arange(50) % 3 > 0
    targets = teacher_targets(embedding_RxE, present_R)
    assert targets["teacher"].dtype == np.float32
    np.testing.assert_array_equal(targets["teacher_mask"], present_R)
    there = targets["teacher"][present_R]
    np.testing.assert_allclose(there.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(there.std(axis=0), [1, 1, 0], atol=1e-5)
    assert not targets["teacher"][~present_R].any()
    with pytest.raises(CorpusError, match="cover no segment"):
        teacher_targets(embedding_RxE, np.zeros(50, bool))
