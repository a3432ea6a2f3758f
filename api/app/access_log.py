"""A line for each request in the log `odometer.access`: who asked what, and the status of the answer.

A line has the route, such as `/v1/keys/{id}`, and not the path: paths contain ids of users
and models, and by mistake keys. Query strings and headers are not logged at all.
"""

from __future__ import annotations

import json
import logging
from typing import Final

from starlette.types import Message, Scope, Send

from api.http.caller import Caller

NO_ROUTE: Final = "-"

access_log = logging.getLogger("odometer.access")


def logged(scope: Scope, caller: Caller, send: Send) -> Send:
    """`send`, which also writes the line when the answer begins."""

    async def send_and_log(message: Message) -> None:
        if message["type"] == "http.response.start":
            access_log.info(
                '%s - "%s %s HTTP/%s" %d key=%s tenant=%s',
                caller.source or "-",
                scope["method"],
                getattr(scope.get("route"), "path", "") or NO_ROUTE,
                scope["http_version"],
                message["status"],
                caller.key_id or "-",
                # Quoted: a tenant may contain any character.
                json.dumps(caller.tenant, ensure_ascii=True) if caller.tenant else "-",
            )
        await send(message)

    return send_and_log
