"""The codec: what goes in comes out, rubbish is told from reports, released payloads decode for ever."""

import zlib
from pathlib import Path
from typing import Any

import msgspec
import pytest
from gpufleet_agent.catalogue import BY_NAME, EVERY_SAMPLE, Reason
from gpufleet_agent.wire import (
    Backlog,
    Clock,
    Driver,
    Event,
    Gpu,
    Host,
    Report,
    Roster,
    Samples,
    State,
    WireError,
    clock_header,
    decode,
    digest,
    encode,
    pack,
    parse_clock,
    unpack,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.wire.payloads.make import GPUS, START, report

PAYLOAD = Path(__file__).parent / "payloads" / "protocol_1.bin"
IDENTIFIERS = st.from_regex(r"[A-Za-z0-9_:-]{1,40}", fullmatch=True)
MICROS = st.integers(0, (1 << 62) - 1)
UUIDS = st.uuids().map(str)
TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=60)


def stored(width: int) -> st.SearchStrategy[int]:
    """Any integer of this width."""
    return st.integers(-(1 << (8 * width - 1)), (1 << (8 * width - 1)) - 1)


@st.composite
def samples(draw: st.DrawFn) -> Samples:
    """Columns of some metrics, of the right sizes."""
    gpus = draw(st.lists(IDENTIFIERS, min_size=1, max_size=4, unique=True))
    times = draw(st.lists(MICROS, min_size=1, max_size=5))
    metrics = draw(st.lists(st.sampled_from(EVERY_SAMPLE), unique=True, max_size=4))
    count = len(times) * len(gpus)
    columns = {m.name: pack(draw(st.lists(stored(m.width), min_size=count, max_size=count)), m.width) for m in metrics}
    return Samples(gpus=gpus, times=pack(times, 8), durations=pack([1000] * len(times), 4), columns=columns)


SCALARS = st.one_of(stored(8), st.floats(-1e300, 1e300), st.booleans(), TEXTS, st.none())
CLOCKS = st.builds(Clock, wall=MICROS, uptime=MICROS, boot=IDENTIFIERS)
EVENTS = st.builds(
    Event,
    at=MICROS,
    kind=IDENTIFIERS,
    gpu=st.none() | IDENTIFIERS,
    partition=st.none() | IDENTIFIERS,
    code=st.none() | st.integers(0, (1 << 31) - 1),
    source=TEXTS,
    message=TEXTS,
    detail=st.dictionaries(IDENTIFIERS, SCALARS, max_size=4),
)
ROSTERS = st.builds(
    Roster,
    host=st.builds(Host, hostname=TEXTS, agent_version=TEXTS, site=st.none() | TEXTS),
    gpus=st.lists(st.builds(Gpu, uuid=IDENTIFIERS, vendor=TEXTS, index=st.integers(0, 99)), max_size=3),
)
REPORTS = st.builds(
    Report,
    version=st.just(1),
    node=UUIDS,
    stream=UUIDS,
    seq=st.integers(1, (1 << 62) - 1),
    created=CLOCKS,
    interval=st.integers(100, 3_600_000),
    driver=st.builds(Driver, state=st.sampled_from(["ok", "unresponsive", "absent", "failed"]), since=MICROS),
    backlog=st.builds(Backlog, reports=st.integers(0, 9), bytes=st.integers(0, 9), dropped=st.integers(0, 9)),
    roster_digest=TEXTS,
    roster=st.none() | ROSTERS,
    samples=st.lists(samples(), max_size=2),
    states=st.lists(st.builds(State, at=MICROS, gpu=IDENTIFIERS, metric=IDENTIFIERS, stored=stored(8)), max_size=3),
    events=st.lists(EVENTS, max_size=3),
)


@given(REPORTS)
@settings(max_examples=60, deadline=None)
def test_a_report_comes_out_as_it_went_in(sent: Report) -> None:
    """Encode, then decode: the same report."""
    assert decode(encode(sent)) == sent


@given(st.sampled_from([2, 4, 8]), st.data())
def test_columns_come_out_as_they_went_in(width: Any, data: st.DataObject) -> None:
    """Pack, then unpack: the same integers, in so many bytes each."""
    values = data.draw(st.lists(stored(width)))
    packed = pack(values, width)
    assert unpack(packed, width) == values
    assert len(packed) == width * len(values)


@pytest.mark.parametrize("width", [2, 4, 8])
def test_an_integer_that_does_not_fit_is_an_error(width: Any) -> None:
    """Never wrapped round, never cut."""
    with pytest.raises(OverflowError):
        pack([1 << (8 * width - 1)], width)


@given(st.binary(max_size=300))
def test_random_bytes_are_a_wire_error(body: bytes) -> None:
    """Nothing but WireError, as they are and compressed."""
    for attempt in (body, zlib.compress(body)):
        with pytest.raises(WireError) as caught:
            decode(attempt)
        assert 400 <= caught.value.status < 500


JSON_LIKE = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers(-(1 << 63), (1 << 64) - 1) | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(st.sampled_from(Report.__struct_fields__), JSON_LIKE)
def test_rubbish_in_any_field_is_a_wire_error(name: str, rubbish: object) -> None:
    """A field of the wrong shape is named, or else the value was a right one."""
    content = msgspec.to_builtins(report(), builtin_types=(bytes,))
    body = zlib.compress(msgspec.msgpack.encode({**content, name: rubbish}))
    try:
        decode(body)
    except WireError as error:
        assert error.field.startswith((name, "body"))


@given(st.data())
def test_damaged_reports_are_a_wire_error(data: st.DataObject) -> None:
    """Cut off, or with bytes changed: never another exception."""
    body = bytearray(encode(report()))
    cut = data.draw(st.integers(0, len(body) - 1))
    with pytest.raises(WireError):
        decode(bytes(body[:cut]))
    place, value = data.draw(st.integers(0, len(body) - 1)), data.draw(st.integers(0, 255))
    inner = bytearray(zlib.decompress(bytes(body)))
    inner[place % len(inner)] = value
    try:
        decode(zlib.compress(bytes(inner)))
    except WireError:
        return


def test_a_bomb_is_refused_before_it_goes_off() -> None:
    """What grows beyond the bound when decompressed is told with 413."""
    with pytest.raises(WireError) as caught:
        decode(zlib.compress(bytes(40 << 20)))
    assert caught.value.status == 413


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"times": b"1234567"}, "samples[0].times"),
        ({"durations": b""}, "samples[0].durations"),
        ({"gpus": [GPUS[0], GPUS[0]]}, "samples[0].gpus"),
        ({"columns": {"power": b"1234"}}, "samples[0].columns.power"),
    ],
)
def test_columns_of_a_wrong_size_are_named(change: dict[str, Any], field: str) -> None:
    """Times × GPUs must be what is there."""
    sent = report()
    sent.samples = [msgspec.structs.replace(sent.samples[0], **change)]
    with pytest.raises(WireError) as caught:
        decode(encode(sent))
    assert caught.value.field == field


def test_a_newer_agents_metric_passes() -> None:
    """A metric this side does not know is not judged."""
    sent = report()
    sent.samples[0].columns["not_invented_yet"] = b"123"
    assert decode(encode(sent)) == sent


def test_another_protocol_is_refused_by_name() -> None:
    """The version is looked at before the rest, which may have another shape."""
    with pytest.raises(WireError, match="protocol 2 is not spoken here") as caught:
        decode(zlib.compress(msgspec.msgpack.encode({"version": 2, "all": "different"})))
    assert caught.value.field == "version"


def test_equal_rosters_have_equal_digests() -> None:
    """And others have others."""
    one, two = report().roster, report().roster
    assert one is not None
    assert two is not None
    assert digest(one) == digest(two)
    two.gpus[0].serial = "another"
    assert digest(one) != digest(two)


@given(CLOCKS)
def test_the_clock_header_comes_back(clock: Clock) -> None:
    """Format, then parse: the same moment."""
    assert parse_clock(clock_header(clock)) == clock


@given(st.text(max_size=60))
def test_a_rubbish_clock_header_is_a_wire_error(text: str) -> None:
    """Nothing but WireError, or else it was a clock."""
    try:
        parse_clock(text)
    except WireError as error:
        assert error.status == 400


def test_the_payload_of_protocol_1_decodes_for_ever() -> None:
    """A report as the first release sent it, with something in every field."""
    old = decode(PAYLOAD.read_bytes())
    assert (old.version, old.seq, old.interval, old.driver.state) == (1, 257, 10_000, "ok")
    assert old.roster is not None
    assert [gpu.serial for gpu in old.roster.gpus] == ["1650", "1651"]
    assert old.roster.gpus[0].partitions[0].profile == "1g.10gb"
    assert old.roster.host.labels == {"team": "ml"}
    assert unpack(old.samples[0].times, 8) == [START, START + 10**7]
    power = BY_NAME["power"]
    values = unpack(old.samples[0].columns["power"], power.width)
    assert values == [1700, power.absent(Reason.UNSUPPORTED), 1701, power.absent(Reason.LOST)]
    assert (old.events[0].kind, old.events[0].code) == ("xid", 79)
    assert old.states[1] == State(START, GPUS[0], "pcie_link_generation", 1)
