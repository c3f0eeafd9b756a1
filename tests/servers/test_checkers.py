"""The checkers of the tests of concurrency find what they look for."""

from __future__ import annotations

from tests.support.checkers import Visit, complaints, flash_complaints


def test_the_checker_is_content_with_what_was_promised() -> None:
    """An acknowledged change may be there once, and any other once or not at all."""
    assert complaints(["a", "a", "b"], ["b", "c", "d"], ["a", "b", "b", "a", "d"]) == []


def test_the_checker_complains_about_a_lost_change() -> None:
    """A change must be there as often as it was acknowledged."""
    assert complaints(["a", "b"], ["c"], ["a"]) == ["lost: b, 0 of 1"]
    assert complaints(["a", "a"], ["a"], ["a"]) == ["lost: a, 1 of 2"]


def test_the_checker_complains_about_a_doubled_change() -> None:
    """A change may not be there more often than it was asked for."""
    assert complaints(["a"], ["b"], ["a", "a", "b"]) == ["doubled: a, 2 of 1"]
    assert complaints(["a"], ["b"], ["a", "b", "b"]) == ["doubled: b, 2 of 1"]


def test_the_checker_complains_about_an_invented_change() -> None:
    """A change may not be there that nobody asked for, such as an old value."""
    new, old = ("key", "new"), ("key", "old")
    assert complaints([new], [], [new, old]) == [f"invented: {old}"]


def test_the_checker_of_flash_is_content_with_what_was_promised() -> None:
    """Two visits at the same time may be shown the same message, and one may wait to the end."""
    visits = [Visit(1, 3, {"a"}), Visit(2, 4, {"a"}), Visit(5, 6, {"b"})]
    assert flash_complaints(["a", "b"], visits) == []


def test_the_checker_of_flash_complains_about_a_lost_message() -> None:
    """A message must have been shown, if only in the end."""
    assert flash_complaints(["a", "b"], [Visit(1, 2, {"a"})]) == ["lost: b, 0 of 1"]


def test_the_checker_of_flash_complains_about_a_message_that_comes_back() -> None:
    """A message may not be shown to who asks after it was shown and answered."""
    visits = [Visit(1, 4, {"a"}), Visit(1, 2, {"a"}), Visit(3, 5, {"a"})]
    assert flash_complaints(["a"], visits) == ["shown again: a"]


def test_the_checker_of_flash_complains_about_an_invented_message() -> None:
    """A message may not be shown that nobody has set."""
    assert flash_complaints([], [Visit(1, 2, {"a"})]) == ["invented: a"]
