"""PMEmo as a plug-in: a data set in one file, of this package or outside of it."""

from pathlib import Path

from input_pipeline.annotations import Scale
from input_pipeline.base import SongBuilder
from input_pipeline.corpus import Corpus, assemble, find_below, find_sources
from input_pipeline.label_table import read_table


class Builder(SongBuilder):
    """PMEmo (Zhang, Zhang, Li, Sun: The PMEmo Dataset for Music Emotion Recognition, ICMR 2018).

    Choruses of popular songs with valence and arousal in [0, 1], twice a second.
    """

    name = "pmemo"
    # The release has more than a hundred MB of other CSV files.
    LABEL_FILES = ("*dynamic_annotations.csv",)
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "manual_dir must hold PMEmo's annotations/dynamic_annotations.csv and chorus/<id>.mp3."
    )

    def corpus(self, manual_dir: Path) -> Corpus:
        labels = read_table(
            find_below(manual_dir, "dynamic_annotations.csv"),
            song_id="musicId",
            time="frameTime",
            valence="Valence(mean)",
            arousal="Arousal(mean)",
            scale=Scale(0, 1),
        )
        return assemble(labels, find_sources(manual_dir, "chorus/{song_id}.mp3"))
