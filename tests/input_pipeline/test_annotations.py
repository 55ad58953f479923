"""Label files: what is accepted, what is refused and where, and how curves are aligned."""

import csv
import gzip
import io
import math
import tracemalloc
import unicodedata
import zipfile

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from input_pipeline.annotations import (
    LabelError,
    Labels,
    Scale,
    align,
    canonical_id,
    natural_key,
    read_curves,
    read_labels,
)

HEADER = "song_id,sample_15000ms,sample_15500ms,sample_16000ms"


def curves_of(tmp_path, content, **kwargs):
    path = tmp_path / "valence.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_curves(path, **kwargs)


def refusal(tmp_path, content, **kwargs):
    """The error's text after the name of the file."""
    with pytest.raises(LabelError) as caught:
        curves_of(tmp_path, content, **kwargs)
    message = str(caught.value)
    path = str(tmp_path / "valence.csv")
    assert message.startswith(path + ":") and "\n" not in message
    return message.removeprefix(path + ":")


# Handled -----------------------------------------------------------------------------------------

PLAIN = {"2": {30: 0.125, 31: -0.25, 32: 0.375}, "10": {30: 0.5, 31: 0.75, 32: -0.625}}
SAME_CURVES = {
    "plain": f"{HEADER}\n2,0.125,-0.25,0.375\n10,0.5,0.75,-0.625\n",
    "no newline at the end": f"{HEADER}\n2,0.125,-0.25,0.375\n10,0.5,0.75,-0.625",
    "byte-order mark": f"\ufeff{HEADER}\n2,0.125,-0.25,0.375\n10,0.5,0.75,-0.625\n",
    "CRLF": f"{HEADER}\r\n2,0.125,-0.25,0.375\r\n10,0.5,0.75,-0.625\r\n",
    "spaces": f"{HEADER.replace(',', ' , ')}\n 2 , 0.125,\t-0.25 ,0.375\n10, 0.5, 0.75, -0.625\n",
    "float ids": f"{HEADER}\n2.0,0.125,-0.25,0.375\n10.000,0.5,0.75,-0.625\n",
    "quotes": f'{HEADER}\n"2","0.125","-0.25","0.375"\n"10",0.5,0.75,-0.625\n',
    "exponents": f"{HEADER}\n2,1.25e-1,-2.5E-1,+.375\n10,5.0e-1,0.75,-.625\n",
    "blank lines": f"\n , \n{HEADER}\n\n2,0.125,-0.25,0.375\n,,,\n10,0.5,0.75,-0.625\n\n",
    "unsorted columns": (
        "song_id,sample_16000ms,sample_15000ms,sample_15500ms\n"
        "2,0.375,0.125,-0.25\n10,-0.625,0.5,0.75\n"
    ),
    "unsorted songs": f"{HEADER}\n10,0.5,0.75,-0.625\n2,0.125,-0.25,0.375\n",
    "space before ms": f"{HEADER.replace('ms', ' ms')}\n2,0.125,-0.25,0.375\n10,0.5,0.75,-0.625\n",
}


@pytest.mark.parametrize("content", SAME_CURVES.values(), ids=SAME_CURVES)
def test_imperfect_files_with_one_meaning_are_read_alike(tmp_path, content):
    assert curves_of(tmp_path, content) == PLAIN


@pytest.mark.parametrize("cell", ["", " ", "nan", "NaN", "NA"])
def test_cell_without_a_label_is_absent(tmp_path, cell):
    assert curves_of(tmp_path, f"{HEADER}\n2,0.125,{cell},0.375\n") == {"2": {30: 0.125, 32: 0.375}}


@pytest.mark.parametrize("row", ["2,0.125", "2,0.125,,"])
def test_row_that_ends_early_has_fewer_labels(tmp_path, row):
    assert curves_of(tmp_path, f"{HEADER}\n{row}\n") == {"2": {30: 0.125}}


def test_missing_columns_leave_a_gap_and_move_nothing(tmp_path):
    content = "song_id,sample_15000ms,sample_16000ms\n2,0.125,0.375\n"
    assert curves_of(tmp_path, content) == {"2": {30: 0.125, 32: 0.375}}


def test_song_without_any_label_is_known(tmp_path):
    assert curves_of(tmp_path, f"{HEADER}\n2,,,\n") == {"2": {}}


@pytest.mark.parametrize("value", ["1", "-1", "1.0000001", "-1.0000009"])
def test_value_at_the_end_of_the_scale_is_read_and_within_it(tmp_path, value):
    assert curves_of(tmp_path, f"{HEADER}\n2,{value}\n") == {
        "2": {30: math.copysign(1, float(value))}
    }


@pytest.mark.parametrize(
    ("low", "high", "value", "expected"),
    [(0, 1, 0.75, 0.5), (0, 1, 0, -1), (1, 9, 5, 0), (1, 9, 9, 1), (-2, 2, 1, 0.5)],
)
def test_scale_is_mapped_linearly(tmp_path, low, high, value, expected):
    content = f"{HEADER}\n2,{value}\n"
    assert curves_of(tmp_path, content, scale=Scale(low, high)) == {"2": {30: expected}}


@pytest.mark.parametrize(
    ("low", "high"), [(1, 1), (1, -1), (0, math.inf), (math.nan, 1), (-1e308, 1e308)]
)
def test_impossible_scale_is_refused(low, high):
    with pytest.raises(ValueError, match="scale"):
        Scale(low, high)


def test_start_time_gives_the_times_of_columns_of_any_name(tmp_path):
    for names in (
        "a,b,c",
        "15.5,16.0,16.5",
        "V 1,V 2,V 3",
        "sample_0ms,sample_500ms,sample_1000ms",
    ):
        content = f"musicId,{names}\nx,0.125,-0.25,0.375\n"
        curves = curves_of(tmp_path, content, start_time=15.5)
        assert curves == {"x": {31: 0.125, 32: -0.25, 33: 0.375}}


@pytest.mark.parametrize(
    ("cell", "song_id"),
    [("2.0", "2"), ("2.00", "2"), ("2.5", "2.5"), ("02", "02"), ("a.0", "a.0"), (" x y ", "x y")],
)
def test_only_whole_numbers_with_a_fraction_of_zeros_are_rewritten(cell, song_id):
    assert canonical_id(cell) == song_id


def test_ids_are_sorted_as_numbers_before_names():
    assert sorted(["b", "10", "a", "2", "1"], key=natural_key) == ["1", "2", "10", "a", "b"]


# Refused -----------------------------------------------------------------------------------------

REFUSED = {
    "empty": ("", "1: the header must be song_id,sample_15000ms,..., not ''"),
    "header only": (HEADER, "1: no songs in the file"),
    "semicolons": (
        f"{HEADER.replace(',', ';')}\n2;0.1\n",
        "1: not a CSV file in UTF-8 (columns are separated by semicolons: save it with commas)",
    ),
    "word": (f"{HEADER}\n2,0.1,0.2,0.3\n3,0.1,loud,0.3\n", "3:3: 'loud' is not a number"),
    "decimal comma": (
        f'{HEADER}\n2,0.1,"0,2"\n',
        "2:3: '0,2' is not a number; write a decimal point, not a comma",
    ),
    "underscore": (f"{HEADER}\n2,0_1\n", "2:2: '0_1' is not a number"),
    "foreign digits": (f"{HEADER}\n2,٠\n", "2:2: '٠' is not a number"),
    "infinity": (f"{HEADER}\n2,0.1,-inf\n", "2:3: '-inf' is not a number"),
    "infinite number": (f"{HEADER}\n2,0.1,1e999\n", "2:3: '1e999' is not finite"),
    "too high": (f"{HEADER}\n2,0.1,0.2,1.5\n", "2:4: 1.5 is outside [-1, 1]"),
    "too low": (f"{HEADER}\n2,-1.00001\n", "2:2: -1.00001 is outside [-1, 1]"),
    "id twice": (f"{HEADER}\n2,0.1\n3,0.1\n2.0,0.1\n", "4:1: song 2 occurs twice"),
    "no id": (f"{HEADER}\n,0.1,0.2\n", "2:1: no song id"),
    "id of two lines": (f'{HEADER}\n"2\n3",0.1,0.2\n', "3:1: '2\\n3' is not a song id"),
    "endless id": (f"{HEADER}\n{'9' * 5000},0.1\n", f"2:1: '{'9' * 40}' is not a song id"),
    "long row": (f"{HEADER}\n2,0.1,0.2,0.3,0.4\n", "2:5: the header has only 4 columns"),
    "unnamed column": (
        "song_id,sample_15000ms,15500\n2,0.1,0.2\n",
        "1:3: '15500' is not of the form sample_<time>ms; "
        "the header is song_id,sample_15000ms,15500",
    ),
    "nameless column": (
        "song_id,sample_15000ms,\n2,0.1,0.2\n",
        "1:3: '' is not of the form sample_<time>ms; the header is song_id,sample_15000ms,",
    ),
    "far column": (
        "song_id,sample_9999999999500ms\n2,0.1\n",
        "1:2: 'sample_9999999999500ms' is not of the form sample_<time>ms; "
        "the header is song_id,sample_9999999999500ms",
    ),
    "foreign time": (
        "song_id,sample_٠ms\n2,0.1\n",
        "1:2: 'sample_٠ms' is not of the form sample_<time>ms; the header is song_id,sample_٠ms",
    ),
    "time twice": (
        "song_id,sample_15000ms,sample_15000ms\n2,0.1,0.2\n",
        "1: a time occurs twice in the header",
    ),
    "irregular times": (
        "song_id,sample_15000ms,sample_15400ms\n2,0.1,0.2\n",
        "1:3: 15400 ms is not a multiple of 500 ms",
    ),
    "no header": ("2,0.1,0.2\n3,0.1,0.2\n", "1:1: '2' is a song; the header is missing"),
}


@pytest.mark.parametrize(("content", "message"), REFUSED.values(), ids=REFUSED)
def test_bad_file_is_refused_with_line_column_and_reason(tmp_path, content, message):
    assert refusal(tmp_path, content) == message


# Tables of another form: their header, and the column that the message names. `start_time` reads
# columns of other names, so only the header tells these tables from others.
OTHER_FORMS = {
    "nameless index": (",song_id,{times}", 1, "a table's index"),
    "nameless index of other names": (",musicId,t0,t1,t2", 1, "a table's index"),
    "index read and written again": ("Unnamed: 0,song_id,{times}", 1, "a table's index"),
    "two indices": ("Unnamed: 0.1,Unnamed: 0,id,{times}", 1, "a table's index"),
    "named index": ("index,track,0.0,0.5,1.0", 1, "a table's index"),
    "quoted index": ('"","song_id","s 1","s 2","s 3"', 1, "a table's index"),
    "index instead of ids": (",{times}", 1, "has no name"),
    "ids in the second column": ("artist,song_id,{times}", 2, "must be the first column"),
    "two columns of ids": ("song_id,filename,{times}", 2, "a second column of song ids"),
    "transposed": ("time,1,2,3", 1, "the table is transposed"),
    "transposed, with a unit": ("frameTime (s),1,2,3", 1, "the table is transposed"),
    "a row per time": ("song_id,time,valence", 2, "a row per time"),
    "a row per time, time first": ("time_ms,song_id,arousal", 2, "must be the first column"),
    "a label per song": ("song_id, valence_mean, valence_std", 2, "a single label per song"),
}


@pytest.mark.parametrize("start_time", [None, 0.0])
@pytest.mark.parametrize("before", ["", "\ufeff"])
@pytest.mark.parametrize(
    ("header", "column", "reason"), OTHER_FORMS.values(), ids=OTHER_FORMS.keys()
)
def test_tables_of_another_form_are_refused_naming_the_header(
    tmp_path, header, column, reason, before, start_time
):
    header = header.format(times="sample_0ms,sample_500ms,sample_1000ms")
    row = ",".join(["0.5"] * (header.count(",") + 1))
    message = refusal(tmp_path, f"{before}{header}\r\n{row}\r\n", start_time=start_time)
    assert message.startswith(f"1:{column}: ") and reason in message
    assert "; the header is " in message
    assert next(csv.reader([header]))[column - 1].strip() in message


IRREGULAR = {
    "another column first": ("id,year,s1,s2", 3),
    "another column in between": ("id,s1,n,s2", 3),
    "another column last": ("id,s1,s2,mean", 4),
    "sorted as text": ("id,s1,s10,s2", 4),
    "a column missing": ("id,s0,s1,s3", 4),
    "backwards": ("id,s3,s2,s1", 3),
    "twice": ("id,a,a", 3),
    "twice, numbered": ("id,s1,s1", 3),
    "without a name": ("id,s1,,s2", 3),
    "another unit": ("id,1s,2ms,3s", 3),
    "a quarter of a second apart": ("id,sample_0ms,sample_250ms,sample_500ms", 3),
    "a second apart": ("id,0s,1s,2s", 3),
    "a tenth apart": ("id,0.0,0.1,0.2", 3),
}


@pytest.mark.parametrize(("header", "column"), IRREGULAR.values(), ids=IRREGULAR)
def test_columns_that_are_no_series_of_half_seconds_are_refused(tmp_path, header, column):
    message = refusal(tmp_path, f"{header}\n1,0.5,0.5\n", start_time=0.0)
    assert message.startswith(f"1:{column}: ") and f"; the header is {header}" in message


@pytest.mark.parametrize(
    "times",
    [
        ("sample_0ms", "sample_500ms", "sample_1000ms"),
        ("15.0", "15.5", "16.0"),
        ("0", "500", "1000"),
        ("15000", "15500", "16000"),
    ],
)
def test_a_transposed_table_is_noticed_by_its_first_column(tmp_path, times):
    rows = "".join(f"{time},0.1,0.2\n" for time in times)
    message = refusal(tmp_path, f"song_id,1,2\n{rows}", start_time=0.0)
    assert "'song_id', holds times and not song ids: the table is transposed" in message


@pytest.mark.parametrize("ids", [("15", "16", "17"), ("0.5", "a", "1.5"), ("500", "1000", "2000")])
def test_ids_that_are_numbers_are_not_times(tmp_path, ids):
    rows = "".join(f"{song_id},0.1,0.2\n" for song_id in ids)
    assert list(curves_of(tmp_path, f"song_id,1,2\n{rows}", start_time=0.0)) == list(ids)


@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_missing_header_is_noticed_where_column_names_are_not_read(tmp_path, mark):
    message = refusal(tmp_path, f"{mark}2.0,0.1,0.2\n3,0.1,0.2\n", start_time=0.0)
    assert message == "1:1: '2.0' is a song; the header is missing"


TABLE = f"{HEADER}\n2,0.125,-0.25,0.375\n10,0.5,0.75,-0.625\n"


def zipped(name):
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr(name, TABLE)
    return content.getvalue()


def separated(separator, point="."):
    return TABLE.replace(",", separator).replace(".", point)


# What the message says that it is, and what to do.
FOREIGN_FILES = {
    "xlsx": (zipped("xl/workbook.xml"), "a spreadsheet: open it and save it as CSV"),
    "ods": (zipped("content.opendocument"), "a spreadsheet: open it and save it as CSV"),
    "xls": (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600), "an old Excel spreadsheet"),
    "zip": (zipped("valence.csv"), "a ZIP archive: unpack it"),
    "gzip": (gzip.compress(TABLE.encode()), "compressed: unpack it"),
    "UTF-16": (TABLE.encode("utf-16"), "text in UTF-16: save it as UTF-8"),
    "UTF-16, big end": (b"\xfe\xff" + TABLE.encode("utf-16-be"), "text in UTF-16"),
    "UTF-16 without a mark": (TABLE.encode("utf-16-le"), "text in UTF-16"),
    "UTF-16, big end, without a mark": (TABLE.encode("utf-16-be"), "text in UTF-16"),
    "UTF-16 with tabs": (separated("\t").encode("utf-16"), "text in UTF-16"),
    "UTF-32": (TABLE.encode("utf-32"), "text in UTF-32: save it as UTF-8"),
    "html": (b"<!DOCTYPE html><html><body>Sign in</body></html>", "an HTML or XML page: download"),
    "html after blanks": ("\ufeff\n <html>\n<p>".encode(), "an HTML or XML page: download"),
    "JSON": (b'{"2": [0.125, -0.25]}', "JSON: convert it to CSV"),
    "PDF": (b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n", "a PDF document"),
    "Git LFS": (
        b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
        "a placeholder of Git LFS: fetch",
    ),
}


@pytest.mark.parametrize("start_time", [None, 0.0])
@pytest.mark.parametrize(("content", "what"), FOREIGN_FILES.values(), ids=FOREIGN_FILES)
def test_a_file_of_another_kind_is_named_for_what_it_is(tmp_path, content, what, start_time):
    message = refusal(tmp_path, content, start_time=start_time)
    assert message.startswith(f" not a CSV file in UTF-8, but {what}")


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252"])
@pytest.mark.parametrize("n", [1, 3, 2000])
def test_text_that_is_not_utf_8_is_named_with_its_line(tmp_path, encoding, n):
    songs = "".join(f"{i},0.1,0.2\n" for i in range(n)) + "Frühling,0.1,0.2\n"
    message = refusal(tmp_path, f"{HEADER}\n{songs}".encode(encoding))
    assert message.startswith(f"{n + 2}: not a CSV file in UTF-8 (perhaps in Latin-1")
    assert message.endswith("save it as UTF-8)")


POINTS = "save it with commas and decimal points"
SEPARATED = {
    "semicolons": (separated(";"), 1, "semicolons: save it with commas"),
    "tabs": (separated("\t"), 1, "tabs: save it with commas"),
    "bars": (separated("|"), 1, "bars: save it with commas"),
    "decimal commas": (separated(";", ","), 1, f"semicolons: {POINTS}"),
    "an Excel line": ("sep=;\n" + separated(";"), 1, "semicolons: save it with commas"),
    "blank lines": ("\r\n\r\n" + separated(";"), 3, "semicolons: save it with commas"),
    "quoted header": ('\ufeff"song_id" ;"sample_0ms"\n2;0,5\n', 1, f"semicolons: {POINTS}"),
    "times with commas": ("song_id;0,0;0,5\n2;0,5;0,5\n", 1, f"semicolons: {POINTS}"),
    "rows alone": (f"{HEADER}\n2;0.125;-0.25;nan\n", 2, "semicolons: save it with commas"),
    "rows with decimal commas": (f"{HEADER}\n2;0,125;-0,25;\n", 2, f"semicolons: {POINTS}"),
}


@pytest.mark.parametrize("start_time", [None, 0.0])
@pytest.mark.parametrize(("content", "line", "what"), SEPARATED.values(), ids=SEPARATED)
def test_other_separators_are_named(tmp_path, content, line, what, start_time):
    message = refusal(tmp_path, content, start_time=start_time)
    assert message == f"{line}: not a CSV file in UTF-8 (columns are separated by {what})"


@pytest.mark.parametrize("song_id", ["a;b", "1;2", "a|1"])
def test_an_id_may_contain_what_separates_elsewhere(tmp_path, song_id):
    assert list(curves_of(tmp_path, f"{HEADER}\n{song_id},0.125,-0.25\n")) == [song_id]


@pytest.mark.parametrize("name", ["valence.xlsx", "Valence.CSV", "valence.tsv"])
def test_a_file_of_nearly_the_name_is_mentioned_where_one_is_missing(tmp_path, name):
    (tmp_path / name).touch()
    with pytest.raises(LabelError, match=rf"No such file or directory; there is {name}, which "):
        read_curves(tmp_path / "valence.csv")


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_ids_are_composed_however_their_accents_are_written(tmp_path, form):
    song_id = unicodedata.normalize(form, "Dvořák é ạ̈")
    content = f"{HEADER}\n{song_id},0.125\n"
    assert list(curves_of(tmp_path, content)) == [unicodedata.normalize("NFC", "Dvořák é ạ̈")]
    both = content + f"{unicodedata.normalize('NFC', song_id)},0.5\n"
    assert "occurs twice" in refusal(tmp_path, both)


@pytest.mark.parametrize("line", ["9" * 10**7, "," * 10**7, '"' + "x\n" * 10**6])
def test_endless_line_is_refused_with_bounded_memory(tmp_path, line):
    for content in (line, f"{HEADER}\n{line}"):
        for start_time in (None, 0.0):
            tracemalloc.start()
            assert "not a CSV file" in refusal(tmp_path, content, start_time=start_time)
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            assert peak < 2e8


def test_open_quote_is_refused(tmp_path):
    assert "not a CSV file" in refusal(tmp_path, f'{HEADER}\n2,"0.1,0.2\n')


@pytest.mark.parametrize("start_time", [0.25, -0.5])
def test_start_time_off_the_grid_is_refused(tmp_path, start_time):
    message = refusal(tmp_path, "id,a\n2,0.1\n", start_time=start_time)
    assert message.startswith("1:2: ") and "not a multiple of 500 ms" in message


def test_missing_file_and_directory_are_refused(tmp_path):
    with pytest.raises(LabelError, match=r"none\.csv: No such file"):
        read_curves(tmp_path / "none.csv")
    with pytest.raises(LabelError, match="Is a directory"):
        read_curves(tmp_path)


# Aligned -----------------------------------------------------------------------------------------


def constant(*segments, value=0.5):
    return dict.fromkeys(segments, value)


def aligned(valence, arousal):
    return align({"2": valence}, {"2": arousal})


def test_both_curves_are_joined_valence_first():
    labels = aligned({30: 0.1, 31: 0.2}, {30: -0.1, 31: -0.2}).labels["2"]
    assert labels.first_segment == 30
    assert labels.values_TxV.dtype == np.float32
    np.testing.assert_array_equal(
        labels.values_TxV, np.array([[0.1, -0.1], [0.2, -0.2]], np.float32)
    )
    assert labels.mask_TxV.all()


def test_curves_of_unequal_length_keep_the_common_span_and_are_named():
    alignment = aligned(constant(*range(30, 40)), constant(*range(32, 45)))
    labels = alignment.labels["2"]
    assert (labels.first_segment, len(labels)) == (32, 8)
    assert labels.mask_TxV.all()
    assert alignment.unequal_lengths == ["2"] and alignment.interior_gaps == []


def test_missing_label_inside_is_masked_and_the_song_is_named():
    alignment = aligned(constant(30, 31, 34), constant(*range(30, 35)))
    labels = alignment.labels["2"]
    np.testing.assert_array_equal(labels.mask_TxV[:, 0], [True, True, False, False, True])
    np.testing.assert_array_equal(labels.values_TxV[:, 0], [0.5, 0.5, 0, 0, 0.5])
    assert labels.mask_TxV[:, 1].all()
    assert alignment.interior_gaps == ["2"]


def test_stray_label_far_beyond_one_curve_does_not_extend_the_span():
    alignment = aligned(constant(*range(30, 90), 10**6), constant(*range(30, 90)))
    assert len(alignment.labels["2"]) == 60


@pytest.mark.parametrize(
    ("valence", "arousal"), [({30: 0.1}, {}), ({}, {}), (constant(1, 2), constant(3, 4))]
)
def test_song_without_a_common_segment_is_named_and_has_no_labels(valence, arousal):
    alignment = aligned(valence, arousal)
    assert alignment.labels == {} and alignment.unlabelled == ["2"]


def test_songs_of_one_file_only_are_named():
    one = constant(30)
    alignment = align({"2": one, "10": one, "3": one}, {"4": one, "3": one})
    assert list(alignment.labels) == ["3"]
    assert alignment.valence_only == ["2", "10"] and alignment.arousal_only == ["4"]


def test_head_keeps_the_first_segments():
    labels = aligned(constant(30, 31, 33), constant(*range(30, 34))).labels["2"]
    head = labels.head(3)
    assert isinstance(head, Labels) and len(head) == 3 and head.first_segment == 30
    np.testing.assert_array_equal(head.mask_TxV, labels.mask_TxV[:3])
    assert len(labels.head(0)) == 0


SEGMENTS = st.dictionaries(st.integers(0, 100), st.floats(-1, 1, width=32), max_size=12)


@settings(deadline=None)
@given(valence=SEGMENTS, arousal=SEGMENTS)
def test_alignment_moves_no_label_and_loses_none_of_the_common_span(valence, arousal):
    alignment = aligned(valence, arousal)
    common_span = (
        range(max(min(valence), min(arousal)), min(max(valence), max(arousal)) + 1)
        if valence and arousal
        else range(0)
    )
    labels = alignment.labels.get("2")
    assert (labels is None) == (len(common_span) == 0)
    if labels is None:
        return
    assert range(labels.first_segment, labels.first_segment + len(labels)) == common_span
    for v, curve in enumerate((valence, arousal)):
        kept = {
            segment: float(labels.values_TxV[t, v])
            for t, segment in enumerate(common_span)
            if labels.mask_TxV[t, v]
        }
        assert kept == {i: x for i, x in curve.items() if i in common_span}


# Whole files -------------------------------------------------------------------------------------


def write_file(path, curves, times):
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["song_id", *(f"sample_{500 * i}ms" for i in times)])
        for song_id, curve in curves.items():
            writer.writerow([song_id, *(repr(curve[i]) if i in curve else "" for i in times)])


IDS = st.one_of(
    st.integers(0, 3000).map(str),
    st.text(st.characters(categories=["L", "N", "P"]), min_size=1, max_size=8),
).filter(lambda song_id: canonical_id(song_id) == song_id and song_id not in ("", "\ufeff"))


@settings(deadline=None, max_examples=60)
@given(
    curves=st.dictionaries(
        IDS, st.dictionaries(st.integers(0, 40), st.floats(-1, 1)), min_size=1, max_size=6
    ),
    times=st.permutations(range(41)),
)
def test_curves_written_are_the_curves_read(tmp_path_factory, curves, times):
    path = tmp_path_factory.getbasetemp() / "roundtrip.csv"
    write_file(path, curves, times)
    read = read_curves(path)
    assert read.keys() == curves.keys()
    for song_id, curve in curves.items():
        assert read[song_id] == pytest.approx(curve, rel=0, abs=1e-15)


VALID = (
    f'{HEADER}\n2,0.1,-0.2,0.3\n3,0.25,,\n10.0, 0.4,nan,-0.6\nsong,"1.0",-1,0e0\nlast,0.5,0.125\n'
).encode()


@settings(max_examples=400, deadline=None)
@given(
    changes=st.lists(
        st.tuples(
            st.integers(0, len(VALID)),
            st.integers(0, 3),
            st.one_of(
                st.binary(max_size=3),
                st.sampled_from([b"\0", b"\n", b"\r", b",", b'"', b"9" * 5000, b"\xef\xbb\xbf"]),
            ),
        ),
        min_size=1,
        max_size=6,
    ),
    start_time=st.sampled_from([None, 0.0]),
)
@example(changes=[(0, len(VALID), b"")], start_time=None)
@example(changes=[(15, 0, b"9" * 200_000)], start_time=None)
def test_mutated_files_are_read_or_refused(tmp_path_factory, changes, start_time):
    folder = tmp_path_factory.getbasetemp()
    content = bytearray(VALID)
    for place, n_removed, inserted in changes:
        content[place : place + n_removed] = inserted
    for name in ("valence.csv", "arousal.csv"):
        (folder / name).write_bytes(content)
    try:
        alignment = read_labels(folder, start_time=start_time)
    except LabelError as error:
        assert str(error).startswith(f"{folder}/valence.csv:") and "\n" not in str(error)
    else:
        for labels in alignment.labels.values():
            assert np.all(np.abs(labels.values_TxV) <= 1)
            assert not labels.values_TxV[~labels.mask_TxV].any()
