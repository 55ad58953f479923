"""What mido misses in MIDI files: times of unknown meta events, damage after system events."""

import functools
from typing import Any

_DATA_BYTES = {0xC: 1, 0xD: 1}
_SYSTEM_BYTES = {0xF1: 1, 0xF2: 2, 0xF3: 1}


@functools.cache
def keep_times_of_unknown_meta_events() -> None:
    """Makes mido read meta events of all types, because it loses the times of unknown ones."""
    from mido.midifiles import meta

    def decode(self: Any, message: Any, data: Any) -> None:
        message.data = tuple(data)

    def encode(self: Any, message: Any) -> list[int]:
        return list(message.data)

    for type_byte in range(0x100):
        if type_byte not in meta._META_SPECS:
            fields = {"type_byte": type_byte, "attributes": ["data"], "defaults": [()]}
            methods = {"decode": decode, "encode": encode, "check": lambda *_: None}
            name = f"MetaSpec_unknown_{type_byte}"
            meta.add_meta_spec(type(name, (meta.MetaSpec,), fields | methods))


def continues_system_event(track: bytes) -> bool:
    """Whether data without a status byte follow a system event, which only damage explains.

    Args:
      track: the events of a track that mido has read.
    """
    place, status = 0, 0
    try:
        while place < len(track):
            _, place = _number(track, place)
            if track[place] == 0xFF:
                length, place = _number(track, place + 2)
                place += length
                continue
            if track[place] & 0x80:
                status, place = track[place], place + 1
            elif status >= 0xF0:
                return True
            if status in (0xF0, 0xF7):
                length, place = _number(track, place)
                place += length
            elif status >= 0xF0:
                place += _SYSTEM_BYTES.get(status, 0)
            else:
                place += _DATA_BYTES.get(status >> 4, 2)
    except IndexError:
        return True
    return False


def _number(data: bytes, place: int) -> tuple[int, int]:
    """A number of variable length, and the place behind it."""
    value = 0
    while True:
        byte = data[place]
        value, place = value << 7 | byte & 0x7F, place + 1
        if byte < 0x80:
            return value, place
