"""Where data sets come from: this package, plug-ins, files."""

import shutil
from pathlib import Path

import pytest

from input_pipeline.corpus import CorpusError
from input_pipeline.fingerprint import fingerprint
from input_pipeline.registry import NAMES, builder_class
from input_pipeline.splits import DrawnSplit

PMEMO = Path(__file__).parents[2] / "docs" / "extending" / "pmemo.py"


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Makes a module, a copy of the example, that a fake distribution names as a data set."""

    def installed(module, name="pmemo", attribute="Builder"):
        shutil.copy(PMEMO, tmp_path / f"{module}.py")
        info = tmp_path / f"{module}-1.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1\n")
        (info / "entry_points.txt").write_text(
            f"[damff_jax.datasets]\n{name} = {module}:{attribute}\n"
        )

    monkeypatch.syspath_prepend(str(tmp_path))
    return installed


def test_the_data_sets_of_the_package():
    assert NAMES == ("deam", "emopia", "folder", "mer1101", "synthetic", "vgmidi")
    for name in NAMES:
        assert builder_class(name).name == name


def test_a_file_is_a_data_set(tmp_path):
    cls = builder_class(str(PMEMO))
    assert cls is builder_class(str(PMEMO))
    assert (cls.name, cls.SPLIT, cls.OPTIONS()) == ("pmemo", DrawnSplit, cls.OPTIONS())
    # Without a name of its own, it has that of its file.
    other = tmp_path / "other.py"
    other.write_text(PMEMO.read_text().replace('    name = "pmemo"\n', ""))
    assert builder_class(str(other)).name == "other"
    assert builder_class(str(other)).code_digest != cls.code_digest


def test_an_installed_plug_in_is_a_data_set(install, tmp_path):
    install("damff_pmemo")
    cls = builder_class("pmemo")
    assert cls.__module__ == "damff_pmemo"
    builder = cls(data_dir=str(tmp_path / "data"))
    assert builder.info.description.startswith("PMEmo")
    with pytest.raises(CorpusError, match=r"set 'none'; available: .* vgmidi, pmemo, and files"):
        builder_class("none")


def test_two_plug_ins_of_one_name_are_refused(install):
    install("first_pmemo")
    install("second_pmemo")
    with pytest.raises(CorpusError, match=r"^several plug-ins have a data set 'pmemo': "):
        builder_class("pmemo")


def test_a_plug_in_that_cannot_be_used_is_refused(install):
    install("misnamed_pmemo", name="pmemo2")
    with pytest.raises(CorpusError, match=r"^pmemo2: plug-in misnamed_pmemo:Builder names itself"):
        builder_class("pmemo2")
    install("empty_pmemo", name="pmemo3", attribute="none")
    with pytest.raises(CorpusError, match=r"^pmemo3: plug-in empty_pmemo:none: cannot be loaded"):
        builder_class("pmemo3")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (None, "no such file, so there is no data set"),
        ("def", "cannot be loaded (SyntaxError: invalid syntax"),
        ("1 / 0", "cannot be loaded (ZeroDivisionError: division by zero)"),
        ("x = 1", "needs a class Builder that is a SongBuilder with a method corpus"),
        (
            "from input_pipeline.base import SongBuilder\nclass Builder(SongBuilder): pass",
            "needs a class Builder that is a SongBuilder with a method corpus",
        ),
        (PMEMO.read_text().replace('"pmemo"', '"deam"'), "there is already a data set deam"),
        (PMEMO.read_text().replace('"pmemo"', '"../x"'), "'../x' is not a valid name"),
    ],
)
def test_a_file_that_is_not_a_data_set_is_refused(tmp_path, text, reason):
    path = tmp_path / "mine.py"
    if text is not None:
        path.write_text(text)
    with pytest.raises(CorpusError) as caught:
        builder_class(str(path))
    assert str(caught.value).startswith(f"{path}: {reason}")
    assert "\n" not in str(caught.value)


def test_another_code_of_a_plug_in_makes_its_shards_outdated(tmp_path):
    path = tmp_path / "mine.py"
    fingerprints = set()
    for folder, low in (("a", 0), ("b", -1)):
        path = tmp_path / folder / "mine.py"
        path.parent.mkdir()
        path.write_text(PMEMO.read_text().replace("Scale(0, 1)", f"Scale({low}, 1)"))
        fingerprints.add(fingerprint(builder_class(str(path)), tmp_path / "none", []))
    assert len(fingerprints) == 2
