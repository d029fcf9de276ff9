"""Every command that reads, against a real server to which 24 simulated GPUs report."""

import json
import re
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from gpufleet_server.simulate.agent import now
from gpufleet_server.simulate.faults import Fault, FaultKind
from gpufleet_server.simulate.fleet import Fleet
from gpufleet_server.simulate.plan import SimNode, fleet

from tests.e2e.stack import server, wait_for
from tests.server.cli.processes import Env, call, environment, reporting, run, terminal

SECOND = 1_000_000
ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
GPUS = 24
XIDS = 3


def some_nodes() -> list[SimNode]:
    """Four nodes of as many models; on the first one GPU is lost, on another the same XID happens again and again."""
    nodes = fleet(11, GPUS, now(), faults=False)
    at = now() + SECOND
    troubles = (
        Fault(FaultKind.LOST, at, gpu=0),
        Fault(FaultKind.XID, at, gpu=1, code=31, every=SECOND // 3),
    )
    return [replace(nodes[0], faults=troubles), *nodes[1:]]


@pytest.fixture(scope="module")
def env(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Env]:
    """An environment that names a server to which the fleet has reported, and goes on."""
    folder = tmp_path_factory.mktemp("reading")
    with ExitStack() as stack:
        it = stack.enter_context(server(folder))
        given = environment(folder, GPUFLEET_SERVER=it.url, GPUFLEET_TOKEN=it.token("reader"))
        agents = Fleet(some_nodes(), it.url, it.token("join"), interval=1000, every=1000)
        stack.enter_context(reporting(agents))
        wait_for("the fleet's events", lambda: agents.tally().events >= XIDS)
        wait_for("the whole fleet", lambda: answer(given, "summary")["gpus"]["by_state"]["reporting"] == GPUS - 1)
        yield given


def answer(env: Env, *arguments: str) -> Any:
    """The JSON that a command prints."""
    return json.loads(call(*arguments, "--json", env=env).stdout)


def rows(env: Env, *arguments: str) -> list[str]:
    """The lines that a command prints into a pipe, without the header."""
    return call(*arguments, env=env).stdout.splitlines()[1:]


def test_summary(env: Env) -> None:
    """Totals, by model and by site, all of it simulated."""
    found = answer(env, "summary")
    assert found["gpus"]["total"] == found["gpus"]["simulated"] == GPUS
    text = call("summary", env=env).stdout
    assert f"{GPUS}: {GPUS - 1} reporting, 1 lost, all simulated" in text
    assert all(one["model"].removeprefix("NVIDIA ") in text for one in found["by_model"])


def test_nodes(env: Env) -> None:
    """A row a node, each marked, and filters work."""
    found = answer(env, "nodes")["items"]
    assert [node["hostname"] in row and "simulated" in row for node, row in zip(found, rows(env, "nodes"), strict=True)]
    one = found[0]["hostname"]
    assert [node["hostname"] for node in answer(env, "nodes", "--node", one)["items"]] == [one]
    assert answer(env, "nodes", "--real") == {"items": [], "total": 0}


def test_gpus(env: Env) -> None:
    """A row a GPU with its whole UUID, each marked; the lost one has no value but a dash."""
    found, shown = answer(env, "gpus")["items"], rows(env, "gpus")
    assert len(found) == len(shown) == GPUS
    for gpu, row in zip(found, shown, strict=True):
        assert gpu["id"] in row
        assert "simulated" in row
    (lost,) = [row for row in shown if "lost" in row]
    assert not re.search(r"\d (%|W|°C)", lost)


def test_pages_and_limits(env: Env) -> None:
    """--limit shows that many and says how many there are; --all all."""
    some = call("gpus", "--limit", "5", env=env)
    assert len(some.stdout.splitlines()) == 6
    assert some.stderr == f"5 of {GPUS} GPUs; --all shows the rest\n"
    assert len(answer(env, "gpus", "--limit", "5")["items"]) == 5
    assert call("gpus", "--all", env=env).stderr == ""


def test_sorting_and_filters(env: Env) -> None:
    """The server's order and filters can be had by options."""
    powers = [gpu["metrics"]["power"]["value"] for gpu in answer(env, "gpus", "--sort=-power")["items"]]
    known = [power for power in powers if power is not None]
    assert known == sorted(known, reverse=True)
    assert len(answer(env, "gpus", "--state", "lost")["items"]) == 1
    assert call("gpus", "--node", "nowhere", env=env).stderr == "no GPU matches\n"


@pytest.mark.parametrize("command", ["gpus", "summary", "top --once"])
def test_a_part_of_a_model_is_enough(env: Env, command: str) -> None:
    """In upper or lower case; what no model contains is an error that lists the models."""
    known = {gpu["model"] for gpu in answer(env, "gpus")["items"]}
    text = call(*command.split(), "--model", "h100", env=env).stdout
    assert "H100 80GB HBM3" in text
    assert not [model for model in known if "H100" not in model and model.removeprefix("NVIDIA ") in text]
    failed = call(*command.split(), "--model", "voodoo", env=env, status=1)
    assert failed.stderr == f"gpufleet: no model contains 'voodoo'; there are: {', '.join(sorted(known))}\n"


def test_gpus_by_use(env: Env) -> None:
    """Each GPU that reports has one use; a use that there is not is refused by name."""

    def total() -> int:
        return sum(answer(env, "gpus", "--use", use)["total"] for use in ("active", "held", "free", "unknown"))

    # The fleet goes on: between two questions a GPU may change from one to another.
    wait_for("each GPU in one of them", lambda: total() == GPUS - 1)
    assert "refuses --use: Input should be" in call("gpus", "--use", "idle", env=env, status=2).stderr


def test_history(env: Env) -> None:
    """A row a step, a column a site, and the share that was observed."""
    found = answer(env, "history", "--metric", "power", "--by", "site", "--since", "10m", "--step", "1m")
    assert found["unit"] == "W"
    assert any(value for part in found["parts"] for value in part["values"])
    shown = call("history", "--metric", "energy", "--by", "use", "--since", "10m", "--step", "5m", env=env).stdout
    assert shown.splitlines()[0].startswith("FROM (UTC)")
    assert "kWh" in shown
    assert all("  simulated  " in row for row in shown.splitlines()[1:])
    assert "  GPU UTILIZATION  " in call("history", env=env).stdout.splitlines()[0]


def test_history_of_one_gpu(env: Env) -> None:
    """A row a step and the share of it that was observed, of the GPU that is named as elsewhere."""
    gpu = next(gpu for gpu in answer(env, "gpus")["items"] if gpu["state"] == "reporting")
    name = f"{gpu['node']['hostname']}/{gpu['index']}"
    found = answer(env, "history", name, "--metric", "power", "--since", "2m", "--step", "10s")
    assert found["gpu"] == gpu["id"]
    assert any(value is not None for value in found["metrics"]["power"]["values"])
    shown = call("history", gpu["id"], "--metric", "power", "--since", "2m", "--step", "10s", env=env).stdout
    assert shown.splitlines()[0].startswith(gpu["id"]) and name in shown.splitlines()[0]
    assert shown.splitlines()[1].split() == ["FROM", "(UTC)", "POWER", "COVERAGE"]
    assert " W " in shown and "not observed" in shown
    assert "no partition has the UUID 'MIG-x'" in call("history", "MIG-x", env=env, status=1).stderr


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ("history GPU-1 --by site", "--by is for the whole fleet; ID names one GPU or partition"),
        ("history --by rack", "--by 'rack' is none of site, model, use"),
        ("history --step 90s", "refuses --step: a step of 90 s is not whole minutes"),
        ("history --metric powr", "refuses --metric: 'powr' is no metric of every sample; near it: power"),
        ("history --since 1h --until 2h", "refuses --since: start "),
        ("use --until soon", "--until: 'soon' is no time: ISO 8601 such as"),
        ("use --until=", "--until: '' is no time"),
        ("quantiles --q 95", "--q 95 is not 0 to 1; 0.95 is"),
    ],
)
def test_what_cannot_be_asked(env: Env, arguments: str, told: str) -> None:
    """Status 2, and the option is named as it was typed."""
    assert told in call(*arguments.split(), env=env, status=2).stderr


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ("quantiles --site mars", "no GPU matches\n"),
        ("history --site mars", "no GPU matches at that time\n"),
        ("use --until 2020-01-01", "no GPUs at that time\n"),
        ("use --since 2999-01-01 --until 2999-01-02", "that time is still to come\n"),
    ],
)
def test_where_there_is_nothing(env: Env, arguments: str, told: str) -> None:
    """No table of nothing, but a line that says so."""
    result = call(*arguments.split(), env=env)
    assert (result.stdout, result.stderr) == ("", told)


def test_use_hours(env: Env) -> None:
    """GPU-hours of each model."""
    found = answer(env, "use", "--by", "model", "--since", "10m")["parts"]
    assert sum(sum(part["gpu_hours"].values()) for part in found) > 0
    shown = rows(env, "use", "--by", "model", "--since", "10m")
    assert [part["name"].removeprefix("NVIDIA ") in row for part, row in zip(found, shown, strict=True)]
    assert all("  simulated  " in row for row in shown)


def test_quantiles(env: Env) -> None:
    """A column a quantile, a row a model; what is simulated is marked."""
    found = answer(env, "quantiles", "--by", "model", "--q", "0.5", "--q", "1")
    assert found["q"] == [0.5, 1]
    header, *rows = call("quantiles", "--by", "model", "--q", "0.5", "--q", "1", env=env).stdout.splitlines()
    assert header.split()[:3] == ["MODEL", "Q50", "Q100"]
    assert all(("simulated" in row) == bool(part["simulated"]) for row, part in zip(rows, found["parts"], strict=True))
    assert any(part["simulated"] for part in found["parts"])
    assert all(part["gpus"] <= part["owned"] for part in found["parts"])


def test_orders_are_listed(env: Env) -> None:
    """An order that there is not is answered with those that there are."""
    failed = call("gpus", "--sort", "beauty", env=env, status=2)
    assert "--sort: 'beauty' is no order; there are site, state, hostname, index, model," in failed.stderr


def names(env: Env) -> dict[str, str]:
    """Ways to name one GPU that has a serial, and its UUID."""
    gpu = next(gpu for gpu in answer(env, "gpus", "--state", "reporting")["items"] if gpu["serial"])
    host = f"{gpu['node']['hostname']}/{gpu['index']}"
    return {"uuid": gpu["id"], "beginning": gpu["id"][:13], "serial": gpu["serial"], "place": host, "": gpu["id"]}


@pytest.mark.parametrize("way", ["uuid", "beginning", "serial", "place"])
def test_gpu_by_any_name(env: Env, way: str) -> None:
    """UUID, its beginning, the serial or hostname/index name the same GPU."""
    known = names(env)
    assert answer(env, "gpu", known[way])["id"] == known[""]


def test_gpu_shows_everything(env: Env) -> None:
    """Every identity field and every metric has its line; what is absent has its reason and is no 0."""
    found = answer(env, "gpu", names(env)["uuid"])
    text = call("gpu", found["id"], env=env).stdout
    assert text.splitlines()[0] == f"{found['id']}  {found['model']}  simulated"
    lines = {line.split("  ")[0]: line for line in text.splitlines()}
    for name, metric in found["metrics"].items():
        assert metric["value"] is not None or re.search(rf"^{name} +–.* {metric['reason']}$", lines[name])
    for name, reason in found["absent"].items():
        assert re.search(rf"^{name.replace('_', ' ')} +–  {reason}$", lines[name.replace("_", " ")])


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("GPU-", "could be any of these"),
        ("GPU-nobody", "no GPU has a UUID"),
        ("1", "could be any of these"),
        ("nowhere/0", "no node 'nowhere'"),
        ("../../summary", "no GPU has"),
        ("%", "no GPU has"),
    ],
)
def test_a_gpu_that_is_not_one(env: Env, name: str, told: str) -> None:
    """Status 1 and what is wrong; candidates are listed where there are several."""
    failed = call("gpu", name, env=env, status=1)
    assert failed.stdout == ""
    assert told in failed.stderr


def test_events(env: Env) -> None:
    """Repeats are rows of their own, newest last, and each is marked."""
    xids = answer(env, "events", "--kind", "xid", "--code", "31", "--all")["items"]
    assert len(xids) >= XIDS
    assert len({event["id"] for event in xids}) == len(xids)
    shown = rows(env, "events", "--kind", "xid", "--limit", "3")
    assert len(shown) == 3
    assert shown == sorted(shown)
    assert all("XID 31" in row and "simulated" in row for row in shown)
    uuid = xids[0]["gpu"]
    place = f"{xids[0]['node']['hostname']}/{xids[0]['index']}"
    assert all(row.count(place) == row.count(uuid) == 1 for row in shown)
    assert {event["gpu"] for event in answer(env, "events", "--gpu", place)["items"]} == {uuid}
    assert "no GPU has a UUID" in call("events", "--gpu", "GPU-nobody", env=env, status=1).stderr
    assert answer(env, "events", "--until", "2020-01-01")["items"] == []


def test_following_events(env: Env) -> None:
    """New events come within a second or so of when they happened, until Ctrl-C."""
    with terminal("events", "--follow", "--limit", "1", "--json", "--kind", "xid", env=env, width=500) as screen:
        text = screen.read_until(lambda said: said.count("\n") > 3)
        seen = time.time()
        screen.press(b"\x03")
        assert screen.wait() == 130
    events = [json.loads(line) for line in text[: text.rindex("\n")].splitlines() if line.startswith("{")]
    assert [event["id"] for event in events] == sorted({event["id"] for event in events})
    assert seen - datetime.fromisoformat(events[-1]["received_at"]).timestamp() < 10
    assert "Traceback" not in screen.said.decode()


def test_following_begins_at_the_newest_event_of_all(env: Env) -> None:
    """Also where the filter lets none of the events through that are there already."""
    with terminal("events", "-f", "--kind", "xid", "--since", "2999-01-01", "--json", env=env, width=500) as screen:
        text = screen.read_until(lambda said: said.count("\n") > 1)
        seen = time.time()
        screen.press(b"\x03")
        assert screen.wait() == 130
    first = json.loads(text.splitlines()[0])
    assert seen - datetime.fromisoformat(first["received_at"]).timestamp() < 10


def test_top_once(env: Env) -> None:
    """One look for scripts: totals by model, then GPUs with the lost one first and the one with XIDs next."""
    text = call("top", "--once", env=env).stdout
    blocks = [block.splitlines() for block in text.split("\n\n")]
    assert blocks[0][1].startswith(f"GPUs  {GPUS}: {GPUS - 1} reporting, 1 lost, all simulated")
    first, second = blocks[2][1:3]
    assert " lost " in first
    assert " XID 31 ×" in second
    assert all("simulated" in row for row in blocks[2][1:])


@pytest.mark.parametrize(("key", "status"), [(b"q", 0), (b"\x03", 0)])
def test_top_ends_by_key(env: Env, key: bytes, status: int) -> None:
    """q and Ctrl-C end it well, and the terminal is as it was before."""
    with terminal("top", env=env) as screen:
        screen.read_until(lambda said: "simulated" in said)
        screen.press(key)
        assert screen.wait() == status
    said = screen.said.decode()
    assert said.rindex("\x1b[?1049l") > said.rindex("\x1b[?1049h")
    assert "Traceback" not in said


@pytest.mark.parametrize("width", [60, 120])
@pytest.mark.parametrize("command", ["summary", "nodes", "gpus", "events", "top --once"])
def test_a_terminal_is_never_too_narrow(env: Env, command: str, width: int) -> None:
    """No line is longer than the terminal, every row is marked, and there is colour."""
    with terminal(*command.split(), env=env, width=width) as screen:
        assert screen.wait() == 0
    said = screen.said.decode()
    assert ANSI.search(said)
    lines = ANSI.sub("", said).splitlines()
    assert max(len(line) for line in lines) <= width
    assert "simulated" in ANSI.sub("", said).lower()


def test_no_color_is_heeded(env: Env) -> None:
    """NO_COLOR takes the colours away on a terminal; a pipe never has any."""
    with terminal("gpus", env=env | {"NO_COLOR": "1"}) as screen:
        screen.wait()
    assert not re.search(r"\x1b\[[0-9;]*3[0-9]m", screen.said.decode())
    assert "\x1b" not in run("gpus", env=env).stdout
    for command in (["summary"], ["nodes"], ["gpus"], ["events"], ["top", "--once"], ["gpu", names(env)["uuid"]]):
        assert "\x1b" not in call(*command, env=env).stdout


@pytest.mark.parametrize(
    "command", ["summary", "nodes", "gpus", "events", "top", "gpu x", "history", "use", "quantiles"]
)
def test_a_server_that_is_not_there(tmp_path: Path, command: str) -> None:
    """One line that names the URL, and status 1."""
    env = environment(tmp_path, GPUFLEET_SERVER="http://127.0.0.1:1", GPUFLEET_TOKEN="t")
    failed = call(*command.split(), env=env, status=1)
    assert re.fullmatch(r"gpufleet: can't reach http://127\.0\.0\.1:1: .+\n", failed.stderr)


def test_a_token_that_is_not_taken(env: Env) -> None:
    """The message says that it is the token."""
    failed = call("gpus", env=env | {"GPUFLEET_TOKEN": "gpf_reader_wrong"}, status=1)
    assert re.fullmatch(r"gpufleet: http://\S+ does not take this token: .+\n", failed.stderr)


def test_a_filter_that_is_refused(env: Env) -> None:
    """The server's reason is passed on, naming field and value."""
    failed = call("gpus", "--state", "sleepy", env=env, status=2)
    assert "refuses --state: " in failed.stderr
    assert "'sleepy'" in failed.stderr
    assert len(failed.stderr.splitlines()) == 1


class Stranger(BaseHTTPRequestHandler):
    """A web server that is not gpufleet."""

    def do_GET(self) -> None:
        """Answers with a page."""
        body = b"<html>hello</html>"
        self.send_response(200 if "nodes" in self.path else 404)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


@pytest.mark.parametrize("command", ["nodes", "gpus"])
def test_a_server_that_is_not_gpufleet(tmp_path: Path, command: str) -> None:
    """One line and status 1, whatever it answers."""
    with HTTPServer(("127.0.0.1", 0), Stranger) as stranger:
        thread = Thread(target=stranger.serve_forever)
        thread.start()
        env = environment(tmp_path, GPUFLEET_SERVER=f"http://127.0.0.1:{stranger.server_port}", GPUFLEET_TOKEN="t")
        failed = call(command, env=env, status=1)
        stranger.shutdown()
        thread.join()
    assert len(failed.stderr.splitlines()) == 1
    assert "gpufleet" in failed.stderr
