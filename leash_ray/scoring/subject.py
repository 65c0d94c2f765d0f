"""The model that scores, and what it is called in tables: a policy of the run, or any folder under a name."""

import re
from dataclasses import dataclass
from typing import Any

from leash_ray.config import PolicyConfig, RunConfig
from leash_ray.deploy import resolve_model
from leash_ray.errors import UsageError
from leash_ray.run_dir import RunDir
from leash_ray.sampling.origin import model_identity
from leash_ray.section import NAME

_STEP = re.compile(r"@\d+")


@dataclass(frozen=True, slots=True)
class Subject:
    """A model under a policy's name."""

    name: str
    model: str
    """Folder, or hub name."""
    settings: PolicyConfig
    """Precision, revision, tokenizer and context, as the policy is served."""

    @property
    def revision(self) -> str | None:
        return self.settings.engine.get("revision")

    @property
    def trust_remote_code(self) -> bool:
        return bool(self.settings.engine.get("trust_remote_code", False))

    @property
    def identity(self) -> str:
        """The same for the same weights, wherever their folder is."""
        known = model_identity(self.model)
        return f"{known}@{self.revision or 'main'}" if known == self.model else known

    def tokenizer(self) -> Any:
        """As the policy's engine loads it.

        Raises:
            UsageError: there is none, or it cannot be fetched.
        """
        from transformers import AutoTokenizer

        engine = self.settings.engine
        source = engine.get("tokenizer") or self.model
        revision = engine.get("tokenizer_revision") or (self.revision if "tokenizer" not in engine else None)
        try:
            return AutoTokenizer.from_pretrained(source, revision=revision, trust_remote_code=self.trust_remote_code)
        except (OSError, ValueError, KeyError, ImportError) as e:
            lines = str(e).strip().splitlines() or [type(e).__name__]
            raise UsageError(
                f"cannot load the tokenizer of {source}: {lines[0]}; give a model with its tokenizer"
            ) from e


def subject_of(config: RunConfig, run: RunDir, name: str) -> Subject:
    """A policy of the run's config; the trained one that the run has trained is its last checkpoint.

    Raises:
        UsageError: there is no such policy, it is not trained yet, or its model folder is missing.
    """
    if name not in config.policies:
        raise UsageError(
            f"the run has no policy {name!r}: its config has {', '.join(sorted(config.policies))}; for another model "
            f"give --model FOLDER --name {name}"
        )
    settings = config.policies[name]
    if settings.model is not None:
        return Subject(name, resolve_model(settings.model), settings)
    trained = run.stage_info("train")
    if trained is None:
        raise UsageError(f"{run.path} has no trained model yet: run leash train first, with the same --run")
    return Subject(name, resolve_model(str(run.path.resolve() / trained["model"])), settings)


def given_subject(config: RunConfig, model: str, name: str) -> Subject:
    """Any model under any name. Precision and context are those of the policy that the name belongs to
    (``trained@200`` to ``trained``), else of the base.

    Raises:
        UsageError: the model folder is missing, or the name cannot be that of a file.
    """
    stem = name.partition("@")[0]
    if not NAME.fullmatch(stem) or (name != stem and not _STEP.fullmatch(name[len(stem) :])):
        raise UsageError(
            f"--name {name!r}: a policy's name is made of letters, digits, '.', '_' and '-', and begins with a letter "
            "or a digit; a checkpoint's ends in @STEP"
        )
    settings = config.policies[stem if stem in config.policies else config.base]
    return Subject(name, resolve_model(model), settings)
