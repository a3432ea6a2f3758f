"""The parameters of Open WebUI's analytics, parsed as its own server parses them.

Each endpoint has a model. Unknown parameters are ignored, and of a repeated one the last value is used.
Where its server accepts any text (`granularity`, `metric`, `order_by`, `direction`), an unknown text
means the default.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, tzinfo
from typing import Annotated, Final, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import PydanticCustomError
from starlette.datastructures import QueryParams

from api.openwebui.errors import BadRange, InvalidQuery
from api.query.answered_range import answered_range
from api.query.kept_range import last_misfit_ms
from api.query.plan import Plan, finest_kept
from api.query.time_buckets import DAILY, HOURLY, Step, starts_of, zone_of
from schemas.limits import AHEAD_MS_MAX, DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS
from schemas.tiers import DAY, HOUR, QUARTER, kept_from
from schemas.units import iso

STEPS: Final = {
    "daily": DAILY,
    "hourly": HOURLY,
    "10m": Step("10m", 10 * MINUTE_MS, 10 * MINUTE_MS),
    "3h": Step("3h", 3 * HOUR_MS, 3 * HOUR_MS),
    "6h": Step("6h", 6 * HOUR_MS, 6 * HOUR_MS),
}
LISTED_MAX: Final = 10_000
"""Users in one answer: its server has no limit; these are 2 MB."""
PAGE_MAX: Final = 100
"""Chats or messages of one answer, as at its server."""
SKIP_MAX: Final = 10**9
DAYS_MAX: Final = DAY.kept_ms // DAY_MS
"""Ratings are kept that long."""

P = TypeVar("P", bound=BaseModel)


def _zone_name(name: str) -> str:
    if zone_of(name) is None:
        raise PydanticCustomError(
            "timezone", "Input should be an IANA time zone such as Europe/Berlin"
        )
    return name


class RangeParameters(BaseModel):
    """Bounds are seconds since 1970; 0 is none."""

    model_config = ConfigDict(frozen=True, extra="ignore", protected_namespaces=())

    start_date: int | None = None
    end_date: int | None = None

    @property
    def from_ms(self) -> int:
        """The start of the range; 0 without one."""
        return (self.start_date or 0) * SECOND_MS

    @property
    def is_bounded(self) -> bool:
        return bool(self.start_date and self.end_date)

    def to_ms(self, now_ms: int) -> int:
        """The end of the range; without one, a time after everything that can be counted."""
        return self.end_date * SECOND_MS if self.end_date else now_ms + 2 * AHEAD_MS_MAX

    def covered_ms(self, now_ms: int) -> tuple[int, int]:
        """The range that an answer covers."""
        return answered_range(self.from_ms, self.to_ms(now_ms), now_ms)


class GroupParameters(RangeParameters):
    group_id: str = ""


class UsersParameters(GroupParameters):
    limit: Annotated[int, Field(ge=0, le=LISTED_MAX)] = 50
    metric: str = "messages"


class DailyParameters(GroupParameters):
    granularity: str = "daily"
    metric: str = "messages"
    compare: bool = False
    tz: Annotated[str, AfterValidator(_zone_name)] = "UTC"

    @property
    def step(self) -> Step:
        return STEPS.get(self.granularity, DAILY)

    @property
    def zone(self) -> tzinfo:
        return zone_of(self.tz) or UTC


class ChatsParameters(RangeParameters):
    skip: Annotated[int, Field(ge=0, le=SKIP_MAX)] = 0
    limit: Annotated[int, Field(ge=0, le=PAGE_MAX)] = 50
    order_by: str = "updated_at"
    direction: str = "desc"


class MessagesParameters(RangeParameters):
    model_id: str = ""
    user_id: str = ""
    chat_id: str = ""
    skip: Annotated[int, Field(ge=0, le=SKIP_MAX)] = 0
    limit: Annotated[int, Field(ge=0, le=PAGE_MAX)] = 50


class OverviewParameters(BaseModel):
    """No bounds: ratings end today, and tags are those of all chats of the model."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    days: Annotated[int, Field(le=DAYS_MAX)] = 30


def parse(model: type[P], params: QueryParams) -> P:
    """The parameters. Raises InvalidQuery with all that is wrong, as its server reports it."""
    try:
        return model.model_validate(dict(params))
    except ValidationError as error:
        found = error.errors(include_url=False)
        raise InvalidQuery([{**one, "loc": ["query", *one["loc"]]} for one in found]) from error


def series_bounds(asked: DailyParameters, now_ms: int) -> tuple[int, int]:
    """The range of a series in ms; raises BadRange if its buckets are not kept.

    Without a start, a zone other than UTC begins where quarters of an hour do: they make the days of
    every zone.
    """
    from_ms, to_ms = asked.covered_ms(now_ms)
    if not asked.start_date and asked.zone is not UTC:
        from_ms = min(kept_from(QUARTER, DAY, now_ms), to_ms)
    if from_ms < to_ms:
        check_kept(asked, from_ms, to_ms, now_ms)
    return from_ms, to_ms


def check_kept(asked: DailyParameters, start_ms: int, end_ms: int, now_ms: int) -> None:
    """Raise BadRange if days and hours of a time zone are not kept that far back."""
    if asked.zone is UTC:
        return
    starts_ms = starts_of(asked.step, asked.zone, start_ms, end_ms)
    is_old = (start_ms < starts_ms) & (starts_ms < kept_from(QUARTER, HOUR, now_ms))
    misfit_ms = last_misfit_ms(starts_ms[is_old], now_ms)
    if misfit_ms is not None:
        has_hours = finest_kept(misfit_ms, now_ms) is not DAY
        edge_ms = kept_from(QUARTER, HOUR, now_ms) if has_hours else kept_from(HOUR, DAY, now_ms)
        raise BadRange(
            f"Before {iso(edge_ms)} only {'hours' if has_hours else 'days'} in UTC are kept: ask for a"
            " later start_date, or leave tz out"
        )


def check_read(asked: DailyParameters, planned: Sequence[Plan], read: Sequence[Plan]) -> None:
    """Raise BadRange if a zone's days were made of days in UTC: counters that a rebuild copied may have
    no hours (`Meta.hours_from_ms`)."""
    changed = [found for wanted, found in zip(planned, read, strict=True) if found is not wanted]
    coarse_ms = max([one.split_days_end_ms for one in changed], default=0)
    if asked.zone is not UTC and coarse_ms:
        raise BadRange(
            f"Before {iso(coarse_ms)} only days in UTC are kept: ask for a later start_date, or leave"
            " tz out"
        )
