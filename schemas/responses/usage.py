"""The bodies of the native API under `/v1`. Pure.

The keys of a row depend on the query: `time` and `partial` with a granularity, the dimensions of
`group_by`, `other` with a limit or a comparison, and the measures. So rows are plain objects and not models.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

Cell = str | bool | int | float | None
Number = int | float | None


class NativeBody(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, extra="forbid", populate_by_name=True)


class Range(NativeBody):
    """The range that the answer covers: bounds go up to the grid that is kept at their age."""

    from_: str = Field(alias="from", description="The first instant that is covered, ISO 8601.")
    to: str = Field(description="The first instant that is no longer covered, ISO 8601.")
    counts_from: str | None = Field(
        default=None,
        description="Only where the range begins later than asked: the view was added without a rebuild"
        " and lacks events of before this instant.",
    )


class Period(NativeBody):
    """The range that is compared with, with `compare`. It has rows for the groups of the current range; the
    row whose `other` is true has the sums of all others."""

    range: Range
    rows: list[dict[str, Cell]]
    totals: dict[str, Number]


class ComparedMeasure(NativeBody):
    """A measure in both ranges. All is null where it is not known."""

    current: Number
    previous: Number
    change: Number
    percent: float | None = Field(description="Of `previous`. Null if that is 0 or null.")


class Comparison(NativeBody):
    """The change of each measure, with `compare`: for each group of the current range, and for the whole."""

    rows: list[dict[str, ComparedMeasure | Cell]]
    totals: dict[str, ComparedMeasure]


class WideColumnAbout(NativeBody):
    """A column of an answer with `layout=wide`."""

    name: str
    measure: str
    group: dict[str, str | None] | None = Field(
        description="The values of `group_by`. Null: all groups that are not shown."
    )


class QuestionAnswer(NativeBody):
    """What is answered to one question."""

    range: Range
    granularity: str = Field(description="The time step of the rows, or `none`.")
    tz: str
    group_by: list[str]
    measures: dict[str, str] = Field(
        description="Measure -> its unit, in the order of the columns."
    )
    groups: int | None = Field(
        default=None,
        description="With `group_by`: how many groups there are, on all pages. Of `having`, those that"
        " fulfil it.",
    )
    next_cursor: str | None = Field(
        default=None,
        description="With `group_by`: the `cursor` of the next page of groups. Null on the last one.",
    )
    is_changed: bool | None = Field(
        default=None,
        description="With `cursor`: whether counters of the range have changed since the first page. If"
        " so, a group may be on two pages or on none; each page is exact by itself.",
    )
    columns: list[WideColumnAbout] | None = Field(
        default=None, description="With `layout=wide`: what each column has, in order."
    )
    rows: list[dict[str, Cell]]
    totals: dict[str, Number] = Field(
        description="Over all rows and groups. A quotient is null where its divisor is 0."
    )
    previous: Period | None = None
    comparison: Comparison | None = None
    estimates: dict[str, float] = Field(
        description="Measures that are estimates -> their relative error: the largest error of a"
        " percentile, one standard error of a distinct count. All other measures are exact."
    )
    view: str = Field(description="The view that answered.")


class CountersState(NativeBody):
    """The state of the counters that an answer was read from."""

    complete_through: str | None = Field(
        description="Watermark: every event that Kafka acknowledged before this instant is counted or"
        " a dead letter. Null if that is not known yet."
    )
    history_from: str | None = Field(
        description="Events before this instant may be missing: records were lost. Null: none were."
    )
    refused: list[str] = Field(
        description="Partitions (or `generation`) that no worker counts at present. `odometer status` says why."
    )
    generation: int


class UsageAnswer(QuestionAnswer, CountersState):
    """`/v1/usage`."""


class SeveralAnswers(CountersState):
    """`POST /v1/usage` with `questions`: their answers in order, all of one instant."""

    answers: list[QuestionAnswer]


class Value(NativeBody):
    value: str = Field(description='The value; "" is "not reported".')
    events: int


class ValuesAnswer(NativeBody):
    """`/v1/dimensions/{name}`."""

    dimension: str
    range: Range
    values: list[Value] = Field(description="Most used first.")
    found: int = Field(description="Number of values that match, those beyond the limit included.")
    complete_through: str | None


class LatestCall(NativeBody):
    """A call to a model. An empty text and null: not reported."""

    id: str
    time: str
    provider: str
    model: str
    agent: str
    user: str
    input_tokens: int | None
    output_tokens: int | None
    cache_read_tokens: int | None
    cost_usd: float | None = Field(description="Null: no cost was sent, and no price is known.")
    latency_ms: int | None
    error: str | None


class CallsAnswer(NativeBody):
    """`/v1/calls`."""

    calls: list[LatestCall] = Field(description="Newest first, without their content.")


class MeasureAbout(NativeBody):
    name: str
    unit: str
    kind: str = Field(description="`sum`, or `ratio`: null where its divisor is 0.")
    about: str = Field(description="What is counted, from which field, and when it is null.")
    made_of: list[str] = Field(description="The kept measures that it is computed from.")
    views: list[str] = Field(description="The views that keep these measures.")


class MeasuresAnswer(NativeBody):
    """`/v1/measures`."""

    measures: list[MeasureAbout]


class TierAbout(NativeBody):
    name: str
    bucket_s: int
    kept_s: int


class ViewAbout(NativeBody):
    name: str
    is_counted: bool | None = Field(
        description="False: no worker has started with this view yet. Null: not known, as Redis does not"
        " answer or has no counters."
    )
    counts_from: str | None = Field(
        description="The view was added without a rebuild, and has all events since this instant. Null: it has"
        " all events of the counters."
    )
    dimensions: list[str]
    measures: list[str]
    sketches: list[str] = Field(description="The histograms and distinct sets that the view keeps.")
    tiers: list[str] = Field(description="The tiers that the view keeps, finest first.")
    series_max: int = Field(
        description="Limit of series per tenant. Further series are counted in (other)."
    )


class ViewsAnswer(NativeBody):
    """`/v1/views`."""

    views: list[ViewAbout]
    tiers: list[TierAbout]
    dimensions: list[str]


class Problem(BaseModel):
    """The body of every error: RFC 9457, `application/problem+json`."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")

    type: str = Field(description="A URI reference into /docs that explains this type of problem.")
    title: str
    status: int
    detail: str = Field(description="What is wrong with this request, and what to do.")
    parameter: str | None = Field(default=None, description="The parameter that is wrong.")
    allowed: list[str] | None = Field(default=None, description="The values that are allowed.")
    nearest: str | None = Field(default=None, description="The allowed value that is most similar.")
