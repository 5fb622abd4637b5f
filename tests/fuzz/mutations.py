"""Damaged files: seeded mutations of a good one."""

from __future__ import annotations

import io
import random
import re
import zipfile
from collections.abc import Callable, Iterator, Sequence

_NUMBER = re.compile(rb"-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?")
_VALUES = (
    *(b"0", b"-1", b"-0.0", b"1e-310", b"1e308", b"1e999", b"-1e999", b"nan", b"inf", b"NaN"),
    *(b"-Infinity", b"null", b"true", b'""', b"[]", b"{}", b"1_0", b"0x10", b"9" * 19, b"9" * 5000),
    *(b"2147483647", b"4294967296", b"-9223372036854775808", b"0.1e", b"1/0", b"''"),
)
_TEXTS = (
    *(b"\0", b"\xff", b"\xc3\x28", b"\xed\xa0\x80", b"\xef\xbb\xbf", b"\r", b"\n\n", b"\t", b'"'),
    *(b"\\", b"\\ud800", b"../", b"/", b"%s%n", b"\x1b[2J", b"\xe2\x80\xae"),
)
_BRACKETS = ((b"[", b"]"), (b'{"a":', b"}"), (b"{a=", b"}"), (b"(", b")"))
_INTEGERS = (0, 1, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, 1 << 40, (1 << 63) - 1)

Mutation = Callable[[random.Random, bytes], bytes]


def _truncated(random_: random.Random, data: bytes) -> bytes:
    return data[: random_.randrange(len(data) + 1)]


def _flipped(random_: random.Random, data: bytes) -> bytes:
    changed = bytearray(data)
    for _ in range(random_.choice((1, 1, 1, 2, 8, 64))):
        if changed:
            changed[random_.randrange(len(changed))] ^= 1 << random_.randrange(8)
    return bytes(changed)


def _spliced(random_: random.Random, data: bytes) -> bytes:
    """Copy, move or delete a piece."""
    start, end = sorted(random_.randrange(len(data) + 1) for _ in range(2))
    to = random_.randrange(len(data) + 1)
    piece = data[start:end]
    if random_.random() < 0.3:
        return data[:start] + data[end:]
    if random_.random() < 0.5:
        return data[:to] + piece + data[to:]
    return data[:to] + piece + data[to + len(piece) :]


def _repeated(random_: random.Random, data: bytes) -> bytes:
    start = random_.randrange(len(data) + 1)
    piece = data[start : start + random_.choice((1, 2, 8, 100))]
    return (
        data[:start]
        + piece * random_.choice((10, 1000, 100_000 // (len(piece) or 1)))
        + data[start:]
    )


def _number_changed(random_: random.Random, data: bytes) -> bytes:
    matches = list(_NUMBER.finditer(data))
    if not matches:
        return _integer_written(random_, data)
    match = random_.choice(matches)
    return data[: match.start()] + random_.choice(_VALUES) + data[match.end() :]


def _integer_written(random_: random.Random, data: bytes) -> bytes:
    """A declared size, index or offset that is another."""
    width = random_.choice((1, 2, 4, 8))
    value = random_.choice(_INTEGERS) & ((1 << 8 * width) - 1)
    at = random_.randrange(max(len(data) - width, 0) + 1)
    if random_.random() < 0.5:  # headers are in front
        at = min(at, random_.randrange(200))
    order = random_.choice(("little", "big"))
    return data[:at] + value.to_bytes(width, order) + data[at + width :]  # type: ignore[arg-type]


def _text_inserted(random_: random.Random, data: bytes) -> bytes:
    at = random_.randrange(len(data) + 1)
    return data[:at] + random_.choice(_TEXTS) + data[at + random_.choice((0, 0, 1)) :]


def _nested(random_: random.Random, data: bytes) -> bytes:
    opening, closing = random_.choice(_BRACKETS)
    depth = random_.choice((65, 300, 1000, 20_000, 100_000))
    piece = opening * depth + random_.choice((b"", b"1")) + closing * (depth * random_.randrange(2))
    if random_.random() < 0.3:
        return random_.choice((b"", b"x = ", b"a" + b".a" * depth + b" = ")) + piece
    match = random_.choice(list(_NUMBER.finditer(data)) or [None])
    at, end = match.span() if match else (random_.randrange(len(data) + 1),) * 2
    return data[:at] + piece + data[end:]


def _filled(random_: random.Random, data: bytes) -> bytes:
    """A piece, or all, of one byte."""
    start, end = sorted(random_.randrange(len(data) + 1) for _ in range(2))
    fill = random_.choice((b"\0", b"\xff", b" ", b"\n", b"a"))
    if random_.random() < 0.1:
        return fill * random_.choice((1, 100, 1 << 20))
    return data[:start] + fill * (end - start) + data[end:]


def _lines_mixed(random_: random.Random, data: bytes) -> bytes:
    lines = data.split(b"\n")
    random_.shuffle(lines)
    return b"\n".join(lines[: random_.randrange(len(lines) + 1)] + lines[: random_.randrange(3)])


_MUTATIONS: tuple[Mutation, ...] = (
    *(_truncated, _flipped, _flipped, _spliced, _repeated, _number_changed, _number_changed),
    *(_integer_written, _integer_written, _text_inserted, _nested, _filled, _lines_mixed),
)


def mutants(
    sample: bytes, others: Sequence[bytes], seed: str, *, bombs: Sequence[bytes] = ()
) -> Iterator[bytes]:
    """Damage a file in ever new ways, the same for the same seed.

    Args:
        sample: a good file; a zip archive is damaged within its members, too.
        others: files of other kinds.
        seed: of the choices.
        bombs: files that are known to be bad, which come first.

    Yields:
        Contents without an end: the empty file, those of ``bombs`` and ``others``, then mutations.
    """
    yield b""
    yield from bombs
    yield from others
    random_ = random.Random(seed)
    while True:
        data = sample
        if data.startswith(b"PK") and random_.random() < 0.7:
            yield _member_changed(random_, data)
            continue
        for _ in range(random_.choice((1, 1, 1, 2, 3))):
            data = random_.choice(_MUTATIONS)(random_, data)
        yield data[: 4 << 20]


def _member_changed(random_: random.Random, data: bytes) -> bytes:
    """Damage one member of an archive, whose checksums are right again."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as archive, zipfile.ZipFile(out, "w") as changed:
        members = archive.infolist()
        chosen = random_.choice(members)
        compress = random_.choice((zipfile.ZIP_STORED, zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))
        for member in members:
            content = archive.read(member)
            if member is chosen:
                content = random_.choice(_MUTATIONS)(random_, content)
            changed.writestr(member.filename, content, compress)
    return out.getvalue()
