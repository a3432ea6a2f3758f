"""The progress of a rebuild on a terminal."""

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from deploy.settings import Settings, read_catalog, read_prices, read_series_quota
from streams.rebuild.command import rebuild
from streams.rebuild.report import RebuildProgress, RebuildResult

HOUR_MS = 3_600_000


async def rebuild_with_progress(settings: Settings, console: Console) -> RebuildResult:
    """Run `streams.rebuild.command.rebuild` and show a progress bar if `console` is a terminal.

    Raises the same errors.
    """
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("reading the topic", total=None)

        def show(far: RebuildProgress) -> None:
            label = f"generation {far.generation}: {far.doing}"
            bar.update(task, description=label, completed=far.done, total=far.total or None)

        return await rebuild(
            settings.kafka,
            settings.redis,
            settings.topic,
            read_prices(settings),
            int(settings.replaced_hours * HOUR_MS),
            show,
            read_catalog(settings),
            redis_eviction=settings.redis_eviction,
            tenant_series=read_series_quota(settings),
        )
