"""A job as a file of an engine, by a template; the one place that quotes.

Templates get values, never text made of them: a value reaches a shell through
the filter `sh` and YAML through `yaml`, whatever it holds.
"""

import json
import pathlib
import re
import shlex
from typing import Any

import jinja2

from mn_jax.launch.job import Job


def render(template: str, job: Job, **values: Any) -> str:
  """The text of a file.

  Args:
    template: its name in the folder of templates.
    job: what to run.
    values: what else the template names.
  """
  text = _environment().get_template(template).render(job=job, **values)
  return text.rstrip("\n") + "\n"


def _environment() -> jinja2.Environment:
  environment = jinja2.Environment(
    loader=jinja2.FileSystemLoader(
      pathlib.Path(__file__).with_name("templates")
    ),
    autoescape=False,  # shells and YAML, which have filters of their own
    trim_blocks=True,
    lstrip_blocks=True,
    undefined=jinja2.StrictUndefined,
  )
  environment.filters |= {
    "sh": shlex.quote,
    "yaml": _yaml,
    "unexpanded": _unexpanded,
  }
  return environment


def _yaml(value: str | int | bool) -> str:
  """A scalar of YAML, in the form that JSON shares with it."""
  return json.dumps(value, ensure_ascii=False)


def _unexpanded(text: str) -> str:
  """A container's argument as Kubernetes leaves it alone.

  It replaces $(NAME) in arguments by a variable, and $$ by $.
  """
  return re.sub(r"\$+(?=\()|\${2,}", lambda found: found[0] * 2, text)
