"""Every builder on its dummy data, by TFDS's own test case."""

import shutil

import pytest
import tensorflow_datasets as tfds

from input_pipeline.deam import deam_dataset_builder
from input_pipeline.folder import folder_dataset_builder
from input_pipeline.mer1101 import mer1101_dataset_builder
from input_pipeline.vgmidi import vgmidi_dataset_builder


class DeamTest(tfds.testing.DatasetBuilderTestCase):
    DATASET_CLASS = deam_dataset_builder.Builder
    SPLITS = {"train": 1, "validation": 1, "test": 1}  # noqa: RUF012


class Mer1101Test(tfds.testing.DatasetBuilderTestCase):
    DATASET_CLASS = mer1101_dataset_builder.Builder
    SPLITS = {"train": 2, "validation": 1, "test": 1}  # noqa: RUF012


class FolderTest(tfds.testing.DatasetBuilderTestCase):
    DATASET_CLASS = folder_dataset_builder.Builder
    SPLITS = {"train": 2, "validation": 1, "test": 1}  # noqa: RUF012


@pytest.mark.skipif(shutil.which("fluidsynth") is None, reason="fluidsynth is not installed")
class VgmidiTest(tfds.testing.DatasetBuilderTestCase):
    DATASET_CLASS = vgmidi_dataset_builder.Builder
    SPLITS = {"train": 1, "validation": 1, "test": 1}  # noqa: RUF012
