"""`odometer config`: which settings apply, and where each comes from."""
# ruff: noqa: FBT002 - its options are given by name

from typing import Any

from deploy.cli.options import AsJson
from deploy.cli.terminal import say_json, say_line
from deploy.setting_sources import SECRETS, origin, unknown_variables
from deploy.settings import Settings, hide_password, read_catalog, read_prices, read_settings


def config(as_json: AsJson = False) -> None:
    """Show every setting, its value and what set it: its variable, the file of its secret, or the default.

    Passwords and keys are hidden. A wrong setting is an error that names it, and so is a price or catalog
    file that cannot be used. Variables that begin with ODOMETER_ and are no setting are listed: they are
    probably misspelled.
    """
    settings = read_settings()
    read_prices(settings)
    read_catalog(settings)
    rows = [
        {"setting": name, "value": visible(name, getattr(settings, name)), "from": origin(name)}
        for name in Settings.model_fields
    ]
    unknown = unknown_variables(Settings)
    if as_json:
        say_json({"settings": rows, "unknown_variables": unknown})
        return
    for row in rows:
        value = "none" if row["value"] in {None, ""} else row["value"]
        say_line(f"{row['setting']:<20} {value}  [{row['from']}]")
    if unknown:
        say_line(f"These variables are no settings: {', '.join(unknown)}. Are they misspelled?")


def visible(name: str, value: Any) -> Any:  # noqa: ANN401  as the setting
    """Return a value as it may be shown, in JSON or on a terminal."""
    if name in SECRETS and value:
        return hide_password(value) if "://" in value else "***"
    return value if value is None or isinstance(value, int | float | bool) else str(value)
