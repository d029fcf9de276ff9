"""The size budgets find what they are there to find."""

import pytest

from tests.lint.budgets import complaints, too_long

LONG = '"""A module."""\n\n\ndef f() -> None:\n' + "    print()\n" * 60


@pytest.mark.parametrize(
    ("path", "text", "complaint"),
    [
        ("agent/a.py", "x = 1\n", "no module docstring"),
        ("agent/utils.py", '"""A pile."""\n', "named for what it is about"),
        ("agent/a.py", LONG, "61 lines"),
        ("tests/test_a.py", '"""Tests."""\n\n\ndef test_x() -> None:\n    assert True\n', "no docstring"),
        ("server/a.py", '"""A."""\n\ntry:\n    pass\nexcept (ValueError, Exception):\n    pass\n', "broad except"),
        ("server/a.py", '"""A."""\n\ntry:\n    pass\nexcept:\n    pass\n', "broad except"),
    ],
)
def test_it_complains(path: str, text: str, complaint: str) -> None:
    """Each breach is named."""
    assert any(complaint in line for line in complaints(path, text))


def test_it_is_silent_on_good_code() -> None:
    """A small documented module passes."""
    assert not list(complaints("agent/a.py", '"""A module."""\n\n\ndef f() -> int:\n    return 1\n'))


def test_it_counts_lines_of_any_language() -> None:
    """A C file is held to the same length."""
    assert list(too_long("tests/a.c", "\n" * 401))
    assert not list(too_long("tests/a.c", "\n" * 400))
