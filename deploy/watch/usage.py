"""`odometer usage`: a table of `/v1/usage`."""
# ruff: noqa: PLC0415, FBT002 - a command imports what it runs; its options are given by name

import json
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table

from deploy.cli.options import ApiKey, ApiUrl, AsJson, OfTenant, Watch, read_api_key
from deploy.cli.terminal import say, say_json, shown
from deploy.settings import read_settings
from schemas.errors import InvalidConfig

if TYPE_CHECKING:
    from deploy.watch.asking import Api

USAGE_PATH = "/v1/usage"
WATCH_EVERY_S = 2.0
MEASURES = "requests,errors,input_tokens,output_tokens,cost_usd"


def usage(
    by: Annotated[
        str,
        typer.Option(
            help="Dimensions of the rows, separated by commas: model, provider, agent, user, kind ..."
            " `none`: one row."
        ),
    ] = "model",
    from_: Annotated[
        str, typer.Option("--from", metavar="TIME", help="From this time on: now-7d, 2026-02-08.")
    ] = "now-7d",
    to: Annotated[str, typer.Option("--to", metavar="TIME", help="Until this time.")] = "now",
    measures: Annotated[
        str, typer.Option(help="Columns, separated by commas: GET /v1/measures lists all.")
    ] = MEASURES,
    granularity: Annotated[
        str, typer.Option(help="One row for each bucket of time too: 1m, 1h, 1d, auto ...")
    ] = "none",
    filters: Annotated[
        list[str] | None,
        typer.Option("--filter", metavar="NAME=VALUE", help="Only this, such as agent=support."),
    ] = None,
    order_by: Annotated[
        str | None,
        typer.Option(help="Order of the rows, such as -cost_usd. [default: most requests]"),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="Rows; the others are one row, (other).")] = 20,
    tz: Annotated[str, typer.Option(help="Time zone of days and of `today`.")] = "UTC",
    tenant: OfTenant = None,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV instead of a table.")] = False,
    watch: Watch = False,
    api_url: ApiUrl = None,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """Show what was used: requests, tokens, cost and other measures by model, agent, user and others.

    It asks the API (`/v1/usage`, described in api/README.md), so the key decides which tenant is shown. The
    last lines say which time is covered, and through when events are counted.
    """
    from deploy.watch.asking import Api

    if as_csv + as_json + watch > 1:
        raise InvalidConfig("--csv, --json and --watch exclude each other: give one of them.")
    settings = read_settings(api_url=api_url, api_key=api_key)
    parameters = {"from": from_, "to": to, "measures": measures, "tz": tz}
    parameters |= {"granularity": granularity}
    if by != "none":
        parameters |= {"group_by": by, "limit": str(limit)}
        parameters["order_by"] = order_by or f"-{measures.partition(',')[0]}"
    if tenant is not None:
        parameters["tenant"] = tenant
    for text in filters or ():
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise InvalidConfig(
                f"--filter is {text!r}; it must be NAME=VALUE, such as agent=support."
            )
        if name in parameters:
            raise InvalidConfig(f"--filter {text!r}: {name} is no dimension.")
        parameters[name] = value
    api = Api(settings.api_url, read_api_key(settings))
    if as_csv:
        text = api.get(USAGE_PATH, parameters | {"format": "csv"}).decode()
        say("\n".join(text.splitlines()))
    elif watch:
        _watch(api, parameters)
    else:
        answer = asked(api, parameters)
        if as_json:
            say_json(answer)
        else:
            Console().print(render_usage(answer))


def asked(api: "Api", parameters: Mapping[str, str]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(api.get(USAGE_PATH, parameters))
    return found


def _watch(api: "Api", parameters: Mapping[str, str]) -> None:
    from deploy.watch.asking import ApiUnreachable

    with suppress(KeyboardInterrupt), Live(console=Console(), auto_refresh=False) as live:
        while True:
            shown_now: RenderableType
            try:
                shown_now = render_usage(asked(api, parameters))
            except ApiUnreachable as away:
                shown_now = shown(str(away), "red")
            live.update(shown_now, refresh=True)
            time.sleep(WATCH_EVERY_S)


def render_usage(answer: Mapping[str, Any]) -> RenderableType:
    units: Mapping[str, str] = answer["measures"]
    has_time = answer["granularity"] != "none"
    names = [*(["time"] if has_time else []), *answer["group_by"]]
    table = Table(show_footer=bool(answer["rows"]) and len(names) > 0)
    for place, name in enumerate(names):
        footer = shown("total") if place == 0 else shown("")
        table.add_column(shown(name), overflow="fold", footer=footer)
    for name, unit in units.items():
        total = shown(number(answer["totals"].get(name), unit))
        table.add_column(shown(name), justify="right", no_wrap=True, footer=total)
    for row in answer["rows"]:
        table.add_row(
            *(shown(cell_of(row, name)) for name in names),
            *(shown(number(row.get(name), unit)) for name, unit in units.items()),
        )
    covered = answer["range"]
    lines = [f"{covered['from']} to {covered['to']}"]
    through = answer["complete_through"]
    lines.append(f"counted through {through}" if through else "nothing is counted yet")
    if answer["refused"]:
        lines.append(f"not counted: {', '.join(answer['refused'])}; see odometer status")
    return Group(table, *(shown(line) for line in lines))


def cell_of(row: Mapping[str, Any], name: str) -> str:
    """A dimension's value, (other), or - where it was not reported."""
    if name == "time":
        return str(row["time"])
    return "(other)" if row.get("other") else str(row[name] or "-")


def number(value: float | None, unit: str) -> str:
    """A number for people. An unknown one is never 0."""
    if value is None:
        return "unknown" if unit == "USD" else "-"
    if unit == "USD":
        return f"{value:,.2f}" if value >= 1 else f"{value:.4f}"
    if unit == "share":
        return f"{value:.1%}"
    return f"{value:,}" if isinstance(value, int) else f"{value:,.1f}"


def sparkline(values: Sequence[float | None]) -> str:
    """A line of blocks, one for each value; a gap where there is none."""
    blocks = "▁▂▃▄▅▆▇█"
    most = max((value or 0 for value in values), default=0)
    if not most:
        return "".join(" " if value is None else blocks[0] for value in values)
    return "".join(
        " " if value is None else blocks[min(7, int(value / most * 7.999))] for value in values
    )
