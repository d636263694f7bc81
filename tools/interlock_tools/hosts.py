"""The hosts family: finding out what there is. The server answers it itself; no host is asked."""

from __future__ import annotations

from interlock_tools.declare import number, text
from interlock_tools.fields import Form
from interlock_tools.tool import READS, Tool


def host_tools() -> tuple[Tool, ...]:
    """hosts_list."""
    fields = (
        text("filter", "Part of a name.", "query", "search", "name", form=Form.LINE, chars_max=200),
        text("label", "key=value", "labels", "tag", form=Form.LABEL, chars_min=1, chars_max=400),
        text("after", "After this name.", "cursor", form=Form.LINE, chars_max=200),
        number("limit", "Hosts at most.", "max", "page_size", default=50, minimum=1, maximum=200, published=True),
    )
    return (Tool("hosts_list", "List hosts", "List hosts: labels, containment, your rights there.", fields, READS),)
