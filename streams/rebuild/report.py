"""What a rebuild reports: its progress, and its result."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from schemas.units import iso


class RebuildProgress(BaseModel):
    """Progress: records read, records in total, and the current step."""

    model_config = ConfigDict(frozen=True)

    generation: int
    done: int
    total: int
    doing: str


class RebuildResult(BaseModel):
    """The result of a rebuild. `resumed`: an earlier rebuild had begun the generation. `older_ms`:
    buckets before it were copied from the old generation (0: none). `history_from_ms`: where not 0,
    the views and measures in `missing` have no history before it. `hours_from_ms`: where not 0, only
    days could be copied before it, no hours. `recognised_from_ms`: where not 0,
    ids were not copied: resends of events that were first appended before it count again."""

    model_config = ConfigDict(frozen=True)

    replaced: int
    generation: int
    resumed: bool
    events: int
    older_ms: int
    recognised_from_ms: int
    history_from_ms: int
    hours_from_ms: int
    missing: list[str]
    dropped_after_ms: int

    def sentence(self) -> str:
        said = [
            f"Generation {self.generation} answers now; {self.events} events were counted again from the topic.",
            f"Generation {self.replaced} is kept until {iso(self.dropped_after_ms)}.",
        ]
        if self.older_ms:
            said.append(
                f"Buckets before {iso(self.older_ms)} were copied from generation {self.replaced}: the"
                " topic no longer holds all of their records."
            )
        if self.recognised_from_ms:
            said.append(
                f"Generation {self.replaced} had no secret for its ids, so they could not be copied. Resends are"
                f" recognised from {iso(self.recognised_from_ms)} on. An event that was first appended earlier"
                " counts again if it is sent again; so may a call that goes on."
            )
        if self.missing:
            said.append(
                f"No history before {iso(self.history_from_ms)} for: {', '.join(self.missing)}. Answers"
                " report that date as history_from."
            )
        if self.hours_from_ms:
            said.append(
                f"Generation {self.replaced} had no hours to copy. Answers about the time before"
                f" {iso(self.hours_from_ms)} are made of days in UTC."
            )
        said.append(
            "Workers of this configuration continue by themselves. Restart the other workers and the "
            "API with this configuration."
        )
        return "\n".join(said)
