"""ID3 tags, which stand before the sound of many files and are no part of it."""


def length(header: bytes) -> int:
    """Bytes of the tag that begins with these ten bytes; 0 if none does."""
    if len(header) < 10 or not header.startswith(b"ID3"):
        return 0
    size = 0
    for byte in header[6:10]:
        size = size << 7 | byte & 0x7F
    has_footer = header[5] & 0x10
    return 10 + size + (10 if has_footer else 0)
