"""Units of Grafana's for what panels show: each unit of the catalogue has its own here, and nowhere else."""

from collections.abc import Mapping
from types import MappingProxyType

from gpufleet_agent.catalogue import Metric, Unit

# Numbers as they are, such as a level or a code.
PLAIN = "none"
# Whole things, with the thousands apart.
COUNT = "locale"
PERCENT = "percent"
# A share from 0 to 1.
SHARE = "percentunit"
SECONDS = "s"
BYTES = "bytes"
BYTES_PER_SECOND = "binBps"
WATT = "watt"
KILOWATT_HOURS = "kwatth"
JOULE = "joule"
CELSIUS = "celsius"
MEGAHERTZ = "si:MHz"
# Units of our own: Grafana writes thousands as K, millions as M, and this behind it.
GPU_HOURS = "count:GPU h"
PER_SECOND = "count:/s"
YES_NO = "bool_yes_no"
# Moments: what is shown of a column of times.
MOMENT = "dateTimeAsIso"
AGO = "dateTimeFromNow"

_OF: Mapping[Unit, str] = MappingProxyType(
    {
        Unit.PERCENT: PERCENT,
        Unit.BYTE: BYTES,
        Unit.WATT: WATT,
        Unit.JOULE: JOULE,
        Unit.CELSIUS: CELSIUS,
        Unit.MEGAHERTZ: MEGAHERTZ,
        Unit.COUNT: COUNT,
        Unit.FLAG: YES_NO,
        Unit.FLAGS: PLAIN,
        Unit.LEVEL: PLAIN,
    }
)


def unit_of(metric: Metric) -> str:
    """Grafana's id of the unit that a metric's values are in."""
    return _OF[metric.unit]
