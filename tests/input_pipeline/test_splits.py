"""Splits and folds: every song once, and all of them over one set of shards."""

import collections
import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from damff_jax.features import FeatureConfig
from input_pipeline.corpus import CorpusError
from input_pipeline.deam.settings import (
    DeamOptions,
    DeamSplit,
    mediaeval2015_ids,
    split_songs,
)
from input_pipeline.folder.settings import FolderSplit, read_splits
from input_pipeline.registry import NAMES, builder_class
from input_pipeline.settings import classes, make_settings
from input_pipeline.splits import (
    SPLITS,
    SongList,
    Split,
    balanced_folds,
    digest,
    refuse_missing_audio,
    song_ids_by_split,
    split_by_song,
)

IDS = st.lists(st.text(max_size=5), unique=True, max_size=60)


def sizes(split_of):
    return {split: list(split_of.values()).count(split) for split in SPLITS}


# Splits ------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(
    song_ids=IDS,
    validation=st.floats(0, 0.49),
    test=st.floats(0, 0.49),
    seed=st.integers(0, 99),
)
def test_splits_are_exhaustive_and_of_the_requested_size(song_ids, validation, test, seed):
    split_of = split_by_song(song_ids, {"validation": validation, "test": test}, seed=seed)
    assert split_of.keys() == set(song_ids)
    n = len(song_ids)
    left = max(n - 1, 0)
    for split, fraction in (("validation", validation), ("test", test)):
        expected = min(max(round(fraction * n), 1 if fraction else 0), left)
        assert sizes(split_of)[split] == expected
        left -= expected


@settings(deadline=None)
@given(data=st.data(), song_ids=IDS, seed=st.integers(0, 99))
def test_splits_do_not_depend_on_the_order_of_the_songs(data, song_ids, seed):
    fractions = {"validation": 0.2, "test": 0.2}
    shuffled = data.draw(st.permutations(song_ids))
    assert split_by_song(song_ids, fractions, seed=seed) == split_by_song(
        shuffled, fractions, seed=seed
    )


def test_splits_depend_only_on_the_seed():
    song_ids = [str(i) for i in range(100)]
    draws = [split_by_song(song_ids, {"validation": 0.1}, seed=seed) for seed in range(10)]
    chosen = [frozenset(s for s in draw if draw[s] == "validation") for draw in draws]
    assert len(set(chosen)) == 10


def test_splits_are_those_of_every_other_machine_and_version():
    split_of = split_by_song(map(str, range(100)), {"validation": 0.1}, seed=0)
    chosen = {int(song_id) for song_id in split_of if split_of[song_id] == "validation"}
    assert chosen == {15, 36, 44, 46, 69, 74, 76, 85, 87, 99}


@pytest.mark.parametrize(("n", "expected"), [(1, (1, 0, 0)), (2, (1, 1, 0)), (3, (1, 1, 1))])
def test_few_songs_go_to_training_first(n, expected):
    split_of = split_by_song(map(str, range(n)), {"validation": 0.1, "test": 0.1})
    assert tuple(sizes(split_of).values()) == expected


@pytest.mark.parametrize(
    "fractions", [{"test": -0.1}, {"test": 1.0}, {"test": np.nan}, {"validation": 0.5, "test": 0.5}]
)
def test_impossible_fractions_are_refused(fractions):
    with pytest.raises(CorpusError, match="fraction"):
        split_by_song(["a", "b", "c"], fractions)


@settings(deadline=None)
@given(
    weights=st.dictionaries(st.text(max_size=3), st.floats(0.1, 100), min_size=2, max_size=30),
    data=st.data(),
    seed=st.integers(0, 99),
)
def test_folds_hold_every_group_once_and_differ_by_one_group_at_most(weights, data, seed):
    k = data.draw(st.integers(2, len(weights)))
    folds = balanced_folds(weights, k, seed=seed)
    assert len(folds) == k
    assert sorted(name for fold in folds for name in fold) == sorted(weights)
    totals = [sum(weights[name] for name in fold) for fold in folds]
    assert max(totals) - min(totals) <= max(weights.values()) * (1 + 1e-9)


def test_seeds_give_different_folds():
    weights = {str(i): 10 + i for i in range(12)}
    folds = {tuple(map(tuple, balanced_folds(weights, 3, seed=seed))) for seed in range(8)}
    assert len(folds) > 4
    assert balanced_folds(weights, 3, seed=5) == balanced_folds(weights, 3, seed=5)


@pytest.mark.parametrize("k", [-1, 0, 1, 4])
def test_impossible_number_of_folds_is_refused(k):
    with pytest.raises(CorpusError, match=f"{k} folds are not possible with 3 groups"):
        balanced_folds({"a": 1, "b": 1, "c": 1}, k)


# DEAM --------------------------------------------------------------------------------------------

MEDIAEVAL = sorted(mediaeval2015_ids(), key=int)
# A superset of DEAM's ids: 2 to 2058.
DEAM_IDS = [str(i) for i in range(2, 2059)]


def members(split_of, split):
    return {song_id for song_id, s in split_of.items() if s == split}


def test_mediaeval2015_takes_431_clips_and_tests_on_the_full_songs():
    split_of = split_songs(DEAM_IDS, DeamSplit(protocol="mediaeval2015"))
    assert sizes(split_of) == {"train": 388, "validation": 43, "test": 58}
    assert members(split_of, "test") == {str(i) for i in range(2001, 2059)}
    assert members(split_of, "train") | members(split_of, "validation") == set(MEDIAEVAL)


def test_mediaeval2015_ids_are_431_clips():
    assert len(MEDIAEVAL) == 431
    assert all(2 <= int(song_id) <= 2000 for song_id in MEDIAEVAL)


def test_all_trains_on_every_song():
    split_of = split_songs(DEAM_IDS, DeamSplit(protocol="all", validation_fraction=0.0))
    assert split_of == dict.fromkeys(DEAM_IDS, "train")


def test_release_takes_every_clip():
    split_of = split_songs(DEAM_IDS, DeamSplit())
    assert split_of.keys() == set(DEAM_IDS)
    assert sizes(split_of) == {"train": 1799, "validation": 200, "test": 58}


def test_validation_songs_of_deam_follow_the_seed():
    draws = [split_songs(DEAM_IDS, DeamSplit(split_seed=seed)) for seed in (0, 0, 1)]
    assert draws[0] == draws[1] != draws[2]


def test_unknown_protocol_is_refused():
    with pytest.raises(CorpusError, match="'mediaeval' is not one of release, mediaeval2015,"):
        DeamSplit(protocol="mediaeval")


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"fold": 10}, r"fold 10 is outside 0\.\.9"),
        ({"fold": -1}, r"fold -1 is outside 0\.\.9"),
        ({"n_folds": 1}, "n_folds must be 2 or more, not 1"),
        ({"split_seed": -1}, "split_seed -1 is negative"),
        ({"n_folds": 3000}, "n_folds 3000: there are only 1999 clips"),
        ({"validation_fraction": 1.0}, "leave no songs for training"),
        ({"validation_fraction": -0.1}, "validation fraction -0.1"),
        (
            {"protocol": "release", "fold": 3},
            "protocol release has no folds, so fold must be 0, not 3",
        ),
    ],
)
def test_bad_folds_of_deam_are_refused(options, reason):
    with pytest.raises(CorpusError, match=reason):
        split_songs(DEAM_IDS, DeamSplit(**({"protocol": "cross_validation"} | options)))


@pytest.mark.parametrize(
    ("protocol", "clips"),
    [
        ("cross_validation", [str(i) for i in range(2, 2001)]),
        ("mediaeval2015_cross_validation", MEDIAEVAL),
    ],
)
@pytest.mark.parametrize(("n_folds", "seed"), [(10, 0), (10, 7), (3, 1), (2, 0)])
def test_folds_of_deam_are_disjoint_and_balanced_and_hold_every_clip(
    protocol, clips, n_folds, seed
):
    tested = []
    for fold in range(n_folds):
        options = DeamSplit(protocol=protocol, fold=fold, n_folds=n_folds, split_seed=seed)
        split_of = split_songs(DEAM_IDS, options)
        assert split_of == split_songs(DEAM_IDS[::-1], options)
        assert split_of.keys() == set(clips)
        n_test, n = sizes(split_of)["test"], len(clips)
        assert n_test in (n // n_folds, n // n_folds + 1)
        assert sizes(split_of)["validation"] == round(0.1 * (n - n_test))
        tested += members(split_of, "test")
    assert sorted(tested) == sorted(clips)


def test_folds_of_deam_follow_the_seed_and_each_has_validation_songs_of_its_own():
    def of(name, **options):
        split_of = split_songs(DEAM_IDS, DeamSplit(protocol="cross_validation", **options))
        return frozenset(members(split_of, name))

    assert of("test", split_seed=0) != of("test", split_seed=1)
    assert len({of("validation", fold=fold) for fold in range(10)}) == 10


def test_every_clip_is_trained_on_in_most_folds():
    counts = collections.Counter()
    for fold in range(10):
        split_of = split_songs(DEAM_IDS, DeamSplit(protocol="cross_validation", fold=fold))
        counts.update(members(split_of, "train"))
    assert min(counts[str(i)] for i in range(2, 2001)) >= 3


def test_folds_of_deam_are_those_of_every_other_machine_and_version():
    ids = [str(i) for i in range(2, 14)]
    options = DeamSplit(protocol="cross_validation", n_folds=4, fold=1)
    assert members(split_songs(ids, options), "test") == {"3", "10", "12"}


def test_foreign_song_ids_are_refused():
    with pytest.raises(CorpusError, match="numbers, not a7, b"):
        split_songs(["1", "a7", "b"], DeamSplit())


# Split files of the folder data set --------------------------------------------------------------


def splits_of(tmp_path, text, song_ids=("1", "2", "a b")):
    path = tmp_path / "splits.csv"
    path.write_text(text, encoding="utf-8")
    return read_splits(path, song_ids)


@pytest.mark.parametrize(
    "text",
    [
        "song_id,split\n1,train\na b,test\n",
        "1,train\na b,test\n",
        "\ufeffsong_id,split\r\n1.0 , train\r\n\r\na b,test",
    ],
)
def test_split_file_is_read(tmp_path, text):
    assert splits_of(tmp_path, text) == {"1": "train", "a b": "test"}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("song_id,split\n1,training\n", ":2: not <song_id>,<train, validation, test>"),
        ("1,train,2\n", ":1: not <song_id>,<train, validation, test>"),
        ("1\n", ":1: not <song_id>,<train, validation, test>"),
        ("1,train\n7,train\n", ":2: song 7 has no labels"),
        ("1,train\n2,test\n1.0,test\n", ":3: song 1 occurs twice"),
        ('1,"train\n', ":1: not a CSV file in UTF-8 (unexpected end of data)"),
        (
            "1;train\n2;test\n",
            ":1: not a CSV file in UTF-8 "
            "(columns are separated by semicolons: save it with commas)",
        ),
    ],
)
def test_bad_split_file_is_refused_with_its_line(tmp_path, text, reason):
    with pytest.raises(CorpusError) as caught:
        splits_of(tmp_path, text)
    assert str(caught.value) == f"{tmp_path / 'splits.csv'}{reason}"


def test_missing_split_file_is_refused(tmp_path):
    with pytest.raises(CorpusError, match="No such file"):
        read_splits(tmp_path / "none.csv", [])


# The folder data set -----------------------------------------------------------------------------


def song_list(with_audio, without_audio=()):
    """Songs of four segments each."""
    return SongList((*with_audio, *without_audio), dict.fromkeys(with_audio, 4))


def test_songs_outside_the_split_file_are_in_no_split(tmp_path):
    (tmp_path / "splits.csv").write_text("song 0,train\nsong 1,test\nsong 2,test\n")
    songs = song_list([f"song {i}" for i in range(4)])
    assert song_ids_by_split(FolderSplit(split_file="splits.csv"), songs, tmp_path) == {
        "train": ("song 0",),
        "test": ("song 1", "song 2"),
    }


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"validation_fraction": 0.6, "test_fraction": 0.6}, "leave no songs for training"),
        ({"split_file": "none.csv"}, "No such file"),
    ],
)
def test_bad_splits_of_the_folder_are_refused(tmp_path, options, reason):
    with pytest.raises(CorpusError, match=reason):
        FolderSplit(**options).assign(song_list("abc"), tmp_path)


def test_songs_without_audio_do_not_count_for_the_splits():
    with_audio, without_audio = map(str, range(20)), map(str, range(20, 40))
    songs = song_list(list(with_audio), list(without_audio))
    split = FolderSplit(validation_fraction=0.1, test_fraction=0.2)
    by_split = song_ids_by_split(split, songs, None)
    assert {name: len(song_ids) for name, song_ids in by_split.items()} == {
        "train": 14,
        "validation": 2,
        "test": 4,
    }


# Songs by split ----------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Given(Split):
    """Songs in the given splits."""

    split_of: dict = dataclasses.field(default_factory=dict)

    def assign(self, songs, manual_dir):
        return self.split_of


def test_splits_come_in_their_usual_order_and_songs_in_natural_order():
    split_of = {"1": "test", "2": "validation", "10": "train", "9": "train", "a": "train"}
    by_split = song_ids_by_split(Given(split_of), song_list(["a", "10", "9", "2", "1"]), None)
    assert list(by_split.items()) == [
        ("train", ("9", "10", "a")),
        ("validation", ("2",)),
        ("test", ("1",)),
    ]


def test_missing_audio_is_an_error_if_all_is_required():
    left_out = {"labels without audio": ["1", "3"], "audio without labels": ["4"]}
    with pytest.raises(CorpusError) as caught:
        refuse_missing_audio(dict.fromkeys("123", "train"), left_out)
    assert str(caught.value) == "2 labelled songs have no audio: 1, 3"


def test_missing_audio_of_songs_outside_the_split_is_not_an_error():
    refuse_missing_audio({"2": "train"}, {"labels without audio": ["1"]})
    refuse_missing_audio({"2": "train"}, {})


@settings(deadline=None)
@given(
    split_of=st.dictionaries(st.text(max_size=4), st.sampled_from([*SPLITS, "dev"]), max_size=20),
    data=st.data(),
)
def test_every_song_in_the_shards_is_in_its_assigned_split_and_no_other(split_of, data):
    """Songs may be assigned without being in the shards, and the other way round."""
    there = data.draw(st.lists(st.sampled_from([*split_of, "other", "11"]), unique=True))
    assigned = {song_id: split_of[song_id] for song_id in there if split_of.get(song_id) in SPLITS}
    if not assigned:
        with pytest.raises(CorpusError, match="no song with audio is in the split Given"):
            song_ids_by_split(Given(split_of), song_list(there), None)
        return
    by_split = song_ids_by_split(Given(split_of), song_list(there), None)
    assert all(by_split.values())
    assert {s: split for split, song_ids in by_split.items() for s in song_ids} == assigned
    assert sum(map(len, by_split.values())) == len(assigned)


@settings(deadline=None)
@given(
    available=st.sets(st.sampled_from(DEAM_IDS[::7]), min_size=60),
    protocol=st.sampled_from(["release", "cross_validation"]),
    fold=st.integers(0, 4),
)
def test_audio_that_is_missing_moves_no_other_song_of_deam(available, protocol, fold):
    labelled = DEAM_IDS[::7]
    split = DeamSplit(protocol=protocol, n_folds=5, fold=fold * (protocol != "release"))
    whole = song_ids_by_split(split, song_list(labelled), None)
    part = SongList(tuple(labelled), dict.fromkeys(sorted(available, key=int), 4))
    for name, song_ids in song_ids_by_split(split, part, None).items():
        assert song_ids == tuple(s for s in whole[name] if s in available)


def test_a_digest_names_the_songs_of_every_split():
    songs = {"train": ("1", "2"), "test": ("3",)}
    assert digest(songs) == digest({"test": ["3"], "train": ["1", "2"]})
    assert len(digest(songs)) == 8
    others = [
        {"train": ("1",), "test": ("3",)},
        {"train": ("1", "2", "3")},
        {"train": ("1", "2"), "validation": ("3",)},
        {"train": ("12",), "test": ("3",)},
        {"train": ("1", "2"), "test": ("\udcff",)},
    ]
    assert len({digest(x) for x in [songs, *others]}) == 1 + len(others)


# A data set's settings ---------------------------------------------------------------------------


def test_settings_are_those_of_the_songs_and_those_of_the_split():
    values = {"audio_start": 30, "protocol": "cross_validation", "fold": 3}
    assert make_settings("deam", values) == (
        DeamOptions(audio_start=30.0),
        DeamSplit(protocol="cross_validation", fold=3),
    )
    # 30 and 30.0 would name two sets of shards.
    options, _ = make_settings("deam", {"audio_start": 30})
    assert isinstance(options.audio_start, float)
    assert make_settings("deam", {}) == (DeamOptions(), DeamSplit())


@pytest.mark.parametrize(
    ("name", "values", "reason"),
    [
        ("deam", {"audiostart": 1.0}, "data set deam has no option 'audiostart'; available:"),
        ("vgmidi", {"audio_start": 1.0}, "data set vgmidi has no option 'audio_start'; available"),
        ("deam", {"audio_start": "30"}, "option audio_start of data set deam: '30' is not of ty"),
        ("deam", {"audio_start": True}, "option audio_start of data set deam: True is not of ty"),
        ("deam", {"fold": 1.0}, "option fold of data set deam: 1.0 is not of type int"),
        ("deam", {"fold": 1}, "protocol release has no folds, so fold must be 0, not 1"),
        ("folder", {"split_file": 1}, "option split_file of data set folder: 1 is not of type str"),
        ("none", {}, "unknown data set 'none'; available: deam, emopia, folder, mer1101, synth"),
    ],
)
def test_invalid_settings_are_refused(name, values, reason):
    with pytest.raises(CorpusError, match=f"^{reason}"):
        make_settings(name, values)


@pytest.mark.parametrize("name", NAMES)
def test_a_builder_has_the_settings_that_command_lines_are_checked_by(name):
    assert classes(name) == (builder_class(name).OPTIONS, builder_class(name).SPLIT)


@pytest.mark.parametrize("name", NAMES)
def test_no_setting_of_the_songs_is_one_of_the_split(name):
    cls = builder_class(name)
    options, split = (
        {field.name for field in dataclasses.fields(part)} for part in (cls.OPTIONS, cls.SPLIT)
    )
    assert not options & split


@pytest.mark.parametrize("name", NAMES)
def test_the_split_is_not_part_of_the_name_of_the_shards(name):
    cls = builder_class(name)
    assert cls.config(FeatureConfig(), cls.OPTIONS()).name == cls.config().name
    for field in dataclasses.fields(cls.SPLIT):
        assert field.name not in cls.config().description
