"""What goes wrong on the Hugging Face Hub, in one line that says what to do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from mambairv2.installation import install_extra
from mambairv2.weights.errors import WeightsError

LOG_IN = "log in by `hf auth login`, or set HF_TOKEN"


@contextmanager
def explained(what: str, remedy: str = "") -> Iterator[None]:
    """Turn the errors of huggingface_hub, and its absence, into WeightsError.

    what: what is fetched or uploaded. remedy: what helps whatever went wrong, as the end of the line.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "huggingface_hub":
            raise
        needs = f"needs huggingface-hub, which is not installed; {install_extra('hub')}"
        raise WeightsError(f"{what}: {needs}{remedy}") from None
    except WeightsError as error:
        raise WeightsError(f"{error}{remedy}") from None
    except (AssertionError, MemoryError, TypeError):
        raise
    except Exception as error:  # the HTTP client has classes of its own, which differ from version to version
        raise WeightsError(f"{what}: {_reason(error)}{remedy}") from error


def _reason(error: Exception) -> str:
    """Return what happened and what to do, for errors that have a class of their own."""
    from huggingface_hub import errors

    if isinstance(error, errors.GatedRepoError):
        return f"its owner asks you to accept terms; do so on its page, and {LOG_IN}"
    if isinstance(error, errors.RepositoryNotFoundError):
        return f"there is no such repository on the Hub, or it is private; check the name, or {LOG_IN}"
    if isinstance(error, errors.RevisionNotFoundError):
        return "there is no such branch, tag or commit; look at its page"
    if isinstance(error, errors.HFValidationError):
        return f"is no name of a repository ({short(error)})"
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status in (401, 403):
        return f"the Hub does not allow it ({status}); {LOG_IN}, with a token that may write"
    return short(error) if isinstance(error, ValueError) else f"{short(error)}; try again"


def short(error: Exception) -> str:
    """Return the class of an error and the start of its message, in one line."""
    words = " ".join(str(error).split())
    return f"{type(error).__name__}: {words[:200]}" if words else type(error).__name__
