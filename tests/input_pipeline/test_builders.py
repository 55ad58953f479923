"""Every builder on its dummy data, by TFDS's own test case."""

import shutil
from pathlib import Path

import pytest
import tensorflow_datasets as tfds

from input_pipeline.deam import deam_dataset_builder
from input_pipeline.emopia import emopia_dataset_builder
from input_pipeline.folder import folder_dataset_builder
from input_pipeline.mer1101 import mer1101_dataset_builder
from input_pipeline.synthetic import settings, synthetic_dataset_builder
from input_pipeline.vgmidi import vgmidi_dataset_builder


class DeamTest(tfds.testing.DatasetBuilderTestCase):
    DATASET_CLASS = deam_dataset_builder.Builder
    SPLITS = {"songs": 3}  # noqa: RUF012


class Mer1101Test(tfds.testing.DatasetBuilderTestCase):
    DATASET_CLASS = mer1101_dataset_builder.Builder
    SPLITS = {"songs": 4}  # noqa: RUF012


class FolderTest(tfds.testing.DatasetBuilderTestCase):
    DATASET_CLASS = folder_dataset_builder.Builder
    SPLITS = {"songs": 4}  # noqa: RUF012


@pytest.mark.skipif(shutil.which("fluidsynth") is None, reason="fluidsynth is not installed")
class VgmidiTest(tfds.testing.DatasetBuilderTestCase):
    DATASET_CLASS = vgmidi_dataset_builder.Builder
    SPLITS = {"songs": 3}  # noqa: RUF012


@pytest.mark.skipif(shutil.which("fluidsynth") is None, reason="fluidsynth is not installed")
class EmopiaTest(tfds.testing.DatasetBuilderTestCase):
    DATASET_CLASS = emopia_dataset_builder.Builder
    SPLITS = {"songs": 4}  # noqa: RUF012


class SyntheticTest(tfds.testing.DatasetBuilderTestCase):
    """Composes its own data, a few short songs here."""

    DATASET_CLASS = synthetic_dataset_builder.Builder
    EXAMPLE_DIR = str(Path(synthetic_dataset_builder.__file__).parent)
    SPLITS = {"songs": 4}  # noqa: RUF012

    def _make_builder(self, config=None):
        options = settings.SyntheticOptions(n_clips=3, n_test=1, duration_s=2.0, sample_rate=16_000)
        config = self.DATASET_CLASS.config(options=options)
        return self.DATASET_CLASS(data_dir=self.tmp_dir, config=config)
