"""Parts of PromQL that rules over the agents' pages share."""

from gpufleet_server.domain.xids import Action


def xids_seen(*actions: Action, within: str = "10m") -> str:
    """An XID of one of these classes came within a time: also the first one, with which its series begins.

    `$xids_<class>` stands for the codes that are of a class where the rules are exported.
    """
    codes = "|".join(f"$xids_{action.value}" for action in actions)
    series = f'gpufleet_gpu_xids_total{{xid=~"{codes}"}}'
    return f"increase({series}[{within}]) > 0 or ({series} unless {series} offset {within})"
