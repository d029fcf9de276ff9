"""Parts of PromQL that rules over the agents' pages share."""

from collections.abc import Iterable


def xids_seen(codes: Iterable[int], within: str = "10m") -> str:
    """One of these XIDs came within a time: also the first one, with which its series begins."""
    series = f'gpufleet_gpu_xids_total{{xid=~"{"|".join(map(str, sorted(codes)))}"}}'
    return f"increase({series}[{within}]) > 0 or ({series} unless {series} offset {within})"
