"""The environment that all tests share: grafana-client's HTTP library stays beside urllib3 in it."""

from pathlib import Path

import urllib3
import urllib3_future


def test_requests_runs_on_urllib3_itself() -> None:
    """Else what runs on requests fails far from here: the Makefile says how it is kept apart."""
    assert Path(urllib3.__file__).parent != Path(urllib3_future.__file__).parent
    assert not (Path(urllib3.__file__).parent / ".u3f_sync").exists()
