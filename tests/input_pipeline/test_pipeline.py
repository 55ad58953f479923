import dataclasses
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from damff_jax.features import FeatureConfig
from damff_jax.songs import Songs
from damff_jax.training import crops
from damff_jax.training.crops import CropPlan, Crops
from input_pipeline import datasets, pipeline, splits
from input_pipeline.corpus import CorpusError
from input_pipeline.datasets import Dataset
from input_pipeline.pipeline import train_batches
from input_pipeline.synthetic.settings import SyntheticSplit


def make_songs(lengths, f=2, m=3):
    """Songs in which segment t of song i holds 100 i + t."""
    values = np.concatenate([100 * i + np.arange(n) for i, n in enumerate(lengths)])
    n = len(values)
    rng = np.random.default_rng(0)
    return Songs(
        song_ids=[str(i) for i in range(len(lengths))],
        first=np.cumsum([0, *lengths[:-1]]).astype(np.int64),
        length=np.array(lengths, np.int64),
        log_mel_RxFxM=np.broadcast_to(values[:, None, None], (n, f, m)).astype(np.float16),
        labels_RxV=np.stack([values, -values], -1).astype(np.float32),
        mask_RxV=rng.random((n, 2)) > 0.2,
        times_R=np.arange(n, dtype=np.float32),
    )


@settings(deadline=None, max_examples=40)
@given(
    lengths=st.lists(st.integers(1, 30), min_size=1, max_size=8),
    batch_size=st.integers(1, 7),
    crop=st.integers(1, 12),
    seed=st.integers(0, 2**32),
)
def test_an_epoch_takes_every_song_as_often_as_crops_cover_it(lengths, batch_size, crop, seed):
    plan = CropPlan(np.array(lengths), batch_size=batch_size, crop_segments=crop, seed=seed)
    want = [-(-n // crop) for n in lengths]
    assert plan.crops_per_epoch == sum(want)
    n_steps = 3 * sum(want)  # batch_size times three whole epochs
    songs, starts = (x.ravel() for x in plan.crops(0, n_steps))
    assert np.all(starts >= 0)
    assert np.all(starts <= np.maximum(np.array(lengths)[songs] - crop, 0))
    for epoch in range(3 * batch_size):
        part = songs[epoch * sum(want) : (epoch + 1) * sum(want)]
        np.testing.assert_array_equal(np.bincount(part, minlength=len(lengths)), want)


@settings(deadline=None, max_examples=30)
@given(first=st.integers(0, 200), n=st.integers(1, 50), seed=st.integers(0, 99))
def test_a_step_has_the_same_crops_wherever_the_plan_is_entered(first, n, seed):
    def plan():
        return CropPlan(np.array([5, 17, 3]), batch_size=3, crop_segments=4, seed=seed)

    whole = plan().crops(0, first + n)
    part = plan().crops(first, n)
    for a, b in zip(whole, part, strict=True):
        np.testing.assert_array_equal(a[first:], b)


def test_epochs_and_seeds_differ():
    plan = CropPlan(np.full(50, 20), batch_size=100, crop_segments=10, seed=0)
    assert not np.array_equal(plan.crops(0)[0], plan.crops(1)[0])
    other = CropPlan(np.full(50, 20), batch_size=100, crop_segments=10, seed=1)
    assert not np.array_equal(plan.crops(0)[0], other.crops(0)[0])


def test_batches_hold_the_crops_of_the_plan_aligned_to_segments():
    songs = make_songs([9, 30, 4])
    plan = CropPlan(songs.length, batch_size=4, crop_segments=6, seed=3)
    crops = Crops(songs, batch_size=4, crop_segments=6, seed=3, n_devices=2)
    batches = train_batches(crops)
    for step, batch in enumerate(itertools.islice(batches, 5)):
        assert batch["log_mel"].shape == (2, 1, 2, 6, 2, 3)
        assert batch["log_mel"].dtype == np.float16
        batch = {name: x[:, 0] for name, x in batch.items()}
        song, start = (x[0] for x in plan.crops(step))
        for i in range(4):
            n = min(int(songs.length[song[i]] - start[i]), 6)
            values = 100 * song[i] + start[i] + np.arange(n)
            at = divmod(i, 2)
            np.testing.assert_array_equal(batch["mask"][at], np.arange(6) < n)
            np.testing.assert_array_equal(batch["log_mel"][at][:n, 1, 2], values)
            np.testing.assert_array_equal(batch["labels"][at][:n, 1], -values)
            rows = slice(songs.first[song[i]] + start[i], songs.first[song[i]] + start[i] + n)
            np.testing.assert_array_equal(batch["label_mask"][at][:n], songs.mask_RxV[rows])
            assert not batch["label_mask"][at][n:].any()
            assert not batch["log_mel"][at][n:].any()


def test_entering_at_a_step_gives_the_same_batches(monkeypatch):
    monkeypatch.setattr(crops, "_STEPS_PER_STRETCH", 4)
    songs = make_songs([9, 30, 4])

    def batches(first_step):
        crops = Crops(songs, batch_size=2, crop_segments=5, seed=0, first_step=first_step)
        return train_batches(crops)

    whole = list(itertools.islice(batches(0), 12))
    for first_step in (1, 4, 7):
        for a, b in zip(whole[first_step:], batches(first_step), strict=False):
            for name in a:
                np.testing.assert_array_equal(a[name], b[name])


def test_the_number_of_devices_and_processes_only_changes_the_layout():
    songs = make_songs([9, 30, 4])

    def first(**kwargs):
        crops = Crops(songs, batch_size=8, crop_segments=5, seed=0, **kwargs)
        return next(train_batches(crops))["labels"].reshape(-1, 5, 2)

    one = first()
    np.testing.assert_array_equal(one, first(n_devices=4))
    parts = [first(n_devices=2, process_index=i, process_count=2) for i in (0, 1)]
    np.testing.assert_array_equal(one, np.concatenate(parts))


def test_a_batch_that_the_devices_cannot_share_is_refused():
    with pytest.raises(ValueError, match="batch_size 6 is not a multiple of the 4 devices"):
        Crops(make_songs([9]), batch_size=6, crop_segments=5, seed=0, n_devices=4)


def test_steps_that_share_a_call_are_those_of_single_calls(monkeypatch):
    monkeypatch.setattr(crops, "_STEPS_PER_STRETCH", 4)
    songs = make_songs([9, 30, 4])
    values = {"batch_size": 4, "crop_segments": 5, "seed": 0, "first_step": 3, "n_devices": 2}
    single = list(itertools.islice(train_batches(Crops(songs, **values)), 9))
    calls = train_batches(Crops(songs, **values, steps_per_call=3))
    for call in range(3):
        batch = next(calls)
        for name, x in batch.items():
            want = np.concatenate([b[name] for b in single[3 * call : 3 * call + 3]], axis=1)
            np.testing.assert_array_equal(x, want)


# Statistics --------------------------------------------------------------------------------------


def songs_of(log_mel_RxFxM):
    n = len(log_mel_RxFxM)
    return dataclasses.replace(make_songs([n]), log_mel_RxFxM=log_mel_RxFxM)


@settings(deadline=None, max_examples=60)
@given(
    n=st.integers(1, 100),
    f=st.integers(1, 4),
    level=st.floats(-120, 60),
    spread=st.sampled_from([0.0, 0.01, 1.0, 40.0]),
    seed=st.integers(0, 99),
)
def test_mel_statistics_are_the_mean_and_deviation_of_every_bin(n, f, level, spread, seed):
    rng = np.random.default_rng(seed)
    log_mel_RxFxM = rng.normal(level, spread, (n, f, 3)).astype(np.float16)
    log_mel_RxFxM[:, :, 1] = level
    frames = log_mel_RxFxM.astype(np.float64).reshape(-1, 3)
    mel = songs_of(log_mel_RxFxM).mel_statistics()
    assert mel["mean"].dtype == mel["std"].dtype == np.float64
    np.testing.assert_allclose(mel["mean"], frames.mean(axis=0), rtol=1e-9, atol=1e-9)
    # Bins that hardly move count as constant.
    variance = frames.var(axis=0)
    moves = variance > 1e-5
    np.testing.assert_allclose(mel["std"][moves], np.sqrt(variance[moves]), rtol=1e-4)
    np.testing.assert_array_equal(mel["std"][variance < 1e-7], 1)
    assert mel["std"][1] == 1


def test_songs_know_which_seconds_they_cover():
    songs = make_songs([3, 2])
    times_R = np.float32([15.0, 15.5, 16.0, 30.0, 30.5])
    assert dataclasses.replace(songs, times_R=times_R).seconds() == (15.0, 31.0)


# Songs from shards -------------------------------------------------------------------------------

FEATURES = FeatureConfig(sample_rate=8000, n_fft=512, win_length=480, hop_length=400, n_mels=8)


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    values = {"n_clips": 4, "n_test": 1, "duration_s": 3.0, "sample_rate": 8000}
    options, split = datasets.make_settings("synthetic", values)
    data_dir = tmp_path_factory.mktemp("data")
    builder = datasets.open_builder(
        "synthetic", data_dir=data_dir, features=FEATURES, options=options
    )
    assert datasets.prepare(builder)
    return Dataset.of(builder, split)


def test_songs_come_back_in_natural_order_with_their_times(built):
    songs = built.load("train")
    assert songs.song_ids == sorted(songs.song_ids, key=int)
    for song in songs:
        assert song.log_mel_TxFxM.shape == (6, 10, 8)
        np.testing.assert_array_equal(song.times_T, 0.5 * np.arange(6))
        assert song.mask_TxV.all()


def test_songs_are_returned_in_the_requested_order(built):
    whole = {song.song_id: song for split in built.song_ids for song in built.load(split)}
    for song_ids in (["2001", "1"], ["1", "2001"], ["3", "4", "2001", "2", "1"]):
        songs = pipeline.load_songs(built.builder, song_ids)
        assert songs.song_ids == song_ids
        for song in songs:
            for name in ("log_mel_TxFxM", "labels_TxV", "mask_TxV", "times_T"):
                a, b = getattr(song, name), getattr(whole[song.song_id], name)
                np.testing.assert_array_equal(a, b)


def test_splits_share_no_song(built):
    ids = [built.load(split).song_ids for split in ("train", "validation", "test")]
    assert sum(map(len, ids)) == len({song_id for split in ids for song_id in split}) == 5


def test_mel_statistics_are_those_of_the_songs_that_are_loaded(built):
    for split in built.song_ids:
        songs = built.load(split)
        frames = songs.log_mel_RxFxM.reshape(-1, 8).astype(np.float64)
        mel = songs.mel_statistics()
        np.testing.assert_allclose(mel["mean"], frames.mean(axis=0), rtol=1e-9)
        np.testing.assert_allclose(mel["std"], frames.std(axis=0), rtol=1e-6)


def test_a_split_that_does_not_exist_is_named(built):
    with pytest.raises(CorpusError, match="no split dev; available: train, validation, test"):
        built.load("dev")


@pytest.mark.parametrize("n_segments", [5, 7])
def test_shards_that_hold_other_segments_than_reported_are_refused(built, n_segments):
    songs = built.builder.info.metadata["songs"]
    assert songs["1"] == 6
    songs["1"] = n_segments
    try:
        with pytest.raises(CorpusError, match="prepare again"):
            pipeline.load_songs(built.builder, ["1"])
    finally:
        songs["1"] = 6


def test_shards_that_hold_fewer_songs_than_reported_are_refused(built):
    songs = built.builder.info.metadata["songs"]
    songs["5"] = 6
    try:
        with pytest.raises(CorpusError, match="prepare again"):
            pipeline.load_songs(built.builder, ["1", "5"])
    finally:
        del songs["5"]


def test_counts_are_those_of_the_songs_that_are_loaded(built):
    assert built.counts() == {"train": (3, 18), "validation": (1, 6), "test": (1, 6)}
    for split, (n_songs, n_segments) in built.counts().items():
        songs = built.load(split)
        assert (len(songs), len(songs.times_R)) == (n_songs, n_segments)
        assert songs.seconds() == (0.0, 3.0)


def test_the_identity_names_data_set_version_and_songs(built):
    name, version, songs = built.identity.split("/")
    assert (name, version) == ("synthetic", built.builder.builder_config.name)
    assert songs == f"songs-{splits.digest(built.song_ids)}"
    other = Dataset.of(built.builder, SyntheticSplit(validation_fraction=0.5))
    assert other.identity.split("/")[:2] == [name, version]
    assert other.identity != built.identity
    # Settings that assign the same songs are the same split.
    same = Dataset.of(built.builder, SyntheticSplit(validation_fraction=0.2))
    assert same.song_ids == built.song_ids and same.identity == built.identity


def test_the_batches_are_a_dataset_of_tf_data_too():
    crops = Crops(make_songs([5, 9, 2]), 4, 3, seed=0, steps_per_call=2, n_devices=2)
    ours = itertools.islice(pipeline.dataset(crops).as_numpy_iterator(), 3)
    for a, b in zip(ours, train_batches(crops), strict=False):
        assert a.keys() == b.keys()
        for name in a:
            np.testing.assert_array_equal(a[name], b[name], strict=True)
