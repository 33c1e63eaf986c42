"""Files of a model repository on the Hugging Face Hub, by huggingface_hub.

A repository has `model.safetensors` and timm's `config.json`. A branch is
resolved to a commit, both files are taken from it and kept in the library's own
cache (HF_HOME), and their content is compared with the checksums that the hub
states. The library reads the address (HF_ENDPOINT), the token (HF_TOKEN) and
HF_HUB_OFFLINE from the environment; none of them is printed or kept here.
"""

import contextlib
import dataclasses
import hashlib
import json
import logging
import pathlib
import re
import sys
from collections.abc import Iterator

from mn_jax.errors import InputError
from mn_jax.weights import exported, files, sources

PREFIX = "hf:"
_WEIGHTS, _CONFIG = files.FILE, sources.CONFIG
_NAME = re.compile(
  r"hf:(?P<repository>\w[\w.-]*/\w[\w.-]*)(@(?P<revision>\w[\w./-]*))?",
  re.ASCII,
)
_PICKLES = (".bin", ".pth", ".pt", ".ckpt", ".pkl")
# The hub's ETags: the SHA-256 of a large file, Git's SHA-1 of a small one.
_SHA256, _GIT = re.compile(r"[0-9a-f]{64}"), re.compile(r"[0-9a-f]{40}")
_COMMIT = _GIT
# Of the library, and of what it connects with.
_LOGGERS = ("huggingface_hub", "httpx", "httpx2")


@dataclasses.dataclass(frozen=True)
class Repository:
  """A model repository of the hub, at a revision.

  Attributes:
    name: 'owner/name'.
    revision: a branch, a tag or a commit.
  """

  name: str
  revision: str = "main"


@dataclasses.dataclass(frozen=True)
class Fetched:
  """Weights of a repository in the cache.

  Attributes:
    path: of `model.safetensors`.
    commit: that it is of.
    note: why this may not be the newest commit, or ''.
  """

  path: pathlib.Path
  commit: str
  note: str


def parse(name: str, field: str = "model.weights") -> Repository:
  """Reads 'hf:OWNER/NAME' or 'hf:OWNER/NAME@REVISION'.

  Args:
    name: what to read.
    field: what it is given as, for errors.

  Raises:
    InputError: if it is neither.
  """
  match = _NAME.fullmatch(name)
  if match is None or ".." in name or "--" in match["repository"]:
    raise InputError(
      f"{field}: got {name!r}; valid: hf:OWNER/NAME, or "
      "hf:OWNER/NAME@REVISION with a branch, a tag or a commit"
    )
  return Repository(match["repository"], match["revision"] or "main")


def fetch(name: str, *, revision: str = "") -> Fetched:
  """Returns a repository's weights in the cache, downloaded if need be.

  Timm's config.json lies beside the file.

  Args:
    name: 'hf:OWNER/NAME' or 'hf:OWNER/NAME@REVISION'.
    revision: commit to use instead, as a run that resumes has it; '' for that
      of the name.

  Raises:
    InputError: if the library is not installed, the hub cannot be reached and
      the files are not in its cache, the repository is not there or not
      public, has no such files, or what came is not what the hub states.
  """
  repository = parse(name)
  if revision:
    repository = dataclasses.replace(repository, revision=revision)
  config, note = _file(name, repository, _CONFIG)
  _check_config(name, config)
  at_commit = dataclasses.replace(repository, revision=config.parent.name)
  path, _ = _file(name, at_commit, _WEIGHTS)
  return Fetched(path, at_commit.revision, note)


def _file(
  name: str, repository: Repository, file: str
) -> tuple[pathlib.Path, str]:
  """Returns a file in the cache, in a folder of its commit, and a note."""
  try:
    import huggingface_hub
  except ImportError:
    raise _refused(
      name,
      "needs the package huggingface_hub",
      "after pip install '.[hub]' in a checkout",
    ) from None
  revision = repository.revision
  asked = {"repo_id": repository.name, "filename": file, "revision": revision}
  # What is asked for by its commit needs no connection.
  cached = huggingface_hub.try_to_load_from_cache(**asked)
  is_there, note = isinstance(cached, str), ""
  if not (is_there and _COMMIT.fullmatch(revision)):
    try:
      cached = _download(name, repository, file)
    except _UnreachableError as error:
      if not is_there:
        raise _refused(name, *_unreachable(repository, str(error))) from None
      note = f"{error}; {name} is what its cache has"
  path = pathlib.Path(cached)
  _check_content(name, path)
  return path, note


def _download(name: str, repository: Repository, file: str) -> str:
  """Downloads a file of at most so many bytes; returns its path in the cache.

  Raises:
    _UnreachableError: without a connection.
    InputError: for whatever else the hub answers.
  """
  import huggingface_hub

  place = (repository.name, file)
  with _explained(name, repository, file):
    url = huggingface_hub.hf_hub_url(*place, revision=repository.revision)
    # By default the library would try for half a minute.
    stated = huggingface_hub.get_hf_file_metadata(url)
  size = stated.size or 0
  if size > files.MAX_BYTES:
    raise _refused(
      name,
      f"has a {file} of {size:,} bytes",
      f"up to {files.MAX_BYTES:,}, as networks here are smaller",
    )
  with _explained(name, repository, file):
    return huggingface_hub.hf_hub_download(*place, revision=repository.revision)


class _UnreachableError(Exception):
  """There is no connection to the hub."""


@contextlib.contextmanager
def quiet() -> Iterator[None]:
  """Silences the library, whose lines have addresses with signatures.

  Its progress bars are shown in a terminal alone.
  """
  from huggingface_hub import utils

  hides_bars = not (sys.stderr.isatty() or utils.are_progress_bars_disabled())
  if hides_bars:
    utils.disable_progress_bars()
  loggers = [logging.getLogger(name) for name in _LOGGERS]
  levels = [logger.level for logger in loggers]
  for logger in loggers:
    logger.setLevel(logging.CRITICAL)
  try:
    yield
  finally:
    for logger, level in zip(loggers, levels, strict=True):
      logger.setLevel(level)
    if hides_bars:
      utils.enable_progress_bars()


@contextlib.contextmanager
def _explained(name: str, repository: Repository, file: str) -> Iterator[None]:
  """Says in one line why a file does not come; the library stays silent.

  Raises:
    _UnreachableError: without a connection.
    InputError: for whatever else the hub answers.
  """
  from huggingface_hub import errors

  page = f"https://huggingface.co/{repository.name}"
  whose = "with HF_TOKEN of an account that may read it"
  try:
    with quiet():
      yield
  except errors.GatedRepoError:
    raise _refused(
      name, "is gated", f"once its terms are accepted on {page}, {whose}"
    ) from None
  except errors.RepositoryNotFoundError:
    raise _refused(
      name,
      "the hub does not have, or not for everybody",
      f"OWNER/NAME of a model repository, {whose} if it is private",
    ) from None
  except errors.RevisionNotFoundError:
    raise _refused(
      name,
      f"has no revision {repository.revision!r}",
      "one of its branches, tags or commits",
    ) from None
  except errors.RemoteEntryNotFoundError:
    raise _refused(name, *_missing(repository, file)) from None
  except errors.OfflineModeIsEnabled:
    raise _UnreachableError("HF_HUB_OFFLINE is set") from None
  except errors.HfHubHTTPError as error:
    status = error.response.status_code
    if status in (401, 403):
      raise _refused(
        name, f"the hub refuses ({status})", f"the same, {whose}"
      ) from None
    raise _UnreachableError(f"the hub answers {status}") from None
  except Exception as error:
    # What connections raise is of another library, and not the same in each
    # version of it.
    kind = type(error).__name__
    if "Connect" in kind or "Timeout" in kind:
      raise _UnreachableError(f"the hub cannot be reached ({kind})") from None
    raise _refused(
      name,
      f"did not come whole ({kind})",
      "the same, once the connection holds and the disk has room",
    ) from None


def _missing(repository: Repository, file: str) -> tuple[str, str]:
  """Says why a repository without one of the files is of no use."""
  import huggingface_hub

  valid = f"a repository with {_WEIGHTS} and timm's {_CONFIG}"
  names = []
  with contextlib.suppress(Exception):  # only the message is poorer then
    names = huggingface_hub.HfApi().list_repo_files(
      repository.name, revision=repository.revision
    )
  pickles = [n for n in names if n.endswith(_PICKLES)]
  if pickles and _WEIGHTS not in names:
    return (
      f"has only pickles ({pickles[0]}), which could run code when they are "
      "read",
      valid,
    )
  if f"{_WEIGHTS}.index.json" in names:
    return f"has its weights in several files instead of {_WEIGHTS}", valid
  return f"has no {file}", valid


def _unreachable(repository: Repository, why: str) -> tuple[str, str]:
  """Says what to put where when there is no connection."""
  from huggingface_hub import constants

  revision = ""
  if repository.revision != "main":
    revision = f" --revision {repository.revision}"
  return (
    f"is not in {constants.HF_HUB_CACHE}, and {why}",
    f"that folder from a machine with a connection, after `hf download "
    f"{repository.name} {_WEIGHTS} {_CONFIG}{revision}` there",
  )


def _check_content(name: str, path: pathlib.Path) -> None:
  """Compares a file with the hub's checksum, by which the cache names it.

  Raises:
    InputError: if it is another, and it is deleted then; or if there is none.
  """
  stated = path.readlink().name if path.is_symlink() else ""
  if _SHA256.fullmatch(stated):
    actual = files.sha256(path)
  elif _GIT.fullmatch(stated):
    content = path.read_bytes()
    header = f"blob {len(content)}\0".encode()
    # Git's own name of the content; nothing rests on it but damage.
    actual = hashlib.sha1(header + content, usedforsecurity=False).hexdigest()
  else:
    raise _refused(
      name,
      f"has no checksum for {path.name} in the cache {path.parent}",
      "a cache of huggingface_hub with symbolic links",
    )
  if actual != stated:
    path.resolve().unlink(missing_ok=True)
    path.unlink(missing_ok=True)
    raise _refused(
      name,
      f"has another {path.name} than the hub states ({actual[:16]} instead of "
      f"{stated[:16]})",
      "the same again (what came is deleted)",
    )


def _check_config(name: str, path: pathlib.Path) -> None:
  """Refuses a config.json without timm's fields, before weights are fetched.

  Raises:
    InputError: if it gives no normalisation, in timm's way or in our own.
  """
  try:
    content = json.loads(path.read_bytes())
    if exported.FIELD in content or (
      isinstance(content["architecture"], str) and content["pretrained_cfg"]
    ):
      return
  except (OSError, ValueError, KeyError, TypeError, RecursionError):
    pass
  raise _refused(
    name,
    "has a config.json that is not timm's, without architecture and "
    "pretrained_cfg",
    "a repository in timm's layout",
  )


def _refused(name: str, reason: str, valid: str) -> InputError:
  return InputError(
    f"model.weights: got {name!r}, which {reason}; valid: {valid}"
  )
