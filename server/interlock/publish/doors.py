"""Doors: what every HTTP request passes before it is served: Host, Origin, time for its body, its bearer token.

It keeps no session and never says more to a stranger than that he is one.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

import anyio
from mcp.server.auth.provider import AccessToken
from mcp.server.transport_security import TransportSecurityMiddleware, TransportSecuritySettings
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from interlock.ports import Front
from interlock.publish.incidents import Incidents
from interlock.settings import HttpSettings

TOKEN_CHARS_MAX = 512
LOOPBACK_NAMES = ("127.0.0.1", "localhost", "[::1]")


class ServeFault(Exception):
    """Interlock does not start to serve: what is wrong (`message`) and how to mend it (`hint`)."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(f"{message} {hint}")
        self.message = message
        self.hint = hint


def demand_safe(http: HttpSettings, default_principal: str) -> None:
    """Raise `ServeFault` where serving so would let strangers in."""
    if (http.tls_certificate is None) != (http.tls_key is None):
        raise ServeFault("TLS needs both a certificate and a key.", "Set http.tls_certificate and http.tls_key.")
    if not http.tokens and not default_principal:
        raise ServeFault(
            "Without tokens nobody knows who calls.",
            "Set http.tokens = true, or name the principal that loopback clients act for.",
        )
    if is_loopback(http.listen):
        return
    if not http.tokens:
        raise ServeFault(
            f"Listening on {http.listen} is open to other machines, and http.tokens is false.",
            "Set http.tokens = true and give each client one with 'interlock token create'.",
        )
    if http.tls_certificate is None:
        raise ServeFault(
            f"Listening on {http.listen} is open to other machines, and there is no TLS: tokens would travel readable.",
            "Set http.tls_certificate and http.tls_key, or listen on 127.0.0.1 behind a proxy that does TLS.",
        )


def is_loopback(listen: str) -> bool:
    """True where only this machine can connect. A name other than localhost is not trusted to stay loopback."""
    if listen == "localhost":
        return True
    try:
        return ipaddress.ip_address(listen.strip("[]")).is_loopback
    except ValueError:
        return False


def transport_security(http: HttpSettings) -> TransportSecuritySettings:
    """The Host and Origin headers that are served: the loopback names on any port, and what was configured."""
    loopback_origins = [f"{scheme}://{name}" for scheme in ("http", "https") for name in LOOPBACK_NAMES]
    return TransportSecuritySettings(
        enable_dns_rebinding_protection=True,
        allowed_hosts=_on_any_port([*LOOPBACK_NAMES, *http.hosts]),
        allowed_origins=[*_on_any_port(loopback_origins), *http.origins],
    )


def _on_any_port(names: Sequence[str]) -> list[str]:
    return [entry for name in names for entry in (name, f"{name}:*")]


class FrontTokens:
    """The library's token verifier, asking the house. A token that cannot be checked is no token."""

    def __init__(self, front: Front, incidents: Incidents) -> None:
        self._front = front
        self._incidents = incidents

    async def verify_token(self, token: str) -> AccessToken | None:
        """The principal behind a token, as `client_id`; the token itself is not kept."""
        if not token or len(token) > TOKEN_CHARS_MAX:
            return None
        try:
            principal = await self._front.token_principal(token)
        except Exception as fault:  # noqa: BLE001 — a store that cannot be asked refuses
            self._incidents.record(fault)
            return None
        return AccessToken(token="", client_id=principal, scopes=[]) if principal else None


class Door:
    """The outermost application: checks the headers, gives the body so much time, turns any fault into an id."""

    def __init__(
        self, app: ASGIApp, *, security: TransportSecuritySettings, incidents: Incidents, body_seconds: float
    ) -> None:
        self._app = app
        self._headers = TransportSecurityMiddleware(security)
        self._incidents = incidents
        self._body_seconds = body_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        # RFC 9110 5.5: blanks around a field's value are not part of it; httptools leaves those at its end.
        scope["headers"] = [(name, value.strip(b" \t")) for name, value in scope["headers"]]
        refused = await self._headers.validate_request(Request(scope), is_post=False)
        if refused is not None:
            await refused(scope, receive, send)
            return
        started = False

        async def watched(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self._app(scope, self._timely(receive), watched)
        except _BodyTooSlow:
            answer = JSONResponse({"error": "The request's body took too long."}, status_code=408)
        except Exception as fault:  # noqa: BLE001 — the last line before the client
            answer = JSONResponse({"error": f"Internal error {self._incidents.record(fault)}."}, status_code=500)
        else:
            return
        if not started:
            await answer(scope, receive, send)

    def _timely(self, receive: Receive) -> Receive:
        """`receive`, for which the whole body has to arrive within the limit; what comes after may take its time."""
        deadline = anyio.current_time() + self._body_seconds
        complete = False

        async def timely() -> Message:
            nonlocal complete
            if complete:
                return await receive()
            with anyio.move_on_after(deadline - anyio.current_time()):
                message = await receive()
                complete = message["type"] != "http.request" or not message.get("more_body", False)
                return message
            raise _BodyTooSlow

        return timely


class _BodyTooSlow(Exception):
    """The request's body did not arrive in time."""
