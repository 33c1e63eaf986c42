"""Uploads a trained network to the Hugging Face Hub, by huggingface_hub."""

import contextlib
import pathlib
from collections.abc import Iterator, Sequence

from mn_jax.errors import InputError, RunError
from mn_jax.weights import hub

_TOKEN = "HF_TOKEN of an account that may write to it, or `hf auth login`"


def upload(
  repository: str, folder: pathlib.Path, names: Sequence[str], *, public: bool
) -> str:
  """Uploads files as one commit; the repository is created if need be.

  Args:
    repository: 'OWNER/NAME'.
    folder: of the files.
    names: of the files; no others are read.
    public: whether everybody may see the repository.

  Returns:
    The commit.

  Raises:
    InputError: if the library is not installed, the hub refuses, or the
      repository is there and public, and should not be.
    RunError: if the connection breaks off.
  """
  try:
    import huggingface_hub
  except ImportError:
    raise InputError(
      f"--to: got hf:{repository}, which needs the package huggingface_hub; "
      "valid: after pip install '.[hub]' in a checkout"
    ) from None
  with _explained(repository):
    api = huggingface_hub.HfApi()
    api.create_repo(repository, private=not public, exist_ok=True)
    is_private = api.model_info(repository).private
  if not (is_private or public):
    raise InputError(
      f"--to: got hf:{repository}, which everybody may see; valid: --public "
      "too, or a private repository"
    )
  with _explained(repository):
    commit = api.upload_folder(
      repo_id=repository,
      folder_path=folder,
      allow_patterns=list(names),
      commit_message="Upload a network trained with mn_jax",
    )
  return commit.oid


@contextlib.contextmanager
def _explained(repository: str) -> Iterator[None]:
  """Says in one line why nothing is uploaded.

  Raises:
    InputError: if the hub refuses.
    RunError: for whatever else goes wrong.
  """
  from huggingface_hub import errors

  got = f"--to: got hf:{repository}"
  try:
    with hub.quiet():
      yield
  except (errors.LocalTokenNotFoundError, errors.OfflineModeIsEnabled) as error:
    offline = isinstance(error, errors.OfflineModeIsEnabled)
    why = "while HF_HUB_OFFLINE is set" if offline else "without a token"
    valid = "without HF_HUB_OFFLINE" if offline else _TOKEN
    raise InputError(f"{got} {why}; valid: {valid}") from None
  except errors.HfHubHTTPError as error:
    status = error.response.status_code
    if status in (400, 401, 403, 404):
      raise InputError(
        f"{got}, which the hub refuses ({status}); valid: {_TOKEN}"
      ) from None
    raise RunError(
      f"hf:{repository} was not uploaded: the hub answers {status}"
    ) from None
  except Exception as error:
    # What connections raise is of another library, and not the same in each
    # version of it.
    raise RunError(
      f"hf:{repository} was not uploaded ({type(error).__name__}); the same "
      "command tries again"
    ) from None
