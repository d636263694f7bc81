"""Words that the server and the program it sends to hosts each write for themselves are the same words."""

from interlock.runner import engines, fileimages, filesets
from interlock_tools import container_words, file_planning, found


def test_both_sides_call_the_same_things_by_the_same_names() -> None:
    assert container_words.BEFORE == engines.BEFORE_CONTAINER
    assert file_planning.ORIGINAL == fileimages.ORIGINAL
    assert found.ABSENT == filesets.ABSENT_FILE
