"""How completions are verified: the ``verify`` section of a config."""

from typing import Any, Literal

from pydantic import Field, model_validator

from leash_ray.section import NonNegative, Positive, PositiveInt, Section


class SandboxConfig(Section):
    """Where model-written code runs (``code`` verifiers)."""

    mechanism: Literal["auto", "bubblewrap", "namespaces", "none"] = "auto"
    """auto: bubblewrap where it works, else user namespaces, else the run is refused. none: a process with limits and
    nothing that keeps it from the network, the files and the processes of this machine; only for code that you
    trust."""
    memory_mb: PositiveInt = 1024
    """Address space of one program, in MiB."""
    scratch_mb: PositiveInt = 64
    """Files that a program may write in its scratch folder, in MiB."""
    output_kb: PositiveInt = 1024
    """Standard output of one test, in KiB; more ends the test."""
    timeout_s: Positive = 10.0
    """Wall time of one test."""
    cpu_s: Positive = 10.0
    """CPU time of one test."""
    total_s: Positive = 120.0
    """Wall time of all tests of one program."""


class JudgeConfig(Section):
    """The model that judges short answers (``judge`` verifiers), behind any OpenAI-compatible endpoint."""

    base_url: str = Field("https://api.openai.com/v1", pattern="^https?://[^/]")
    """``leash serve`` opens such an endpoint for a run's own policies."""
    model: str = Field(min_length=1)
    api: Literal["chat", "completions"] = "chat"
    """completions: for a base model, which has no chat template; the rubric is the prompt that it continues."""
    api_key_env: str | None = None
    """Environment variable that holds the key; None: OPENAI_API_KEY for OpenAI's own endpoint, no key for others."""
    replies: str | None = None
    """Folder of stored replies; None: ``judge/`` in the run directory."""
    replay: bool = False
    """Only read stored replies, and ask nobody."""
    temperature: NonNegative = 0.0
    max_tokens: PositiveInt = 512
    """Of one reply, thinking included."""
    extra: dict[str, Any] = Field(default_factory=dict)
    """Further fields of each request, under the endpoint's names, such as ``{reasoning_effort: low}``."""
    timeout_s: Positive = 60.0
    """Wall time of one request."""
    retries: int = Field(5, ge=0, le=100)
    """Of a request that found no connection, no reply in time, a rate limit or a server's error; the waits between
    them grow from half a second to 8 s, or are what the endpoint asks for."""
    concurrency: PositiveInt = 8
    """Requests of one verifier actor at a time."""


class VerifyConfig(Section):
    """Processes that verify, apart from everything else, and the limits of one call."""

    actors: PositiveInt = 1
    """Ray actors; each looks after its share of the problems."""
    workers: PositiveInt = 1
    """Verifier processes of each actor."""
    cpus: Positive = 0.25
    """Logical Ray CPUs of each actor."""
    timeout_s: Positive = 5.0
    """Wall time for one answer; past it the verdict is ERROR."""
    cpu_s: Positive = 5.0
    """CPU time for one answer, in the verifier's process."""
    memory_mb: int = Field(4096, ge=512)
    """Address space of one verifier process, in MiB; what it takes itself (about 450) included."""
    max_answer_chars: PositiveInt = 20_000
    """A longer answer (code: program) is not judged: ERROR, or NO_ANSWER where no answer is marked and the text is
    simply long."""
    sandbox: SandboxConfig = Field(default_factory=SandboxConfig)
    judge: JudgeConfig | None = None

    @model_validator(mode="after")
    def _limits(self) -> "VerifyConfig":
        if self.sandbox.timeout_s > self.sandbox.total_s:
            raise ValueError("sandbox.timeout_s (one test) must not exceed sandbox.total_s (all tests of a program)")
        return self
