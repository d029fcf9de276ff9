"""A driver call that hangs for an hour, in a process that cannot be killed."""

import re
from pathlib import Path

from tests.e2e.scenarios.stage import House, boards, reporting, seconds_of, uuid

HOUR = 3600


def test_an_hour(tmp_path: Path, house: House) -> None:
    """It is told since when, why, and how old each GPU's last sample is; there is one reader, and then it is over."""
    gpus = boards(2)
    with reporting(tmp_path, house, *gpus) as stage:
        (reader,) = stage.readers()
        house.kernel.hold(True)
        gpus[1].hang()
        stage.write()
        began = house.kernel.now()
        stage.until("that the driver hangs", stage.knows("driver_failed"), step=0.3)
        last = {name: seconds_of(one["at"]) for name, one in stage.gpus().items()}
        for _ in range(12):
            stage.pass_time(HOUR / 12, 300)
            assert stage.readers() == [reader]
        stage.until("that it cannot be ended", lambda: "no other" in stage.node()["driver"]["detail"])
        node = stage.node()
        assert (node["state"], node["driver"]["state"], node["gpus"]) == ("driver_failed", "unresponsive", 2)
        assert abs((seconds_of(node["driver"]["since"]) or 0) - began) < 15
        assert f"process {reader}) hangs in the kernel" in node["driver"]["detail"]
        assert {name: seconds_of(one["at"]) for name, one in stage.gpus().items()} == last
        assert all(abs((at or 0) - began) < 15 for at in last.values())
        assert stage.counts() == {"driver_failed": 2}
        assert stage.told() == ["driver_unresponsive"]
        assert re.search(r"last sample +6\d min ago", stage.shown("gpu", uuid(gpus[0])))
        assert re.search(r"unresponsive 6\d min: the reader", stage.shown("nodes", "--node", stage.host))
        house.kernel.hold(False)
        gpus[1].lines.clear()
        stage.write()
        stage.until("that the driver answers", stage.knows("reporting"))
        stage.goes_on()
        assert stage.counts() == {"reporting": 2}
        (recovered,) = stage.events("driver_recovered")
        assert re.search(r"answers again after 3[6-9]\d\d s", recovered["message"])
        assert set(stage.told()) == {"driver_unresponsive", "driver_recovered"}
