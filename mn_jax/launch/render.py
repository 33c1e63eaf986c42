"""Renders a job as the file of an engine; all quoting is done here.

Templates get values, not text made of them: whatever a value holds, it reaches
a shell through the filter `sh`, and YAML through the filter `yaml`.
"""

import functools
import json
import pathlib
import re
import shlex
from typing import Any

import jinja2

from mn_jax.launch.job import Job


def render(template: str, job: Job, **values: Any) -> str:
  """Returns the text of a file.

  Args:
    template: name of the template, in the folder of templates.
    job: what to run.
    values: further variables of the template.
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
    # A scalar as JSON writes it, which YAML reads.
    "yaml": functools.partial(json.dumps, ensure_ascii=False),
    "unexpanded": _unexpanded,
  }
  return environment


def _unexpanded(text: str) -> str:
  """Escapes an argument of a container for Kubernetes.

  Kubernetes replaces $(NAME) in arguments by a variable, and $$ by $.
  """
  return re.sub(r"\$+(?=\()|\${2,}", lambda match: match[0] * 2, text)
