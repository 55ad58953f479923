"""Every builder on its dummy data, by TFDS's own test case."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds

from input_pipeline.deam import deam_dataset_builder
from input_pipeline.emopia import emopia_dataset_builder
from input_pipeline.folder import folder_dataset_builder
from input_pipeline.mer1101 import mer1101_dataset_builder
from input_pipeline.synthetic import settings, synthetic_dataset_builder
from input_pipeline.vgmidi import vgmidi_dataset_builder


class FromDataSource:
    """TFDS's test case reads examples by tf.data, which does not read ArrayRecord."""

    def _assertAsDataset(self, builder):  # noqa: N802 - TFDS's name.
        spec = builder.info.features.get_tensor_info()
        for split, n_examples in self.SPLITS.items():
            examples = list(builder.as_data_source(split=split))
            assert len(examples) == n_examples
            for example in examples:
                assert example.keys() == spec.keys()
                for name, info in spec.items():
                    value = np.asarray(example[name])
                    assert value.shape[1:] == info.shape[1:]
                    assert name == "song_id" or value.dtype == info.np_dtype


class DeamTest(FromDataSource, tfds.testing.DatasetBuilderTestCase):
    DATASET_CLASS = deam_dataset_builder.Builder
    SPLITS = {"songs": 3}  # noqa: RUF012


class Mer1101Test(FromDataSource, tfds.testing.DatasetBuilderTestCase):
    DATASET_CLASS = mer1101_dataset_builder.Builder
    SPLITS = {"songs": 4}  # noqa: RUF012


class FolderTest(FromDataSource, tfds.testing.DatasetBuilderTestCase):
    DATASET_CLASS = folder_dataset_builder.Builder
    SPLITS = {"songs": 4}  # noqa: RUF012


@pytest.mark.skipif(shutil.which("fluidsynth") is None, reason="fluidsynth is not installed")
class VgmidiTest(FromDataSource, tfds.testing.DatasetBuilderTestCase):
    DATASET_CLASS = vgmidi_dataset_builder.Builder
    SPLITS = {"songs": 3}  # noqa: RUF012


@pytest.mark.skipif(shutil.which("fluidsynth") is None, reason="fluidsynth is not installed")
class EmopiaTest(FromDataSource, tfds.testing.DatasetBuilderTestCase):
    DATASET_CLASS = emopia_dataset_builder.Builder
    SPLITS = {"songs": 4}  # noqa: RUF012


class SyntheticTest(FromDataSource, tfds.testing.DatasetBuilderTestCase):
    """Composes its own data, a few short songs here."""

    DATASET_CLASS = synthetic_dataset_builder.Builder
    EXAMPLE_DIR = str(Path(synthetic_dataset_builder.__file__).parent)
    SPLITS = {"songs": 4}  # noqa: RUF012

    def _make_builder(self, config=None):
        options = settings.SyntheticOptions(n_clips=3, n_test=1, duration_s=2.0, sample_rate=16_000)
        config = self.DATASET_CLASS.config(options=options)
        return self.DATASET_CLASS(data_dir=self.tmp_dir, config=config)
