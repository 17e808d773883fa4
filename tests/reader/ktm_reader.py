#!/usr/bin/env python3
"""Prints a recording of the KTM Flight Recorder as CSV, as `ktm-dump -o csv` does.

    ktm_reader.py FILE

Written from docs/format.md, and for the CSV from docs/operations.md, without a look at the Rust
code: it is what those two documents say, and a test holds it against ktm-dump over every golden
file. Exit status 0 if all is sound, 4 if damage was skipped, 5 if this is no recording.

It needs Python 3.9 and, for zstd, either the package `zstandard` or the program `zstd`.
"""

import struct
import subprocess
import sys
import zlib
from datetime import datetime, timedelta, timezone
from decimal import Decimal

try:
    import zstandard
except ImportError:
    zstandard = None

HEADER_ZONE = 65536
SUPERBLOCK = struct.Struct("<8sHHI16sqQIIIIQ16sII32s128x")
SEGMENT_HEADER = struct.Struct("<4sIHHIQQ16s16sqQ48x")
RECORD_HEADER = struct.Struct("<IHHIIQqQII")
BLOCK_HEADER = struct.Struct("<IIQqqIHHII")
MAGIC = b"\x89KTM\r\n\x1a\n"
HOT, COLD = 1, 2
ROW, EVENT, SCHEMA, BLOCK = 1, 2, 3, 4
U64, I64, F64 = 1, 2, 3
MOST_ROWS, MOST_CELLS = 300, 1 << 24
MASK = (1 << 64) - 1


class Malformed(Exception):
    """A record that verifies and makes no sense."""


class NotARecording(Exception):
    """Nothing that this reader can read."""


# zstd ---------------------------------------------------------------------------------------------


def frame_size(data):
    """Bytes of the zstd frame that `data` begins with (RFC 8878, 3.1.1)."""
    if data[:4] != b"\x28\xb5\x2f\xfd":
        raise Malformed("no zstd frame")
    descriptor = data[4]
    single = descriptor >> 5 & 1
    at = 5 + (0 if single else 1)
    at += (0, 1, 2, 4)[descriptor & 3]
    at += (1 if single else 0, 2, 4, 8)[descriptor >> 6]
    while True:
        if at + 3 > len(data):
            raise Malformed("a zstd frame without its end")
        block = int.from_bytes(data[at : at + 3], "little")
        kind, size = block >> 1 & 3, block >> 3
        at += 3 + (1 if kind == 1 else size)
        if block & 1:
            return at + (4 if descriptor >> 2 & 1 else 0)


def decompress(data, length):
    """The content of the zstd frame at the front, which has to be of this length."""
    frame = data[: frame_size(data)]
    if zstandard:
        try:
            content = zstandard.ZstdDecompressor().decompress(frame, max_output_size=length)
        except zstandard.ZstdError as error:
            raise Malformed(str(error)) from error
    else:
        done = subprocess.run(["zstd", "-dcq"], input=frame, stdout=subprocess.PIPE, check=False)
        if done.returncode != 0:
            raise Malformed("zstd refuses it")
        content = done.stdout
    if len(content) != length:
        raise Malformed("content of another length")
    return content


# Strings, pairs, LEB128 ---------------------------------------------------------------------------


class Cursor:
    """Reads from the front, never past the end."""

    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, count):
        part = self.data[self.at : self.at + count]
        if len(part) != count:
            raise Malformed("too short")
        self.at += count
        return part

    def unpack(self, layout):
        return struct.unpack(layout, self.take(struct.calcsize(layout)))

    def string(self):
        (length,) = self.unpack("<H")
        try:
            return self.take(length).decode("utf-8")
        except UnicodeDecodeError as error:
            raise Malformed(str(error)) from error

    def pairs(self):
        (count,) = self.unpack("<H")
        return [(self.string(), self.string()) for _ in range(count)]

    def varint(self):
        value = 0
        for position in range(10):
            (byte,) = self.take(1)
            value |= (byte & 0x7F) << 7 * position
            if byte < 0x80:
                if value > MASK or (byte == 0 and position > 0):
                    raise Malformed("not the shortest form of 64 bits")
                return value
        raise Malformed("more than ten bytes")


# Superblocks --------------------------------------------------------------------------------------


class Superblock:
    def __init__(self, data):
        fields = SUPERBLOCK.unpack(data)
        self.magic, self.version, _, self.crc, self.uuid, _, self.file_size = fields[:7]
        self.segment_size, self.hot_count, self.cold_count, _, self.generation = fields[7:12]
        blank = data[:12] + bytes(4) + data[16:]
        self.is_intact = self.magic == MAGIC and zlib.crc32(blank) == self.crc


def read_superblock(data, damage):
    """The superblock in force."""
    copies = []
    for offset in (0, 32768):
        part = data[offset : offset + SUPERBLOCK.size]
        copies.append(Superblock(part) if len(part) == SUPERBLOCK.size else None)
    intact = [copy for copy in copies if copy and copy.is_intact]
    if not intact:
        ours = any(copy and copy.magic == MAGIC for copy in copies)
        raise NotARecording("damaged beyond use" if ours else "not a recording")
    # The first of equals, so A.
    chosen = max(intact, key=lambda copy: copy.generation)
    if chosen.version != 1:
        raise NotARecording(f"format version {chosen.version}")
    if len(intact) < 2:
        damage.append("one superblock is damaged")
    return chosen


# Segments -----------------------------------------------------------------------------------------


class Segment:
    def __init__(self, header, run, data):
        (_, _, self.ring, _, _, self.number, nonce, *_) = header
        self.run, self.data = run, data
        self.seed = zlib.crc32(struct.pack("<QQ", nonce, self.number))


def belonging_header(data, superblock, ring, count, slot):
    """The header, if it is one of this slot."""
    header = SEGMENT_HEADER.unpack(data)
    magic, crc, found_ring, _, _, number, _, uuid, *_ = header
    blank = data[:4] + bytes(4) + data[8:]
    fits = magic == b"KSEG" and zlib.crc32(blank) == crc and found_ring == ring
    return header if fits and uuid == superblock.uuid and number % count == slot else None


def is_unwritten(header):
    """Zero, or without its first eight bytes."""
    return header.startswith(bytes(8))


def read_ring(data, superblock, ring, damage):
    """The segments of a ring in force, by number."""
    size = superblock.segment_size
    count = superblock.hot_count if ring == HOT else superblock.cold_count
    first_slot = 0 if ring == HOT else superblock.hot_count
    found, doubtful = {}, []
    for slot in range(count):
        offset = HEADER_ZONE + (first_slot + slot) * size
        if offset + 128 > len(data):
            continue  # Cut off, which is reported as a whole.
        # What a file cut short lacks counts as zeros.
        segment = data[offset : offset + size].ljust(size, b"\0")
        parts = segment[:128], segment[-128:]
        headers = [belonging_header(part, superblock, ring, count, slot) for part in parts]
        intact = [header for header in headers if header]
        if intact:
            # By number, then by run.
            header = max(intact, key=lambda header: (header[5], header[4]))
            found[slot] = Segment(header, header[4], segment)
            if not headers[0] or not headers[1] and not is_unwritten(parts[1]):
                damage.append(f"one header of the segment at {offset} is damaged")
            doubtful.append(slot)
        elif not all(is_unwritten(part) for part in parts):
            damage.append(f"the segment at {offset} is unreadable")
        elif not any(part.strip(b"\0") for part in parts):
            doubtful.append(slot)  # Otherwise it is being begun.
    newest = max((segment.number for segment in found.values()), default=None)
    for slot in doubtful if newest is not None else []:
        expected = newest - (newest - slot) % count
        number = found[slot].number if slot in found else -1
        if expected >= 0 and number < expected:
            damage.append(f"segment {expected} of ring {ring} is missing")
    in_force = [segment for segment in found.values() if segment.number > newest - count]
    return sorted(in_force, key=lambda segment: segment.number)


# Records ------------------------------------------------------------------------------------------


class Record:
    def __init__(self, fields, payload):
        self.length, self.kind, self.flags, _, self.schema = fields[:5]
        self.seq, self.realtime, self.boottime, self.epoch, self.run = fields[5:]
        self.payload = payload


def record_at(segment, offset):
    """The record at this offset of a segment, if one verifies there."""
    limit = len(segment.data) - 136
    if offset + RECORD_HEADER.size > limit:
        return None
    fields = RECORD_HEADER.unpack_from(segment.data, offset)
    length = fields[0]
    if length < RECORD_HEADER.size or length % 8 or offset + length > limit or fields[1] == 0:
        return None
    record = segment.data[offset : offset + length]
    crc = zlib.crc32(record[12:], zlib.crc32(record[:8], segment.seed))
    return Record(fields, record[RECORD_HEADER.size :]) if crc == fields[3] else None


def is_end_mark(segment, offset):
    crc = zlib.crc32(struct.pack("<Q", offset), segment.seed)
    return segment.data[offset : offset + 8] == struct.pack("<II", 0, crc)


def records_of(segment, damage):
    """The records of a segment, past whatever lies between them."""
    offset, limit = 128, len(segment.data) - 128
    while offset < limit:
        record = record_at(segment, offset)
        if record:
            yield record
            offset += record.length
            continue
        behind = range(offset + 8, limit, 8)
        following = next((at for at in behind if record_at(segment, at)), None)
        if following is None and is_end_mark(segment, offset):
            return
        damage.append(f"bytes at {offset} of segment {segment.number} are no record")
        if following is None:
            return
        offset = following


# Schemas, rows, blocks ----------------------------------------------------------------------------


class Schema:
    def __init__(self, data):
        cursor = Cursor(data)
        self.module, self.labels = cursor.string(), cursor.pairs()
        self.series = []
        for _ in range(cursor.unpack("<I")[0]):
            kind, value_type, exponent = cursor.unpack("<BBb")
            name, _unit, _help = cursor.string(), cursor.string(), cursor.string()
            labels = cursor.pairs()
            if not 1 <= kind <= 9 or not 1 <= value_type <= 3 or not -18 <= exponent <= 18:
                raise Malformed("an unknown kind of series")
            self.series.append((name, labels, value_type, exponent))
        if cursor.at != len(data):
            raise Malformed("more than a schema")
        self.first_use = None


def read_schema(record, known):
    """Learns a schema from its record."""
    if record.schema in known:
        return
    (length,) = struct.unpack_from("<I", record.payload)
    body = record.payload[4:]
    data = decompress(body, length) if record.flags & 2 else body[:length]
    if len(data) != length or zlib.crc32(data) != record.schema:
        raise Malformed("a schema that is not its id's")
    known[record.schema] = Schema(data)


class Row:
    """One sample: where it stands, and 64 bits or None for every series."""

    def __init__(self, seq, realtime, boottime, epoch, run, schema, words):
        self.seq, self.realtime, self.boottime = seq, realtime, boottime
        self.epoch, self.run, self.schema, self.words = epoch, run, schema, words


def with_absence(words, bitmap, first=0):
    """The words, None where the bitmap says that the value is absent."""
    for index, word in enumerate(words, first):
        yield None if bitmap and bitmap[index // 8] >> index % 8 & 1 else word


def read_row(record, schema):
    count = len(schema.series)
    cursor = Cursor(record.payload)
    words = cursor.unpack(f"<{count}Q")
    bitmap = cursor.take((count + 7) // 8) if record.flags & 1 else None
    words = list(with_absence(words, bitmap))
    at = record.seq, record.realtime, record.boottime, record.epoch, record.run
    return Row(*at, schema, words)


def signed(word):
    return word - (1 << 64) if word >> 63 else word


def read_block(record, schema):
    """The rows of a block."""
    cursor = Cursor(record.payload)
    rows, columns, _, _, _, raw_length, codec, flags, _, _ = cursor.unpack(BLOCK_HEADER.format)
    cells = rows * (columns + 5)
    is_bounded = 1 <= rows <= MOST_ROWS and cells <= MOST_CELLS
    if not is_bounded or raw_length > cells * 10 + (cells + 7) // 8 or columns != len(schema.series):
        raise Malformed("a block of impossible size")
    body = record.payload[BLOCK_HEADER.size :]
    if codec == 2:
        for words in decode_linked(body[:raw_length], rows, schema):
            yield block_row(words[:5], words[5:], schema)
        return
    body = decompress(body, raw_length) if flags & 1 else body[:raw_length]
    if len(body) != raw_length:
        raise Malformed("a block that is cut short")
    bitmap = None
    if flags & 2:
        split = len(body) - (rows * columns + 7) // 8
        if split < 0:
            raise Malformed("no room for the bitmap")
        body, bitmap = body[:split], body[split:]
    decoders = {0: decode_raw, 1: decode_delta}
    if codec not in decoders:
        raise Malformed(f"codec {codec}")
    for index, words in enumerate(decoders[codec](body, rows, schema)):
        values = list(with_absence(words[5:], bitmap, index * columns))
        yield block_row(words[:5], values, schema)


def block_row(frame, values, schema):
    seq, realtime, distance, epoch, run = frame
    boottime = (distance + realtime) & MASK
    return Row(seq, signed(realtime), boottime, epoch, run, schema, values)


def decode_raw(body, rows, schema):
    """Codec 0: row by row."""
    width = len(schema.series) + 5
    if len(body) != rows * width * 8:
        raise Malformed("a raw block of another length")
    return [struct.unpack_from(f"<{width}Q", body, row * width * 8) for row in range(rows)]


def unzigzag(number):
    return (number >> 1) ^ (-(number & 1) & MASK)


def numbers_of(body, count):
    """LEB128 numbers; a zero is followed by how many more zeros there are."""
    cursor, numbers = Cursor(body), []
    while len(numbers) < count:
        number = cursor.varint()
        numbers.append(number)
        if number == 0:
            zeros = cursor.varint()
            if zeros > count - len(numbers):
                raise Malformed("zeros past the last number")
            numbers.extend([0] * zeros)
    if cursor.at != len(body):
        raise Malformed("more than the numbers")
    return numbers


def decode_delta(body, rows, schema):
    """Codec 1: column by column, as differences."""
    types = [None] * 5 + [value_type for _, _, value_type, _ in schema.series]
    numbers = numbers_of(body, rows * len(types))
    columns = []
    for index, value_type in enumerate(types):
        column, word, step = [], 0, 0
        for number in numbers[index * rows : (index + 1) * rows]:
            if value_type == F64:
                word ^= int.from_bytes(number.to_bytes(8, "little"), "big")
            else:
                difference = (unzigzag(number) + step) & MASK
                # Of seq and realtime, the differences are differences again.
                step = difference if index < 2 else 0
                word = (word + difference) & MASK
            column.append(word)
        columns.append(column)
    return list(zip(*columns))


# Linked columns -----------------------------------------------------------------------------------


class Decisions:
    """Decisions and plain bits of a codec 2 body."""

    def __init__(self, body):
        cursor = Cursor(body)
        count = cursor.varint()
        self.words = iter(struct.unpack(f"<{count}I", cursor.take(count * 4)))
        self.overrun = 0
        plain = body[cursor.at :]
        self.plain, self.left = int.from_bytes(plain, "little"), len(plain) * 8
        self.range, self.code = MASK, self.word() << 32
        self.code |= self.word()
        self.contexts = {}

    def word(self):
        word = next(self.words, None)
        self.overrun += word is None
        return word or 0

    def decide(self, *context):
        p, seen = self.contexts.get(context, (32768, 0))
        bound = (self.range >> 16) * p
        yes = self.code < bound
        if yes:
            self.range = bound
        else:
            self.range, self.code = self.range - bound, self.code - bound
        seen = min(seen + 1, 4)
        p = p + ((65536 - p) >> seen) if yes else p - (p >> seen)
        self.contexts[context] = p, seen
        if self.range < 1 << 32:
            self.range, self.code = self.range << 32, (self.code << 32 | self.word()) & MASK
        return yes

    def bits(self, count):
        number = self.plain & ((1 << count) - 1)
        self.plain >>= count
        self.left -= count
        if self.left < 0 or self.overrun > 1:
            raise Malformed("a body that is too short")
        return number

    def tail(self, length):
        return 1 << length - 1 | self.bits(length - 1) if length else 0

    def number(self, *name):
        return self.tail(next((n for n in range(64) if self.decide(*name, n)), 64))

    def length(self, expected):
        if expected <= 1 or self.decide("no-less", expected):
            first = max(expected, 1)
            asked = (n for n in range(first, 64) if self.decide("up", expected, min(n - first, 7)))
            return next(asked, 64)
        first = expected - 1
        asked = (n for n in range(first, 1, -1) if self.decide("down", expected, min(first - n, 7)))
        return next(asked, 1)

    def is_at_end(self):
        return self.overrun == 1 and self.left < 8


def residuals_of(coder, absent, linked, near):
    """The residuals of one column; `near` has the last three of other columns, row by row."""
    recent, mean, sign = (False,) * 3, 0, "none"
    for row in range(len(near)):
        if absent[row + 1]:
            yield 0
            continue
        zero = coder.decide("zero", linked, near[row], recent)
        near[row], recent = (*near[row][1:], not zero), (*recent[1:], not zero)
        if zero:
            yield 0
            continue
        length = coder.length((mean + 8) >> 4)
        mean = mean + ((16 * length - mean) >> 2) if mean else 16 * length
        size = coder.tail(length)
        negative = coder.decide("negative", linked, sign)
        if negative:
            sign = "negative"
        elif sign in ("none", "positive"):
            sign = "positive"
        else:
            sign = "positive again"
        yield -size if negative else size


def to_double(integer, scale):
    """The word of a double that stands as an integer."""
    if scale == 0:
        return integer ^ (MASK >> 1) if integer >> 63 else integer
    value = float(signed(integer)) / float(10 ** (scale - 1))
    return int.from_bytes(struct.pack("<d", value), "little")


def decode_linked(body, rows, schema):
    """Codec 2: the words of each row, None where a value is absent."""
    coder, columns, all_steps = Decisions(body), [], []
    near = [(False,) * 3] * (rows - 1)
    any_absent, zeros, active = False, (False, False), (False, False)
    for value_type in [U64] * 5 + [value_type for _, _, value_type, _ in schema.series]:
        any_absent, absent, before = coder.decide("any-absent", any_absent), [False] * rows, False
        for row in range(rows if any_absent else 0):
            before = absent[row] = coder.decide("absent", before)
        scale = coder.number("scale") if value_type == F64 else 0
        first = coder.number("first", zeros)
        zeros = zeros[1], first == 0
        first = first if value_type == U64 else unzigzag(first)
        idle = coder.decide("idle", active)
        active = active[1], not idle
        unit, steps = 0, [0] * (rows - 1)
        if not idle:
            unit, links = coder.number("unit"), []
            while len(links) < 2 and coder.decide("more-links", len(links)):
                links.append((coder.number("distance"), coder.decide("negative-link")))
            drift = unzigzag(coder.number("drift"))
            if not coder.decide("exact"):
                steps = list(residuals_of(coder, absent, bool(links), near))
            for distance, negative in links:
                if not 1 <= distance <= min(256, len(all_steps)):
                    raise Malformed("a link to no column")
                other = all_steps[-distance]
                steps = [a - b if negative else a + b for a, b in zip(steps, other)]
            steps = [0 if gone else step + drift for step, gone in zip(steps, absent[1:])]
            all_steps.append(steps)
        if scale > 19 or (unit == 0 and not idle):
            raise Malformed("an impossible column")
        words = [first]
        for step in steps:
            words.append((words[-1] + unit * step) & MASK)
        if value_type == F64:
            words = [to_double(word, scale) for word in words]
        columns.append([None if gone else word for word, gone in zip(words, absent)])
    if not coder.is_at_end():
        raise Malformed("more than the columns")
    return zip(*columns)


# The whole file -----------------------------------------------------------------------------------


def read_segment(segment, schemas, rows, damage):
    """Reads a segment's rows; True if one of them lacks its schema."""
    lacks_schema = False
    for record in records_of(segment, damage):
        try:
            if record.kind == SCHEMA:
                read_schema(record, schemas)
            elif record.kind in (ROW, BLOCK):
                schema = schemas.get(record.schema)
                if schema is None:
                    lacks_schema = True
                    damage.append(f"no schema for {record.seq}")
                    continue
                if schema.first_use is None or record.seq < schema.first_use:
                    schema.first_use = record.seq
                read = [read_row(record, schema)] if record.kind == ROW else read_block(record, schema)
                for row in list(read):
                    # Found twice, it is the same row.
                    rows.setdefault(row.seq, row)
            elif record.kind == EVENT:
                cursor = Cursor(record.payload)
                cursor.string(), cursor.pairs()
        except (Malformed, struct.error, IndexError) as error:
            damage.append(f"record {record.seq}: {error}")
    return lacks_schema


def read_recording(data):
    """Rows in order, schemas by id, and what is damaged."""
    damage = []
    superblock = read_superblock(data, damage)
    if len(data) < superblock.file_size:
        damage.append("the file is cut short")
    segments = [
        segment for ring in (HOT, COLD) for segment in read_ring(data, superblock, ring, damage)
    ]
    rows, schemas, again = {}, {}, []
    for segment in segments:
        # Every segment brings its own schemas. Where one is damaged, another's will do.
        own, own_rows, own_damage = {}, {}, []
        if read_segment(segment, own, own_rows, own_damage):
            again.append(segment)
        else:
            damage.extend(own_damage)
            keep(rows, own_rows)
        learn(schemas, own)
    for segment in again:
        own_rows = {}
        read_segment(segment, schemas, own_rows, damage)
        keep(rows, own_rows)
    return [rows[seq] for seq in sorted(rows)], schemas, damage


def keep(rows, more):
    for seq, row in more.items():
        rows.setdefault(seq, row)


def learn(schemas, own):
    """One schema for each id, with the earliest use that was met."""
    for identity, schema in own.items():
        known = schemas.setdefault(identity, schema)
        uses = [use for use in (known.first_use, schema.first_use) if use is not None]
        known.first_use = min(uses, default=None)


# CSV ----------------------------------------------------------------------------------------------


def all_labels(schema, labels):
    """A series' labels, then those of the schema that it has not itself."""
    own = {key for key, _ in labels}
    return labels + [(key, value) for key, value in schema.labels if key not in own]


def title(name, labels):
    if not labels:
        return name
    escape = {"\\": "\\\\", '"': '\\"', "\n": "\\n"}
    text = ("".join(escape.get(c, c) for c in value) for _, value in labels)
    return name + "{" + ",".join(f'{key}="{value}"' for (key, _), value in zip(labels, text)) + "}"


def identity_of(schema, series):
    """What makes two series the same one: labels may come in any order."""
    name, labels, _, _ = series
    return name, tuple(sorted(all_labels(schema, labels)))


def columns_of(schemas):
    """The title of every column by what identifies it, in order."""
    first_use = lambda schema: MASK if schema.first_use is None else schema.first_use
    ordered = [schema for _, schema in sorted(schemas.items())]
    ordered.sort(key=lambda schema: (schema.module.encode(), first_use(schema)))
    columns = {}
    for schema in ordered:
        for series in schema.series:
            name, labels, _, _ = series
            columns.setdefault(identity_of(schema, series), title(name, all_labels(schema, labels)))
    return columns


def places_of(schema, columns):
    """Column, series index, type and exponent of each series; one carried twice is read once."""
    order = {identity: index for index, identity in enumerate(columns)}
    places = {}
    for index, series in enumerate(schema.series):
        places.setdefault(order[identity_of(schema, series)], (index, series[2], series[3]))
    return places


def quoted(text):
    return '"' + text.replace('"', '""') + '"' if any(c in text for c in ',"\n\r') else text


def timestamp(nanos):
    seconds, nanos = divmod(nanos, 1_000_000_000)
    at = datetime(1970, 1, 1, tzinfo=timezone.utc) + timedelta(seconds=seconds)
    return f"{at:%Y-%m-%dT%H:%M:%S}.{nanos:09}Z"


def number(word, value_type, exponent):
    """The exact decimal text of a value."""
    if value_type == F64:
        (value,) = struct.unpack("<d", struct.pack("<Q", word))
        return double(value)
    value = signed(word) if value_type == I64 else word
    text = format(Decimal(value).scaleb(exponent), "f") if value else "0"
    return text.rstrip("0").rstrip(".") if "." in text else text


def double(value):
    if value != value:
        return "NaN"
    if value in (float("inf"), float("-inf")):
        return "+Inf" if value > 0 else "-Inf"
    # Python's shortest digits, in the CSV's notation.
    sign, digits, exponent = Decimal(repr(value)).as_tuple()
    sign = "-" if sign else ""
    if value == 0:
        return sign + "0"
    if 1e-7 <= abs(value) < 1e17:
        text = format(Decimal(repr(value)), "f")
        return text.rstrip("0").rstrip(".") if "." in text else text
    digits = "".join(map(str, digits))
    stripped = digits.rstrip("0")
    fraction = "." + stripped[1:] if len(stripped) > 1 else ""
    return f"{sign}{stripped[0]}{fraction}e{exponent + len(digits) - 1}"


def lines_of(rows, columns):
    """One line for every sampling instant: its first row and the cells."""
    places, first, cells = {}, None, None
    for row in rows:
        if row.schema not in places:
            places[row.schema] = places_of(row.schema, columns)
        own = places[row.schema]
        instant = lambda row: (row.realtime, row.boottime, row.epoch, row.run)
        is_taken = cells and any(cells[column] is not None for column in own)
        if first is None or instant(row) != instant(first) or is_taken:
            if first is not None:
                yield first, cells
            first, cells = row, [None] * len(columns)
        for column, (index, value_type, exponent) in own.items():
            if row.words[index] is not None:
                cells[column] = number(row.words[index], value_type, exponent)
    if first is not None:
        yield first, cells


def print_csv(rows, schemas, out):
    columns = columns_of(schemas)
    out.write(",".join(["timestamp", "epoch", *map(quoted, columns.values())]) + "\n")
    for first, cells in lines_of(rows, columns):
        values = (cell or "" for cell in cells)
        out.write(",".join([timestamp(first.realtime), str(first.epoch), *values]) + "\n")


def main():
    if len(sys.argv) != 2:
        sys.exit("usage: ktm_reader.py FILE")
    with open(sys.argv[1], "rb") as file:
        data = file.read()
    try:
        rows, schemas, damage = read_recording(data)
    except NotARecording as refused:
        print(f"{sys.argv[1]}: {refused}", file=sys.stderr)
        return 5
    print_csv(rows, schemas, sys.stdout)
    for what in damage:
        print(f"damage: {what}", file=sys.stderr)
    return 4 if damage else 0


if __name__ == "__main__":
    sys.exit(main())
