"""Reports to bytes and back: msgpack in zlib, with every size bounded before it is believed."""

from __future__ import annotations

import hashlib
import re
import sys
import zlib
from array import array
from collections.abc import Iterable

import msgspec

from gpufleet_agent.catalogue import METRICS
from gpufleet_agent.wire.enrolment import Enrolment
from gpufleet_agent.wire.inventory import Roster
from gpufleet_agent.wire.report import MAX_TIMES, PROTOCOL, Clock, Report, Samples

CONTENT_TYPE = "application/vnd.gpufleet.report+msgpack"
ENCODING = "deflate"
CLOCK_HEADER = "x-gpufleet-clock"

MAX_BODY = 4 << 20
MAX_DECODED = 32 << 20

_TYPECODE = {2: "h", 4: "i", 8: "q"}
_WIDTHS = {metric.name: metric.width for metric in METRICS}
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_encoder = msgspec.msgpack.Encoder()
_report = msgspec.msgpack.Decoder(Report)
_enrolment = msgspec.json.Decoder(Enrolment)


class _Envelope(msgspec.Struct):
    version: int


_envelope = msgspec.msgpack.Decoder(_Envelope)


class WireError(ValueError):
    """A body that is no report. `field` names what is wrong; `status` is the HTTP answer it deserves."""

    def __init__(self, field: str, problem: str, status: int = 422) -> None:
        super().__init__(f"{field}: {problem}")
        self.field, self.problem, self.status = field, problem, status


def pack(values: Iterable[int], width: int) -> bytes:
    """Little-endian signed integers of `width` bytes. OverflowError where one does not fit."""
    packed = array(_TYPECODE[width], values)
    if sys.byteorder == "big":
        packed.byteswap()
    return packed.tobytes()


def unpack(data: bytes, width: int) -> list[int]:
    """The integers that `pack` packed."""
    packed = array(_TYPECODE[width])
    packed.frombytes(data)
    if sys.byteorder == "big":
        packed.byteswap()
    return packed.tolist()


def digest(roster: Roster) -> str:
    """The name of a roster's content: equal rosters have equal digests."""
    return hashlib.sha256(_encoder.encode(roster)).hexdigest()[:32]


def encode(report: Report) -> bytes:
    """The body of a request."""
    return zlib.compress(_encoder.encode(report), 3)


def decode(body: bytes, max_decoded: int = MAX_DECODED) -> Report:
    """The report in a body, its shape checked. WireError says what is wrong with it."""
    data = inflate(body, max_decoded)
    try:
        report = _report.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise _not_a_report(data, error) from None
    _check_version(report.version)
    if report.first_seq > report.seq:
        raise WireError("first_seq", f"{report.first_seq} comes after seq {report.seq}")
    for number, samples in enumerate(report.samples):
        check_samples(samples, f"samples[{number}]")
    for number, samples in enumerate(report.partition_samples):
        check_samples(samples, f"partition_samples[{number}]")
    _check_usage(report)
    return report


def decode_enrolment(body: bytes) -> Enrolment:
    """The enrolment in a body, which is JSON. WireError says what is wrong with it."""
    try:
        enrolment = _enrolment.decode(body)
    except msgspec.ValidationError as error:
        raise _named(error) from None
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise WireError("body", f"not JSON: {error}", 400) from None
    _check_version(enrolment.version)
    return enrolment


def inflate(body: bytes, max_decoded: int) -> bytes:
    """The decompressed body; WireError where it is no zlib stream or grows beyond the bound."""
    stream = zlib.decompressobj()
    try:
        data = stream.decompress(body, max_decoded)
    except zlib.error as error:
        raise WireError("body", f"not a zlib stream: {error}", 400) from None
    if stream.unconsumed_tail:
        raise WireError("body", f"larger than {max_decoded} bytes when decompressed", 413)
    if not stream.eof:
        raise WireError("body", "the zlib stream ends too early", 400)
    if stream.unused_data:
        raise WireError("body", f"{len(stream.unused_data)} bytes behind the end of the zlib stream", 400)
    return data


def check_samples(samples: Samples, field: str) -> None:
    """WireError where a column's length is not times × GPUs, or the GPUs repeat."""
    times, rest = divmod(len(samples.times), 8)
    if rest or not 0 < times <= MAX_TIMES:
        raise WireError(f"{field}.times", f"{len(samples.times)} bytes are not 1 to {MAX_TIMES} int64")
    if len(samples.durations) != 4 * times:
        raise WireError(f"{field}.durations", f"{len(samples.durations)} bytes are not {times} int32")
    if len(set(samples.gpus)) != len(samples.gpus):
        raise WireError(f"{field}.gpus", "a GPU is named twice")
    if not "".join(samples.gpus).isprintable():
        for number, gpu in enumerate(samples.gpus):
            _check_name(gpu, f"{field}.gpus[{number}]")
    count = times * len(samples.gpus)
    for name, column in samples.columns.items():
        width = _WIDTHS.get(name)
        if width is None:
            # A metric that this side does not know comes from a newer agent: its width is not ours to judge.
            _check_name(name, f"{field}.columns")
        elif len(column) != width * count:
            problem = f"{len(column)} bytes are not {count} integers of {width} bytes"
            raise WireError(f"{field}.columns.{name}", problem)


def _check_usage(report: Report) -> None:
    """WireError where a piece of usage names no holder, or ends before it begins."""
    names = {name for piece in report.usage for name in (piece.gpu, piece.partition or "")}
    printable = "".join(names).isprintable()
    for number, piece in enumerate(report.usage):
        field = f"usage[{number}]"
        if piece.holder >= len(report.holders):
            raise WireError(f"{field}.holder", f"{piece.holder}, and there are {len(report.holders)} holders")
        if piece.end < piece.begin:
            raise WireError(f"{field}.end", f"{piece.end} is before begin, {piece.begin}")
        for name in () if printable else (piece.gpu, piece.partition or ""):
            _check_name(name, field)


def _check_name(name: str, field: str) -> None:
    if _CONTROL.search(name):
        raise WireError(field, f"{name!r} holds a control character")


def _not_a_report(data: bytes, error: Exception) -> WireError:
    """What is wrong with content that does not decode; a version that is not spoken here explains everything else."""
    try:
        version = _envelope.decode(data).version
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as worse:
        return WireError("body", f"not a report: {worse}", 400)
    _check_version(version)
    if isinstance(error, msgspec.ValidationError):
        return _named(error)
    return WireError("body", f"not a report: {error}", 400)


def _check_version(version: int) -> None:
    if version != PROTOCOL:
        raise WireError("version", f"protocol {version} is not spoken here; this server speaks {PROTOCOL}", 400)


def _named(error: msgspec.ValidationError) -> WireError:
    problem, _, path = str(error).partition(" - at `")
    return WireError(path.rstrip("`").removeprefix("$.") or "body", problem)


def clock_header(clock: Clock) -> str:
    """The agent's clocks at the moment of sending, for `CLOCK_HEADER`."""
    return f"{clock.wall} {clock.uptime} {clock.boot}"


def parse_clock(text: str) -> Clock:
    """The clocks in such a header. WireError where it is none."""
    parts = text.split(" ", 2)
    try:
        return msgspec.convert({"wall": int(parts[0]), "uptime": int(parts[1]), "boot": parts[2]}, Clock)
    except (ValueError, IndexError, msgspec.ValidationError) as error:
        raise WireError(CLOCK_HEADER, f"{text[:80]!r} is not `wall-µs uptime-µs boot-id`: {error}", 400) from None
