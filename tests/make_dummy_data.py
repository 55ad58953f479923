"""Writes the builders' dummy data: `python tests/make_dummy_data.py`.

Songs made of tones, just long enough for a few labels, in each data set's layout.
"""

import json
from pathlib import Path

import mido
import numpy as np
import soundfile

ROOT = Path(__file__).parents[1] / "input_pipeline"
RATE = 16_000


def write_tones(path: Path, seconds: float, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    time = np.arange(round(seconds * RATE)) / RATE
    pitch = np.repeat(rng.choice([220, 262, 330, 392, 440], int(seconds) + 1), RATE)[: len(time)]
    samples = 0.4 * np.sin(2 * np.pi * pitch * time) * np.exp(-3 * (time % 0.5))
    soundfile.write(path, samples, RATE, format=path.suffix[1:].upper())


def write_labels(folder: Path, ids: list[str], start_s: float, n: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    times = [f"sample_{round(1000 * start_s) + 500 * i}ms" for i in range(n)]
    for name, phase in (("valence", 0.0), ("arousal", 1.0)):
        lines = [",".join(["song_id", *times])]
        for k, song_id in enumerate(ids):
            curve = 0.5 * np.sin(phase + k + 0.3 * np.arange(n))
            lines.append(",".join([song_id, *(f"{x:.4f}" for x in curve)]))
        (folder / f"{name}.csv").write_text("\n".join(lines) + "\n")


def write_midi(path: Path, n_notes: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    track = mido.MidiTrack([mido.MetaMessage("set_tempo", tempo=500_000)])
    for i in range(n_notes):
        pitch = 60 + (7 * i) % 12
        track.append(mido.Message("note_on", note=pitch, velocity=80))
        track.append(mido.Message("note_off", note=pitch, time=480))
    mido.MidiFile(tracks=[track], ticks_per_beat=480).save(path)


def main() -> None:
    deam = ROOT / "deam" / "dummy_data"
    for seed, song_id in enumerate(("2", "3", "2001")):
        write_tones(deam / "DEAM_audio" / "MEMD_audio" / f"{song_id}.mp3", 18, seed)
    labels = Path("annotations") / "annotations averaged per song"
    labels = deam / "DEAM_Annotations" / labels / "dynamic (per second annotations)"
    write_labels(labels, ["2", "3", "12", "2001"], 15.0, 6)

    for name, audio in (("mer1101", "audio"), ("folder", "songs")):
        folder = ROOT / name / "dummy_data"
        ids = [f"song {i}" for i in range(4)]
        for seed, song_id in enumerate(ids):
            write_tones(folder / audio / f"{song_id}.ogg", 4, seed)
        write_labels(folder, ids, 0.0, 8)

    folder = ROOT / "vgmidi" / "dummy_data" / "labelled"
    names = ["A_NES_Tetris_One.mid", "A_NES_Chrono Trigger_Two.mid", "A_NES_The Sims_Three.mid"]
    content: dict = {"pieces": {}, "annotations": {}}
    for i, name in enumerate(names):
        write_midi(folder / "midi" / name, 8)
        content["pieces"][f"piece{i}"] = {"midi": name, "name": name, "measures": 4, "duration": 4}
        for rater in range(2):
            values = {"valence": [0.1, 0.2, 0.3, 0.4], "arousal": [0.0, -0.1, 0.1, rater / 2]}
            content["annotations"][f"piece{i}_{rater}"] = values
    content["annotations"]["piece0_2"] = {"valence": [0.1], "arousal": [0.1]}
    (folder / "annotations").mkdir(parents=True, exist_ok=True)
    (folder / "annotations" / "vgmidi_raw_1.json").write_text(json.dumps(content, indent=1) + "\n")

    for name in ("Q1_one_0", "Q1_one_1", "Q2_two_0", "Q3_three_1"):
        write_midi(ROOT / "emopia" / "dummy_data" / "midis" / f"{name}.mid", 8)


if __name__ == "__main__":
    main()
