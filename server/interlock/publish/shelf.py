"""The shelf: what can be read: resources, which the front keeps, and runbooks, which are ours. It changes nothing."""

from __future__ import annotations

import mcp_types as types
from mcp.shared.exceptions import MCPError

from interlock.ports import Front
from interlock.publish import runbooks
from interlock.publish.callers import CallerOf, Context
from interlock.publish.words import RESOURCE_TEMPLATES

URI_CHARS_MAX = 2_048


class Shelf:
    """The handlers for resources and prompts."""

    def __init__(self, front: Front, caller_of: CallerOf) -> None:
        self._front = front
        self._caller_of = caller_of

    async def list_resources(
        self, ctx: Context, _params: types.PaginatedRequestParams | None
    ) -> types.ListResourcesResult:
        """What this principal may read."""
        found = self._front.resources(self._caller_of(ctx).principal)
        return types.ListResourcesResult(
            resources=[
                types.Resource(uri=entry.uri, name=entry.name, description=entry.description, mime_type=entry.mime_type)
                for entry in found
            ]
        )

    async def list_templates(
        self, _ctx: Context, _params: types.PaginatedRequestParams | None
    ) -> types.ListResourceTemplatesResult:
        """The forms that a resource's address can take."""
        return types.ListResourceTemplatesResult(resource_templates=list(RESOURCE_TEMPLATES))

    async def read_resource(self, ctx: Context, params: types.ReadResourceRequestParams) -> types.ReadResourceResult:
        """One resource's text; unknown and forbidden look the same."""
        text = None
        if len(params.uri) <= URI_CHARS_MAX:
            text = await self._front.read_resource(self._caller_of(ctx).principal, params.uri)
        if text is None:
            said = "There is no such resource for you. resources/list names them."
            raise MCPError(types.INVALID_PARAMS, said, {"uri": params.uri[:URI_CHARS_MAX]})
        contents = types.TextResourceContents(uri=params.uri, mime_type="text/markdown", text=text)
        return types.ReadResourceResult(contents=[contents])

    async def list_prompts(
        self, _ctx: Context, _params: types.PaginatedRequestParams | None
    ) -> types.ListPromptsResult:
        """The runbooks."""
        return types.ListPromptsResult(prompts=[runbooks.prompt_of(book) for book in runbooks.RUNBOOKS])

    async def get_prompt(self, _ctx: Context, params: types.GetPromptRequestParams) -> types.GetPromptResult:
        """One runbook, written out."""
        book = runbooks.find(params.name)
        if book is None:
            known = ", ".join(entry.name for entry in runbooks.RUNBOOKS)
            raise MCPError(types.INVALID_PARAMS, f"There is no such prompt. There are: {known}.")
        return runbooks.written_out(book)
