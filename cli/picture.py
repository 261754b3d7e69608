"""A small PNG drawn with the standard library: the header image of the demo's template."""

import struct
import zlib

WIDTH, HEIGHT = 800, 418  # 1.91 : 1, the shape WhatsApp shows a header image in
Colour = tuple[int, int, int]
PAPER, HILL, FAR_HILL, SUN = (250, 244, 232), (38, 92, 74), (122, 166, 140), (214, 72, 54)


def tea_hills() -> bytes:
    """A red sun over two rows of hills."""
    rows = [b"\0" + b"".join(bytes(_colour(x, y)) for x in range(WIDTH)) for y in range(HEIGHT)]  # 0: no filter
    return png(WIDTH, HEIGHT, b"".join(rows))


def _colour(x: int, y: int) -> Colour:
    if y > 300 + 40 * _wave(x + 90, 400):
        return HILL
    if y > 240 + 36 * _wave(x, 560):
        return FAR_HILL
    if (x - 560) ** 2 + (y - 150) ** 2 < 78**2:
        return SUN
    return PAPER


def _wave(x: int, length: int) -> float:
    """A parabola repeated every `length` pixels, from -1 (a hilltop) to 1 (a valley)."""
    place = (x % length) / length * 2 - 1
    return 2 * place * place - 1


def png(width: int, height: int, rows: bytes) -> bytes:
    """An 8-bit RGB image; `rows` are filtered scan lines. Format: https://www.w3.org/TR/png-3/."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = ((b"IHDR", header), (b"IDAT", zlib.compress(rows, 9)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(name, data) for name, data in parts)


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
