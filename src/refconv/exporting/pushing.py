"""A folder sent to a hub, by ``huggingface_hub``; what can go wrong there is one line each."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from refconv.errors import RefconvError, RunError, SettingError
from refconv.models.exported import needs

_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}")
_LOG_IN = "log in by hf auth login, or set HF_TOKEN to a token that may write"


def check_repository(name: str) -> None:
    """Check that a name is one of a repository, ``USER/NAME``."""
    if not _REPOSITORY.fullmatch(name):
        raise SettingError("not the name of a repository", where="push", expected="USER/NAME", found=repr(name))


def check_token(repository: str) -> None:
    """Make sure, before work begins, that there is a token for the hub; whether it may write is seen on pushing.

    Raises:
        RunError: if there is none.
        SettingError: if ``huggingface_hub`` is missing.
    """
    if not needs("huggingface_hub", "export").get_token():
        raise _without_token(repository)


def push(folder: Path, repository: str, *, private: bool, force: bool) -> str:
    """Make a repository and send a folder to it in one commit; return its address.

    Args:
        folder: the folder.
        repository: ``USER/NAME``.
        private: whether only its owner may see the repository; of one that exists, nothing is changed.
        force: add a commit to a repository that exists.

    Raises:
        RunError: if the hub cannot be reached, refuses the token, or has such a repository already.
        SettingError: if ``huggingface_hub`` is missing.
    """
    hub = needs("huggingface_hub", "export")
    # Read at each call, so that a hub of one's own can be chosen in a running program.
    api = hub.HfApi(endpoint=os.environ.get("HF_ENDPOINT") or None, library_name="refconv")
    with _explained(hub, repository, api.endpoint):
        if api.repo_exists(repository):
            if not force:
                raise _exists(repository)
        else:
            api.create_repo(repository, private=private)
        done = api.upload_folder(repo_id=repository, folder_path=folder, commit_message="A model from refconv export")
    return str(getattr(done, "commit_url", "") or f"{api.endpoint}/{repository}")


def _without_token(repository: str) -> RunError:
    return RunError("no token for the hub", where=f"push {repository}", remedy=_LOG_IN)


def _exists(repository: str) -> RunError:
    remedy = "give another name, or --force to add a commit to it, in Python force=True"
    return RunError("the repository exists already", where=f"push {repository}", remedy=remedy)


@contextmanager
def _explained(hub: Any, repository: str, endpoint: str) -> Iterator[None]:
    where = f"push {repository}"
    try:
        yield
    except RefconvError:
        raise
    except hub.errors.LocalTokenNotFoundError as error:
        raise _without_token(repository) from error
    except hub.errors.HfHubHTTPError as error:
        raise _of_answer(error, repository, where) from error
    except ValueError as error:  # huggingface_hub has the hub look at the card before it sends anything
        found = " ".join(str(error).split())
        raise RunError("the hub does not take the card", where=where, found=found, remedy="edit README.md") from error
    # Requests, httpx and sockets have families of errors of their own; most of these are OSErrors.
    except Exception as error:
        if not (isinstance(error, OSError) or _is_of_network(error)):
            raise
        found = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0][:200]}"
        remedy = "check the network, or HF_ENDPOINT"
        raise RunError(f"the hub at {endpoint} cannot be reached", where=where, found=found, remedy=remedy) from error


def _is_of_network(error: BaseException) -> bool:
    return type(error).__module__.startswith(("httpx", "httpcore", "requests", "urllib3"))


def _of_answer(error: Any, repository: str, where: str) -> RunError:
    """Return what an answer of the hub means."""
    status = getattr(error.response, "status_code", None)
    said = getattr(error, "server_message", None) or str(error).strip().splitlines()[0]
    if status == 401:
        return RunError("the hub does not accept the token", where=where, found=said, remedy=_LOG_IN)
    if status == 403:
        remedy = f"take a token that may write to {repository.partition('/')[0]}, or another repository"
        return RunError("the token may not write there", where=where, found=said, remedy=remedy)
    if status == 409:
        return _exists(repository)
    return RunError("the hub refuses", where=where, found=f"{status}: {said}", remedy="try again later")
