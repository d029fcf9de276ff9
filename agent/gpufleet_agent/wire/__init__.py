"""The wire between agents and the server. The producer owns it; the server imports it."""

from gpufleet_agent.wire.codec import (
    CLOCK_HEADER,
    CONTENT_TYPE,
    ENCODING,
    MAX_BODY,
    MAX_DECODED,
    WireError,
    clock_header,
    decode,
    decode_enrolment,
    digest,
    encode,
    pack,
    parse_clock,
    unpack,
)
from gpufleet_agent.wire.enrolment import Ack, Credential, Enrolment, Overlap
from gpufleet_agent.wire.inventory import Gpu, Host, Partition, Roster
from gpufleet_agent.wire.report import (
    MAX_JOINED,
    MAX_JOINED_BYTES,
    MAX_JOINED_CELLS,
    PROTOCOL,
    XID_CONFIRMED,
    Backlog,
    Clock,
    Driver,
    Event,
    Report,
    Samples,
    State,
)
from gpufleet_agent.wire.usage import Holder, Usage

ENROL_PATH = "/ingest/v1/enrol"
RENEW_PATH = "/ingest/v1/renew"
REPORT_PATH = "/ingest/v1/reports"

__all__ = [
    "CLOCK_HEADER",
    "CONTENT_TYPE",
    "ENCODING",
    "ENROL_PATH",
    "MAX_BODY",
    "MAX_DECODED",
    "MAX_JOINED",
    "MAX_JOINED_BYTES",
    "MAX_JOINED_CELLS",
    "PROTOCOL",
    "RENEW_PATH",
    "REPORT_PATH",
    "XID_CONFIRMED",
    "Ack",
    "Backlog",
    "Clock",
    "Credential",
    "Driver",
    "Enrolment",
    "Event",
    "Gpu",
    "Holder",
    "Host",
    "Overlap",
    "Partition",
    "Report",
    "Roster",
    "Samples",
    "State",
    "Usage",
    "WireError",
    "clock_header",
    "decode",
    "decode_enrolment",
    "digest",
    "encode",
    "pack",
    "parse_clock",
    "unpack",
]
