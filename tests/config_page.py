"""The tables of docs/config.md, from the sections of the configuration.

`python -m tests.config_page` writes them below the line that says so.
"""

import dataclasses
import pathlib

from mn_jax.config import Config

PATH = pathlib.Path(__file__).parents[1] / "docs" / "config.md"
MARKER = "<!-- Below: written by `python -m tests.config_page`. -->\n"


def _value(value) -> str:
  return f"`{value!r}`" if isinstance(value, str) else f"`{value}`"


def _limits(item: dataclasses.Field) -> str:
  """The type of a field and the values that are valid."""
  choices, low, high = (
    item.metadata[key] for key in ("choices", "low", "high")
  )
  kind = type(item.default).__name__
  if choices:
    return ", ".join(f"`{choice}`" for choice in choices)
  if low is not None and high is not None:
    return f"{kind}, {low} to {high}"
  if low is not None:
    return f"{kind}, {low} or more"
  return kind


def _mark(item: dataclasses.Field) -> str:
  """What a resumed run may change is marked."""
  if not item.metadata["result"]:
    return " *"
  return " +" if item.metadata["later"] else ""


def _table(fields: list[tuple[str, dataclasses.Field]]) -> str:
  lines = ["| field | default | values | meaning |", "|---|---|---|---|"]
  lines += [
    f"| `{name}` | {_value(item.default)} | {_limits(item)} "
    f"| {item.metadata['doc'].replace('|', '&#124;')}{_mark(item)} |"
    for name, item in fields
  ]
  return "\n".join(lines) + "\n"


def tables() -> str:
  """A table of the fields of each section, in the order of the config."""
  config, top, parts = Config(), [], []
  for item in dataclasses.fields(config):
    section = getattr(config, item.name)
    if not dataclasses.is_dataclass(section):
      top.append((item.name, item))
      continue
    fields = [(f"{item.name}.{f.name}", f) for f in dataclasses.fields(section)]
    parts.append(
      f"## {item.name}\n\n{type(section).__doc__.splitlines()[0]}\n\n"
      f"{_table(fields)}"
    )
  return "\n".join([f"## The experiment\n\n{_table(top)}", *parts])


def page() -> str:
  """The text that docs/config.md should have."""
  return f"{PATH.read_text().partition(MARKER)[0]}{MARKER}\n{tables()}"


if __name__ == "__main__":
  PATH.write_text(page())
