"""The bodies of the native API under `/v1`. Pure.

A row's keys are data: `time` where there is a granularity, the dimensions of `group_by`, `other`
where there is a limit, and the measures; so rows are made as plain objects and not as models.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

Cell = str | bool | int | float | None
Number = int | float | None


class NativeBody(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, extra="forbid", populate_by_name=True)


class Range(NativeBody):
    """The instants that are covered, `to` exclusive: bounds go up to the grid kept at their age."""

    from_: str = Field(alias="from", description="First instant, ISO 8601.")
    to: str = Field(description="The instant after the last, ISO 8601.")


class Period(NativeBody):
    """The range before, where `compare=previous` is asked."""

    range: Range
    rows: list[dict[str, Cell]]
    totals: dict[str, Number]


class UsageAnswer(NativeBody):
    """`/v1/usage`."""

    range: Range
    granularity: str = Field(description="The step of the rows; `none` without a series.")
    tz: str
    group_by: list[str]
    measures: dict[str, str] = Field(description="Measure -> its unit, in the order of columns.")
    rows: list[dict[str, Cell]]
    totals: dict[str, Number] = Field(
        description="Over all rows and groups. A quotient is null where nothing was measured."
    )
    previous: Period | None = None
    estimates: dict[str, float] = Field(
        description="Measures that are estimates -> their relative error: the most it can be of a"
        " percentile, one standard error of a count of different values. All others are exact."
    )
    complete_through: str | None = Field(
        description="Every event that the broker acknowledged before this instant is counted, or"
        " among the dead letters. Null: nothing can be said yet."
    )
    history_from: str | None = Field(description="Before this instant events were lost, if any.")
    refused: list[str] = Field(description="Partitions (or `generation`) that are not counted on.")
    generation: int
    view: str = Field(description="The kept view that answered.")


class Value(NativeBody):
    value: str = Field(description='"" stands for "not reported".')
    events: int


class ValuesAnswer(NativeBody):
    """`/v1/dimensions/{name}`."""

    dimension: str
    range: Range
    values: list[Value] = Field(description="Most used first.")
    found: int = Field(description="Values that match, those beyond the limit included.")
    complete_through: str | None


class MeasureAbout(NativeBody):
    name: str
    unit: str
    kind: str = Field(description="sum, or ratio: null where nothing was measured.")
    about: str
    made_of: list[str] = Field(description="The kept measures it is made of.")
    views: list[str] = Field(description="The views that keep what it needs.")


class MeasuresAnswer(NativeBody):
    """`/v1/measures`."""

    measures: list[MeasureAbout]


class TierAbout(NativeBody):
    name: str
    bucket_s: int
    kept_s: int


class ViewAbout(NativeBody):
    name: str
    dimensions: list[str]
    measures: list[str]
    sketches: list[str] = Field(description="Histograms and sets that it keeps.")
    tiers: list[str] = Field(description="Those of its buckets, finest first.")
    series_max: int = Field(description="Series a tenant; what goes over it is in (other).")


class ViewsAnswer(NativeBody):
    """`/v1/views`."""

    views: list[ViewAbout]
    tiers: list[TierAbout]
    dimensions: list[str]


class Problem(BaseModel):
    """Every error: RFC 9457, `application/problem+json`."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")

    type: str = Field(description="A URI reference of /docs that explains this type of problem.")
    title: str
    status: int
    detail: str = Field(description="What was wrong with this request.")
    parameter: str | None = Field(default=None, description="The parameter it is about.")
    allowed: list[str] | None = Field(default=None, description="What would be accepted.")
    nearest: str | None = Field(default=None, description="The accepted one that looks most alike.")
