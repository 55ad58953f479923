"""A curve's formats are read back by the programs, or the documented layout, that people use."""

import io
import json
import sys
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from damff_jax.report.curve import Band, Curve

T = 5
VALUES_TXV = np.float32([[0.1, 0.2], [0.3, -0.4], [0.25, -1.0], [-0.5, 0.6], [-1 / 3, 1.0]])
BAND = Band(0.8, np.maximum(VALUES_TXV - 0.25, -1), np.minimum(VALUES_TXV + 0.125, 1))


def make_curve(**changes):
    values = {
        "source": "folder/a <song> & \N{MUSICAL SYMBOL G CLEF}.flac",
        "model": "trained on songs",
        "times": 0.5 * np.arange(T),
        "valence": VALUES_TXV[:, 0],
        "arousal": VALUES_TXV[:, 1],
        "band": BAND,
        "lag_s": 0.5,
        "unlikeness": 0.9,
        "remarks": ("3.0 s declared, 2.5 s decoded",),
        "sample_rate": 22_050,
    }
    return Curve(**{**values, **changes})


@pytest.fixture
def curve():
    return make_curve()


def test_a_path_is_written_and_no_path_gives_the_text(curve, tmp_path):
    for name in ("csv", "json", "jams", "audacity", "sonic_visualiser"):
        method = getattr(curve, f"to_{name}")
        path = tmp_path / name
        assert method(path) is None
        assert path.read_bytes() == method().encode()


# CSV -----------------------------------------------------------------------------------------


def test_csv_is_read_by_numpy(curve):
    text = curve.to_csv()
    assert text.splitlines()[:2] == ["time_s,valence,arousal", "0.0,0.100000,0.200000"]
    table = np.loadtxt(io.StringIO(text), delimiter=",", skiprows=1)
    np.testing.assert_allclose(table, np.c_[curve.times, VALUES_TXV], atol=5e-7)


def test_csv_has_the_band_on_request(curve):
    table = np.genfromtxt(io.StringIO(curve.to_csv(band=True)), delimiter=",", names=True)
    for v, name in enumerate(("valence", "arousal")):
        np.testing.assert_allclose(table[f"{name}_low"], BAND.low_TxV[:, v], atol=5e-7)
        np.testing.assert_allclose(table[f"{name}_high"], BAND.high_TxV[:, v], atol=5e-7)
    with pytest.raises(ValueError, match="no band, because the weights have none"):
        make_curve(band=None).to_csv(band=True)


def test_pandas_reads_the_csv_as_the_data_frame_that_the_curve_gives(curve):
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    frame = curve.to_dataframe()
    assert list(frame.columns[:3]) == ["time_s", "valence", "arousal"]
    assert frame.attrs["source"] == curve.source and frame.attrs["lag_s"] == 0.5
    read = pandas.read_csv(io.StringIO(curve.to_csv(band=True)))
    pandas.testing.assert_frame_equal(read, frame, check_dtype=False, atol=1e-6)
    bare = make_curve(band=None)
    assert list(bare.to_dataframe().columns) == ["time_s", "valence", "arousal"]


def test_a_data_frame_without_pandas_names_it(curve, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match=r"^to_dataframe needs pandas: pip install pandas$"):
        curve.to_dataframe()


# JSON ----------------------------------------------------------------------------------------


def test_json_says_everything_about_the_curve(curve):
    told = json.loads(curve.to_json())
    assert told["source"] == "a <song> & \N{MUSICAL SYMBOL G CLEF}.flac"
    assert (told["names"], told["scale"], told["hop_s"]) == (["valence", "arousal"], [-1, 1], 0.5)
    assert (told["lag_s"], told["unlikeness"]) == (0.5, 0.9)
    assert told["remarks"] == list(curve.remarks)
    np.testing.assert_allclose(told["values"], VALUES_TXV, atol=5e-7)
    assert told["time_s"] == curve.times.tolist()
    assert told["band"]["level"] == 0.8
    np.testing.assert_allclose(told["band"]["high"], BAND.high_TxV, atol=5e-7)
    assert json.loads(make_curve(band=None).to_json())["band"] is None


def test_json_and_jams_carry_the_tags_besides_the_files_name():
    tagged, untagged = make_curve(name="A Name", artist="Somebody"), make_curve()
    told = [json.loads(curve.to_json()) for curve in (tagged, untagged)]
    assert [(x["title"], x["artist"]) for x in told] == [("A Name", "Somebody"), (None, None)]
    told = [json.loads(curve.to_jams()) for curve in (tagged, untagged)]
    metadata = [x["file_metadata"] for x in told]
    assert [(x["title"], x["artist"]) for x in metadata] == [
        ("A Name", "Somebody"), (untagged.title, ""),
    ]  # fmt: skip
    assert [x["sandbox"] for x in told] == 2 * [{"source": untagged.title}]


# JAMS ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("band", [BAND, None], ids=["band", "no band"])
@pytest.mark.filterwarnings("default")  # Those of the library are not ours.
def test_jams_validates_and_reads_the_file(band, tmp_path):
    jams = pytest.importorskip("jams", reason="jams is not installed")
    curve = make_curve(band=band)
    curve.to_jams(tmp_path / "a.jams")
    content = jams.load(str(tmp_path / "a.jams"), validate=True, strict=True)
    assert content.file_metadata.duration == 2.5
    assert content.file_metadata.title == curve.title
    (annotation,) = content.search(namespace="mood_thayer")
    times_Tx2, values = annotation.to_interval_values()
    np.testing.assert_array_equal(times_Tx2, np.c_[curve.times, curve.times + 0.5])
    np.testing.assert_allclose(values, VALUES_TXV, atol=5e-7)
    assert annotation.sandbox.lag_s == 0.5
    confidences = [observation.confidence for observation in annotation.data]
    if band is None:
        assert confidences == [None] * T
    else:
        # Half of 0.25 + 0.125, averaged over both dimensions, but for limits at the scale's ends.
        np.testing.assert_allclose(confidences, [0.8125, 0.8125, 0.875, 0.8125, 0.84375], atol=1e-6)


def test_jams_has_the_layout_of_its_schema(curve):
    """What the library checks, for those who do not have it."""
    content = json.loads(curve.to_jams())
    assert content.keys() == {"file_metadata", "annotations", "sandbox"}
    (annotation,) = content["annotations"]
    assert annotation["namespace"] == "mood_thayer"
    for row, observation in enumerate(annotation["data"]):
        assert observation.keys() == {"time", "duration", "value", "confidence"}
        assert (observation["time"], observation["duration"]) == (0.5 * row, 0.5)
        np.testing.assert_allclose(observation["value"], VALUES_TXV[row], atol=5e-7)


# Audacity ------------------------------------------------------------------------------------


def test_an_audacity_label_track_has_a_label_per_stretch_in_a_quadrant(curve):
    """The manual: a line is start, end and label, separated by tabs, times in seconds."""
    lines = [line.split("\t") for line in curve.to_audacity().splitlines()]
    assert [(float(start), float(end)) for start, end, _ in lines] == [
        (0, 0.5),
        (0.5, 1.5),
        (1.5, 2.5),
    ]
    assert [label.split()[0] for *_, label in lines] == ["excited", "calm", "tense"]
    assert lines[1][2] == "calm (valence +0.28, arousal -0.70)"


# Sonic Visualiser ----------------------------------------------------------------------------


@pytest.mark.parametrize(("known", "rate"), [(22_050, 22_050), (None, 44_100)])
def test_a_sonic_visualiser_file_has_a_layer_per_dimension(known, rate):
    """As the program reads it: layers refer to models, and models to data sets before them."""
    text = make_curve(sample_rate=known).to_sonic_visualiser()
    assert text.splitlines()[1] == "<!DOCTYPE sonic-visualiser>"
    root = ElementTree.fromstring(text)
    assert root.tag == "sv" and [child.tag for child in root] == ["data", "display"]
    layers = root.findall("display/layer")
    assert [(layer.get("name"), layer.get("type")) for layer in layers] == [
        ("valence", "timevalues"),
        ("arousal", "timevalues"),
    ]
    assert len({layer.get("id") for layer in layers}) == 2
    for v, layer in enumerate(layers):
        (model,) = root.findall(f"data/model[@id='{layer.get('model')}']")
        assert (model.get("type"), model.get("dimensions")) == ("sparse", "2")
        assert (model.get("sampleRate"), model.get("resolution")) == (str(rate), "1")
        (dataset,) = root.findall(f"data/dataset[@id='{model.get('dataset')}']")
        assert dataset.get("dimensions") == "2"
        children = list(root.find("data"))
        assert children.index(dataset) == children.index(model) + 1
        points = [(int(p.get("frame")), float(p.get("value"))) for p in dataset]
        np.testing.assert_allclose(
            points, np.c_[0.5 * rate * np.arange(T), VALUES_TXV[:, v]], atol=5e-7
        )
