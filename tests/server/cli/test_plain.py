"""Text of other machines on a terminal."""

import json
from typing import Any

from gpufleet_server.cli.plain import clean, json_text
from gpufleet_server.cli.render import facts
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

STEERING = "\x1b[31m\x07\x9b2J\x7f\r\n\u202e\u2028"
texts = st.text(st.characters() | st.sampled_from(STEERING))
answers = st.recursive(texts | st.integers() | st.none(), lambda one: st.lists(one) | st.dictionaries(texts, one))


@given(answers)
def test_json_is_the_same_and_steers_nothing(answer: Any) -> None:
    """It reads back as it was, and has line breaks only of its own."""
    text = json_text(answer, indent=2)
    assert json.loads(text) == answer
    assert not set(text.replace("\n", "")) & set(STEERING) - set("[31m2J")


@given(answers)
def test_what_is_shown_steers_nothing(answer: Any) -> None:
    """No text keeps a control character, at whatever depth."""
    assert not set(str(clean(answer))) & set(STEERING) - set("[31m2J")


def test_names_are_kept() -> None:
    """What people write in their languages stays as it is."""
    assert clean({"räck-1": ["東京", "NVIDIA H100", 3]}) == {"räck-1": ["東京", "NVIDIA H100", 3]}


def test_markup_is_text() -> None:
    """What looks like an instruction to the renderer is shown as it stands."""
    console = Console(width=80)
    with console.capture() as shown:
        console.print(facts([("[bold]name", "[red]value[/red] :smiley: [link=http://x]x[/link]")]))
    assert shown.get().strip() == "[bold]name  [red]value[/red] :smiley: [link=http://x]x[/link]"
