"""`odometer size`: options, table and JSON."""
# ruff: noqa: FBT002 - options are given by name

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from deploy.cli.options import AsJson
from deploy.cli.terminal import say, say_json

AGENT_MODELS = 200
GB = 1e9


def size(
    events_per_s: Annotated[float, typer.Option(help="Events a second, on average.")],
    series: Annotated[
        int, typer.Option(help="Different combinations of user, agent and model in use.")
    ],
    tenants: Annotated[int, typer.Option(help="Tenants that send at the same time.")] = 1,
    agent_models: Annotated[
        int | None,
        typer.Option(
            help="Combinations of agent and model among the series: their percentiles are kept."
            f" [default: {AGENT_MODELS}, or --series if that is less]"
        ),
    ] = None,
    days: Annotated[
        float, typer.Option(help="For how many days the load has lasted; 1830 fill all tiers.")
    ] = 1830.0,
    event_bytes: Annotated[int, typer.Option(help="Bytes of an event in Kafka.")] = 700,
    kafka_days: Annotated[float, typer.Option(help="Retention of the topic.")] = 90.0,
    replicas: Annotated[int, typer.Option(help="Replicas of the topic.")] = 3,
    as_json: AsJson = False,
) -> None:
    """Estimate memory, file, CPU and network of a load. Nothing is read or sent.

    The figures are computed from constants that were measured, each with its source, in
    deploy/sizing/measured.py. CPU was measured while other work took both cores: a quiet machine takes
    less. Series are taken to have equally many events, which needs the most memory.
    Calls, chats and names of users are not included.
    """
    from deploy.sizing.estimate import Load, checked, estimate  # noqa: PLC0415

    load = checked(
        Load(
            events_per_s=events_per_s,
            series=series,
            tenants=tenants,
            agent_models=min(series, AGENT_MODELS) if agent_models is None else agent_models,
            days=days,
            event_bytes=event_bytes,
            kafka_days=kafka_days,
            replicas=replicas,
        )
    )
    needs = estimate(load)
    if as_json:
        say_json({"load": asdict(load), "needs": asdict(needs)})
        return
    rows = (
        ("installations", str(needs.installations)),
        ("Redis, memory", _bytes(needs.redis_bytes)),
        ("  ids of events", _bytes(needs.ids_bytes)),
        ("  counters", _bytes(needs.counters_bytes)),
        ("  percentiles", _bytes(needs.percentiles_bytes)),
        ("  names of series", _bytes(needs.names_bytes)),
        ("Redis, file at most", _bytes(needs.file_bytes)),
        ("Redis, file written", f"{_bytes(needs.file_bytes_per_s)}/s"),
        ("Redis, CPU", f"{needs.redis_cores:.2f} cores"),
        ("workers", f"{needs.workers:,}, {needs.events_a_commit:,} events a commit"),
        ("  CPU of all", f"{needs.worker_cores:.2f} cores"),
        ("  memory of all", _bytes(needs.worker_bytes)),
        ("Kafka, disk of all brokers", _bytes(needs.kafka_bytes)),
        ("network to Kafka, with replicas", f"{_bytes(needs.kafka_input_bytes_per_s)}/s"),
        ("network from Kafka to workers", f"{_bytes(needs.kafka_output_bytes_per_s)}/s"),
        ("network to Redis", f"{_bytes(needs.redis_input_bytes_per_s)}/s"),
    )
    say("\n".join([*(f"{name:34}{value}" for name, value in rows), *needs.notes]))


def _bytes(number: float) -> str:
    for unit, factor in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if number >= factor:
            return (
                f"{number / factor:,.3g} {unit}"
                if number < 1000 * factor
                else f"{number / factor:,.0f} {unit}"
            )
    return f"{number:.0f} B"
