"""`odometer top`: the system and its usage, live in a terminal. Read only."""
# ruff: noqa: PLC0415, FBT002 - a command imports what it runs; its options are given by name

import asyncio
import time
from contextlib import suppress
from typing import Annotated

import typer
from rich.console import Console

from deploy.cli.options import (
    ApiKey,
    ApiUrl,
    AsJson,
    CatalogFile,
    DeadLetterTopic,
    Kafka,
    OfTenant,
    PricesFile,
    Redis,
    RedisEviction,
    Topic,
    read_api_key,
)
from deploy.cli.terminal import say_json
from deploy.errors import NotInstalled
from deploy.settings import read_settings
from schemas.errors import InvalidConfig

FRAME_EVERY_S = 2.0
BY = ("model", "agent", "user", "provider")


def top(
    from_: Annotated[
        str, typer.Option("--from", metavar="TIME", help="Totals and tables from this time on.")
    ] = "now-1h",
    by: Annotated[str, typer.Option(help=f"The first table: {', '.join(BY)}.")] = "model",
    tenant: OfTenant = None,
    once: Annotated[bool, typer.Option("--once", help="Print one frame and end.")] = False,
    kafka: Kafka = None,
    redis: Redis = None,
    redis_eviction: RedisEviction = None,
    topic: Topic = None,
    dead_letter_topic: DeadLetterTopic = None,
    prices_file: PricesFile = None,
    catalog_file: CatalogFile = None,
    api_url: ApiUrl = None,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """Watch the verdict, freshness, requests, cost, tokens, errors and latency, live.

    Tables by model, agent, user and provider sort, filter and drill down; pages show partitions, dead
    letters and keys. It changes nothing. Without a terminal it prints a plain frame every 2 s; `--once`
    prints one, and `--once --json` one as JSON. The state comes from Redis and Kafka as in `odometer
    status`, usage from the API.
    """
    from deploy.watch.asking import Api
    from deploy.watch.frames import frame
    from deploy.watch.snapshot import TopQuestion, read_snapshot
    from schemas.responses.status import known_members

    if by not in BY:
        raise InvalidConfig(f"--by is {by!r}; it must be one of {', '.join(BY)}.")
    if as_json and not once:
        raise InvalidConfig("--json needs --once: one frame is one JSON document.")
    settings = read_settings(
        kafka=kafka,
        redis=redis,
        redis_eviction=redis_eviction,
        topic=topic,
        dead_letter_topic=dead_letter_topic,
        prices_file=prices_file,
        catalog_file=catalog_file,
        api_url=api_url,
        api_key=api_key,
    )
    api = Api(settings.api_url, read_api_key(settings))
    question = TopQuestion(from_, by, {}, tenant)
    console = Console()
    if console.is_terminal and not once:
        try:
            from deploy.watch.top_app import TopApp
        except ModuleNotFoundError as error:
            raise NotInstalled(
                f"`odometer top` needs the package {error.name}: pip install '.[top]'. `odometer top"
                " --once` needs none."
            ) from error
        TopApp(settings, api, question).run()
        return
    with suppress(KeyboardInterrupt):
        while True:
            found = asyncio.run(read_snapshot(settings, api, question))
            if as_json:
                say_json(found.model_dump(mode="json") | {"status": known_members(found.status)})
            else:
                console.print(frame(found))
            if once:
                return
            time.sleep(FRAME_EVERY_S)
