"""Every setting of the service: environment variables with the prefix ``FOLDIN_``.

The only file that reads the environment, and the files that stand in for it: a secret that an
orchestrator mounts as ``/run/secrets/foldin_redis_url`` is ``FOLDIN_REDIS_URL``.
"""

import difflib
import math
import os
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self, final

import pydantic_settings
from pydantic import (
    AfterValidator,
    Field,
    ModelWrapValidatorHandler,
    ValidationError,
    model_validator,
)
from pydantic_core import PydanticCustomError
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SecretsSettingsSource,
    SettingsConfigDict,
)

from service.errors import SettingsError
from service.latents.redis_address import RedisAddress
from service.split import Split

PREFIX: Final = "FOLDIN_"
CGROUP_QUOTA: Final = Path("/sys/fs/cgroup/cpu.max")
SECRETS: Final = Path("/run/secrets")

# One or more sha256 digests in hex, with commas between them.
DIGESTS: Final = r"^\s*[0-9a-fA-F]{64}(\s*,\s*[0-9a-fA-F]{64})*\s*$"

Count = Annotated[int, Field(ge=1)]


def _usable(redis_url: str) -> str:
    try:
        RedisAddress.parse(redis_url)
    except SettingsError as error:
        raise PydanticCustomError("redis_url", "{reason}", {"reason": str(error)}) from None
    return redis_url


def _split(text: str) -> str:
    try:
        Split.parse(text)
    except SettingsError as error:
        raise PydanticCustomError("split", "{reason}", {"reason": str(error)}) from None
    return text


RedisUrl = Annotated[str, AfterValidator(_usable)]
SplitText = Annotated[str, AfterValidator(_split)]


@final
class _Secrets(SecretsSettingsSource):
    """Settings out of files, where there are any."""

    def __call__(self) -> dict[str, Any]:
        """Read them."""
        if not (self.secrets_dir and Path(str(self.secrets_dir)).is_dir()):
            return {}
        try:
            return super().__call__()
        except pydantic_settings.SettingsError as error:
            # The type of its cause alone: what cannot be decoded is a piece of the secret.
            reason = type(error.__cause__).__name__
            raise SettingsError(f"a file of {SECRETS} cannot be read: {reason}") from None


@final
class Settings(BaseSettings):
    """What an operator may choose.

    ``Settings(port=1)`` wins over the variable ``FOLDIN_PORT``, and that over the file
    ``/run/secrets/foldin_port``.

    Raises:
        SettingsError: A value is wrong, a ``FOLDIN_`` variable names no setting, or a secret cannot
            be read.
    """

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        frozen=True,
        extra="forbid",
        use_attribute_docstrings=True,
        secrets_dir=SECRETS,
    )

    model_dir: Path = Path("models")
    """A bundle, or a model directory whose CURRENT names one."""

    models_dir: Path | None = None
    """Several models, in place of the one in MODEL_DIR: a folder with a model directory, or a
    bundle, for each, which is called as its folder is. One that is added counts from the next start
    on."""

    default_model: str | None = None
    """Of several models the one that answers where a request names none. Unset: the first of
    SPLIT, else the first by name."""

    split: SplitText | None = None
    """Models among which users are dealt out, with weights: multvae=90,recvae=10. A user keeps to
    an arm; one whose weight grows takes users from the others only. Requests that name a model,
    or no user, are not dealt out. Unset: the default model answers all."""

    split_name: str = ""
    """Name of the comparison: under another one all users are dealt out anew."""

    shadow: str | None = None
    """Models, with commas between them, that make lists nobody is sent: their overlap with what
    was sent becomes a metric, their items a line in the log. They run when the engine is free of
    other rows."""

    shadow_share: Annotated[float, Field(ge=0, le=1)] = 1.0
    """Share of the lists that shadows are made of; rows of batches have none."""

    host: str = "127.0.0.1"
    """Address to listen on; 0.0.0.0 opens the service to the network, to everybody unless
    API_KEYS_SHA256 is set."""

    port: Annotated[int, Field(ge=0, le=65535)] = 8000
    """TCP port; 0 takes a free one."""

    workers: Count = 1
    """Server processes. They share the model's memory and answer with common metrics, but each has
    an in-process store of its own: with more than one set REDIS_URL. On a GPU each holds a copy of
    the model."""

    threads: Count | None = None
    """Torch threads of a worker. Unset: its share of the cores but one, which its event loop takes
    (one worker on two cores answered a fifth more lists a second so). More than that, and they
    fight for cores: latency rises several times over."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where the model runs; auto takes CUDA where torch sees it."""

    retrieval: Literal["auto", "exact", "int8", "ann"] = "auto"
    """How the best items are found. exact: products in float32; int8: products in integers, then
    the same exact lists; ann: an index for very large catalogues, whose lists may miss items; auto
    takes int8 where it is faster than exact."""

    unavailable_file: Path | None = None
    """Ids of items that no list may hold now, one a line. The file may be replaced at any time (by
    a rename): the next list of every worker goes by the new one. None there: nothing is hidden. One
    that cannot be read leaves the one before in force; nothing starts on it."""

    max_batch: Count = 32
    """Rows that one run of the engine answers. Larger: more throughput under load, and
    rows x items x 4 bytes of scores at once."""

    max_queue: Count = 1024
    """Rows that may wait for the engine; the next is refused with 503, as is one that would wait
    too long for its deadline. Larger: room for longer bursts."""

    deadline_ms: Count = 2000
    """Milliseconds that a row may wait for the engine before it is dropped with 504."""

    redis_url: Annotated[RedisUrl | None, Field(repr=False)] = None
    """Redis for the latents of users: redis:// or rediss:// (TLS), unix://, redis+sentinel:// or
    redis+cluster://. Unset: each worker keeps its own, until it restarts."""

    redis_timeout_ms: Count = 50
    """Milliseconds after which Redis counts as failed, and the request goes on without it. Too
    small: false misses. Too large: a sick Redis slows every request that needs it."""

    latent_ttl_s: Count = 7 * 24 * 3600
    """Seconds that a user's history and latents are kept after the last posted history or event."""

    latent_capacity: Count = 20_000
    """Users that the in-process store keeps, the last used ones: about 3 kB each. With Redis it
    takes over while Redis is out."""

    max_history: Count = 10_000
    """Entries of a history, and of a list of excluded items; one more is refused with 422."""

    max_k: Count = 1_000
    """Largest k that may be asked for. Larger lists cost sorting and bytes."""

    max_body_bytes: Count = 8 * 1024 * 1024
    """Bytes of a request body; one more is refused with 413. Reading 8 MiB of JSON can hold all
    other requests up for some 0.2 s."""

    max_batch_requests: Count = 1_000
    """Rows of one POST /recommend/batch; one more is refused with 422."""

    api_keys_sha256: Annotated[str | None, Field(pattern=DIGESTS, repr=False)] = None
    """sha256 of each key that may ask, as hex digits, with commas between them. Unset: everybody
    may ask who reaches the port."""

    admin_keys_sha256: Annotated[str | None, Field(pattern=DIGESTS, repr=False)] = None
    """sha256 of each key that may exchange the model, and ask. Unset: nobody may exchange it over
    HTTP."""

    drain_grace_s: Annotated[float, Field(ge=0, le=3600)] = 1.0
    """Seconds after SIGTERM in which /readyz fails and requests are answered all the same, so that
    a proxy can look elsewhere first. More than the proxy takes to notice; Ctrl-C does not wait."""

    reload_poll_s: Annotated[float, Field(ge=0, le=86400)] = 0.0
    """Seconds between looks at CURRENT: another bundle is then loaded and takes over. 0: only when
    asked, by SIGHUP or by an admin."""

    log_format: Literal["json", "console"] = "json"
    """One JSON object a line, or lines for people."""

    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """The least severe lines that are written; info has one line a request, debug one a row of a
    batch besides."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - no such file is read
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - it warns of no folder
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Name where values come from, the first that has one wins; pydantic calls this."""
        return init_settings, env_settings, _Secrets(settings_cls)

    @property
    def threads_per_worker(self) -> int:
        """``threads``, or what a worker takes by default."""
        return self.threads or default_threads(self.workers)

    @model_validator(mode="wrap")
    @classmethod
    def _named_in_one_line(cls, values: object, handler: ModelWrapValidatorHandler[Self]) -> Self:
        known = [_variable(name) for name in cls.model_fields]
        for variable in os.environ:
            if variable.upper().startswith(PREFIX) and variable.upper() not in known:
                raise SettingsError(f"{variable} is no setting{_guess(variable, known)}")
        try:
            return handler(values)
        except ValidationError as error:
            # Without the values: one of them may be a URL with a password in it.
            wrong = (f"{_variable(str(part['loc'][0]))}: {part['msg']}" for part in error.errors())
            raise SettingsError("; ".join(wrong)) from None


def digests_of(keys_sha256: str | None) -> tuple[str, ...]:
    """Take a setting of key digests apart: 64 hex digits each, none where it is unset."""
    return tuple(part.strip() for part in keys_sha256.split(",")) if keys_sha256 else ()


def default_threads(workers: int) -> int:
    """Give a worker its share of the cores but one, which its event loop takes."""
    return max(1, available_cores() // workers - 1)


def available_cores(cgroup_quota: Path = CGROUP_QUOTA) -> int:
    """Count the cores that this process may use.

    Args:
        cgroup_quota: Microseconds a period, as cgroup v2 writes them: a container's ``--cpus``.
    """
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:  # macOS has no such call
        cores = os.cpu_count() or 1
    try:
        quota, period = cgroup_quota.read_text().split()
    except OSError:  # no cgroup v2 here
        return cores
    return cores if quota == "max" else min(cores, math.ceil(int(quota) / int(period)))


def _variable(name: str) -> str:
    return PREFIX + name.upper()


def _guess(variable: str, known: list[str]) -> str:
    # By what follows the prefix, which all of them share.
    names = [name.removeprefix(PREFIX) for name in known]
    close = difflib.get_close_matches(variable.upper().removeprefix(PREFIX), names, n=1)
    return f"; did you mean {PREFIX}{close[0]}?" if close else ""
