"""Configs that extend others."""

from pathlib import Path

import pytest
import yaml

from leash_ray.config import load_config
from leash_ray.config_extends import on_top, read_extended
from leash_ray.errors import UsageError


def write(folder: Path, **files: str) -> Path:
    """``a_b="..."`` is the file a/b.yaml; returns the first."""
    paths = [folder / f"{name.replace('_', '/')}.yaml" for name in files]
    for path, text in zip(paths, files.values(), strict=True):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return paths[0]


def test_sections_are_merged_at_every_depth_and_lists_replaced(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        sub_top="extends: ../middle.yaml\na: {b: {c: 3}}\nlist: [3]\n",
        middle="extends: bottom.yaml\na: {b: {d: 2}, e: null}\n",
        bottom="a: {b: {c: 1, d: 1}, e: 1, f: 1}\nlist: [1, 2]\nalone: x\n",
    )
    assert read_extended(path) == {"a": {"b": {"c": 3, "d": 2}, "e": None, "f": 1}, "list": [3], "alone": "x"}


def test_what_is_merged_is_not_changed() -> None:
    below, above = {"a": {"b": 1}}, {"a": {"c": 2}}
    assert on_top(below, above) == {"a": {"b": 1, "c": 2}}
    assert (below, above) == ({"a": {"b": 1}}, {"a": {"c": 2}})


def test_a_section_of_another_kind_starts_anew() -> None:
    below = {"task": {"kind": "reasoning_gym", "dataset": "countdown"}}
    assert on_top(below, {"task": {"kind": "jsonl", "path": "p"}})["task"] == {"kind": "jsonl", "path": "p"}
    assert on_top(below, {"task": {"size": 3}})["task"] == {"kind": "reasoning_gym", "dataset": "countdown", "size": 3}
    assert on_top({"loss": {"clip_low": 0.1}}, {"loss": {"kind": "gspo"}})["loss"] == {"clip_low": 0.1, "kind": "gspo"}


def test_circles_are_refused_by_name(tmp_path: Path) -> None:
    path = write(tmp_path, a="extends: b.yaml\n", b="extends: a.yaml\n")
    with pytest.raises(UsageError, match=r"a\.yaml extends .*b\.yaml extends .*a\.yaml: it can only extend another"):
        read_extended(path)
    with pytest.raises(UsageError, match="only extend another"):
        read_extended(write(tmp_path, itself="extends: itself.yaml\n"))


def test_messages_name_the_file_that_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"a\.yaml extends .*gone\.yaml, which cannot be read: No such file"):
        read_extended(write(tmp_path, a="extends: gone.yaml\n"))
    with pytest.raises(UsageError, match=r"b\.yaml must be a YAML mapping"):
        read_extended(write(tmp_path, a="extends: b.yaml\n", b="- 1\n"))
    with pytest.raises(UsageError, match=r"b\.yaml is not valid YAML"):
        read_extended(write(tmp_path, a="extends: b.yaml\n", b="{\n"))
    with pytest.raises(UsageError, match=r"a\.yaml: extends must be the path of a YAML file, .* not \['b.yaml'\]"):
        read_extended(write(tmp_path, a="extends: [b.yaml]\n"))


def test_a_config_that_extends_is_the_same_as_one_written_out(tmp_path: Path) -> None:
    demo = Path(__file__).parents[1] / "leash_ray" / "configs" / "demo.yaml"
    path = write(tmp_path, mine=f"extends: {demo}\ntrain: {{seeding: {{per_group: 2}}}}\n")
    whole = {**yaml.safe_load(demo.read_text())}
    whole["train"] = {**whole["train"], "seeding": {"per_group": 2}}
    (tmp_path / "whole.yaml").write_text(yaml.safe_dump(whole))
    overrides = {"train.steps": 3}
    assert load_config(path, overrides) == load_config(tmp_path / "whole.yaml", overrides)
    assert "extends" not in load_config(path).model_dump()
    with pytest.raises(UsageError, match=r"mine\.yaml: unknown key 'train.seedign'; did you mean 'seeding'"):
        load_config(path, {"train.seedign": 1})
