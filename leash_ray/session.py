"""What the stages of one command share: the run directory, the problems, Ray, served policies, verifiers."""

import hashlib
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from leash_ray import cluster
from leash_ray.claims import claims
from leash_ray.cluster import Device
from leash_ray.config import RunConfig
from leash_ray.config_file import differences
from leash_ray.deploy import deploy, resolve_model
from leash_ray.deploy import stop as stop_serving
from leash_ray.errors import UsageError
from leash_ray.policy import ServedPolicy
from leash_ray.problems_file import read_problems, write_problems
from leash_ray.prompting.record import keep, render_both, render_for
from leash_ray.run_dir import RunDir
from leash_ray.sampling.growth import grown_keys, take_in, take_in_problems
from leash_ray.tasks import load_problems
from leash_ray.types import Problem
from leash_ray.verify.settings import VerifyConfig

MAY_CHANGE = (
    *("name", "monitor", "ray", "verify", "measure", "zeta"),
    *("sampling.in_flight", "sampling.samples_per_shard", "sampling.max_tries", "sampling.max_dead_share"),
    *("sampling.concurrent", "sampling.base_from"),
    *("train.cpus_per_worker", "train.gpus_per_worker", "train.keep_checkpoints", "train.limits"),
)
MAY_CHANGE_OF_A_POLICY = (
    *("cpus", "gpus", "accelerator_type", "replicas", "autoscaling", "tensor_parallel_size", "stall_s"),
)
"""Config keys that say how a run runs and not what it computes: a resumed run may have others."""

Say = Callable[[str], None]


@dataclass
class Session:
    """What the stages of one command share: Ray, served policies, verifiers. Started when first needed."""

    config: RunConfig
    run: RunDir
    say: Say
    _device: Device | None = None
    _policies: dict[str, ServedPolicy] = field(default_factory=dict)
    _deployed: list[str] = field(default_factory=list)
    _verifier: Any = None

    @property
    def run_token(self) -> str:
        """Keeps what this run starts on a cluster apart from what others start."""
        made = self.run.info.get("created", "")
        return hashlib.blake2b(f"{self.run.path.absolute()} {made}".encode(), digest_size=4).hexdigest()

    @property
    def device(self) -> Device:
        if self._device is None:
            cluster.connect(self.config.ray.address, self.config.ray.num_cpus)
            self._device = cluster.device(self.config.device)
        return self._device

    @property
    def verifier(self) -> Any:
        if self._verifier is None:
            from leash_ray.verify.remote import RemoteVerifier

            self._verifier = RemoteVerifier.start(verify_settings(self.config, self.run))
        return self._verifier

    def serve(self, models: Mapping[str, str], training: bool) -> dict[str, ServedPolicy]:
        """Deploy the policies of ``models`` that are not up yet, after checking that all fits at once.

        With ``sampling.concurrent: false``, what else is up is taken down first.
        """
        wanted = {name: model for name, model in models.items() if name not in self._policies}
        if not self.config.sampling.concurrent:
            self.take_down([name for name in self._policies if name not in models])
        if wanted:
            line = self.require([*self._policies, *wanted], training)
            cluster.require_shared(self.run.path)
            self.say(f"{line}; starting {' and '.join(wanted)} on Ray Serve (about a minute on a laptop)")
            started_s = time.monotonic()
            self.verifier  # noqa: B018  (its processes start while the engines load)
            self._deployed += wanted  # before they are: what starts half must be taken down, too
            policies = {name: self.config.policies[name] for name in wanted}
            self._policies |= deploy(policies, wanted, self.device, self.run_token)
            self.say(f"serving {', '.join(wanted)} after {time.monotonic() - started_s:.0f} s")
        return {name: self._policies[name] for name in models}

    def require(self, policies: Sequence[str], training: bool) -> str:
        """Check that the command with these policies up fits the cluster; a line that says what it asks.

        Raises:
            UsageError: it does not.
        """
        hint = "or set sampling.concurrent: false, which serves one policy after another" if len(policies) > 1 else ""
        asked = claims(self.config, policies, self.device, training)
        return cluster.require(asked, wait=self.config.ray.wait_for_nodes, hint=hint)

    def take_down(self, policies: Sequence[str]) -> None:
        """Take policies down: their replicas, engines and what those held of the cluster and its memory are gone."""
        if policies:
            self.say(f"taking down {' and '.join(policies)}")
            stop_serving(policies, self.run_token)
            self._policies = {name: policy for name, policy in self._policies.items() if name not in policies}

    def remember(self, problems: list[Problem]) -> None:
        """Let the verifiers know what the run's stored completions have shown already."""
        from leash_ray.judged_before import judged_before

        if known := judged_before(self.run, problems):
            self.verifier.remember(known)

    def close(self) -> None:
        if self._verifier is not None:
            self._verifier.stop()
            self._verifier = None
        if self._deployed:
            stop_serving(self._deployed, self.run_token)
            self._policies, self._deployed = {}, []


@contextmanager
def session(config: RunConfig, run: RunDir, say: Say) -> Iterator[Session]:
    """A session that is taken down whatever happens, with the run held against other writers."""
    with run.hold():
        current = Session(config, run, say)
        try:
            yield current
        except UsageError:
            # What was asked for cannot be done, so it will be asked for differently: a directory that holds nothing
            # but the refused config would be in the way.
            made = (*run.completions.rglob("*.parquet"), *run.checkpoints.iterdir())
            if not made and not run.metrics_jsonl.exists():
                shutil.rmtree(run.path)
            raise
        finally:
            current.close()


def verify_settings(config: RunConfig, run: RunDir) -> VerifyConfig:
    """How the run verifies; a judge's replies are stored in the run directory unless the config says where."""
    judge = config.verify.judge
    if judge is None or judge.replies is not None:
        return config.verify
    kept = judge.model_copy(update={"replies": str(run.path.absolute() / "judge")})
    return config.verify.model_copy(update={"judge": kept})


def models_of(config: RunConfig) -> dict[str, str]:
    """Where each policy starts: a trained policy without a model of its own starts as the base.

    Raises:
        UsageError: a model folder is missing.
    """
    base = config.policies[config.base].model
    assert base is not None
    return {name: resolve_model(config.policies[name].model or base) for name in (config.base, config.trained)}


def open_run(config: RunConfig, path: Path, resume: bool) -> RunDir:
    """Make or resume the run directory, after checking what can be checked without Ray.

    Raises:
        UsageError: a model folder is missing, the problems cannot be loaded, training problems are also measured, or
            ``path`` holds another run; or the problems cannot be put as ``prompting`` says.
    """
    models = models_of(config)
    if (path / "run.json").is_file():
        return _create(config, path, resume)
    problems = load_problems(config.task)
    _, record = render_both(config, models, problems)
    if config.train and config.policies[config.trained].model is None:
        render_for(config, models, config.trained, training_problems(config, problems))
    run = _create(config, path, resume)
    write_problems(run.problems_parquet, problems)
    keep(run.path, record)
    return run


def _create(config: RunConfig, path: Path, resume: bool) -> RunDir:
    of_policies = [f"policies.{name}.{key}" for name in config.policies for key in MAY_CHANGE_OF_A_POLICY]
    may_change = [*MAY_CHANGE, *of_policies]
    new = config.model_dump(mode="json")
    old = RunDir.open(path).config if (path / "run.json").is_file() else new
    run = RunDir.create(path, new, config.seed, resume=resume, may_change=[*may_change, *grown_keys(old, new)])
    if grown := differences(old, new, may_change):
        if any(key.startswith("task.") for key, _, _ in grown):
            problems = load_problems(config.task)
            if config.train:
                training_problems(config, problems)
            take_in_problems(run, problems)
        take_in(run, new, grown)
    return run


def problems_of(config: RunConfig, run: RunDir) -> list[Problem]:
    """The measured problems, as ``problems.parquet`` keeps them from the run's start."""
    if not run.problems_parquet.is_file():  # the run was cut off between making the directory and this file
        write_problems(run.problems_parquet, load_problems(config.task))
    return read_problems(run.problems_parquet)


def prompts_of(config: RunConfig, run: RunDir, problems: Sequence[Problem]) -> dict[str, list[Problem]]:
    """The measured problems as each policy is asked them, which ``prompts.json`` keeps an account of.

    Raises:
        UsageError: they cannot be put as the config says, or no longer read as they did when the run began.
    """
    asked, record = render_both(config, models_of(config), problems)
    keep(run.path, record)
    return asked


def training_prompts(config: RunConfig, run: RunDir) -> list[Problem]:
    """The problems to train on, as the trained policy is asked them.

    Raises:
        UsageError: as :func:`training_problems` and :func:`prompts_of`.
    """
    measured = problems_of(config, run)
    prompts_of(config, run, measured)  # what has changed since the run began has changed here, too
    return render_for(config, models_of(config), config.trained, training_problems(config, measured)).problems


def training_problems(config: RunConfig, measured: Sequence[Problem]) -> list[Problem]:
    """The problems to train on.

    Raises:
        UsageError: some of them are also measured.
    """
    assert config.train is not None
    problems = load_problems(config.train.task)
    shared = {p.id for p in problems} & {p.id for p in measured}
    if shared:
        raise UsageError(
            f"{len(shared)} training problems are also measured; give task and train.task splits that do not overlap"
        )
    return problems
