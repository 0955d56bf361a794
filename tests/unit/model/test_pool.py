"""Pools as code and files declare them: every option read, every mistake one sentence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from stoker import Product
from stoker import settings as settings_module
from stoker.model.command import Isolation
from stoker.model.errors import AppError, SettingsError
from stoker.model.pool import PoolSpec, changed, declare, read_json


def test_options_are_read_as_people_write_them() -> None:
    product = Product(
        "images", isolation="thread", workers=2, max_workers=4, slots=8, recycle_jobs=1000, recycle_age="1h",
        recycle_memory="500MB", grow_after="2s", shrink_after=5, weight=3, reserved=1,
    )  # fmt: skip
    assert product.pool == PoolSpec(
        product="images", isolation=Isolation.THREAD, workers=2, max_workers=4, slots=8, recycle_jobs=1000,
        recycle_age=3600.0, recycle_memory=500 << 20, grow_after=2.0, shrink_after=5.0, weight=3, reserved=1,
    )  # fmt: skip
    assert product.pool.most == 4


def test_naming_a_kind_asks_for_a_worker() -> None:
    """P7: nothing said, nothing there."""
    assert Product("plain").pool.most == 0
    assert Product("one", isolation="process").pool.most == 1
    assert Product("none", isolation="process", workers=0).pool.most == 0
    assert Product("later", isolation="process", max_workers=3).pool.workers == 0
    assert Product("off", isolation="process", enabled=False).pool.most == 0


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"workers": -1}, "product images: workers: must be 0 or more, not -1"),
        ({"workers": "two"}, "product images: workers: a whole number is needed, not 'two'"),
        ({"workers": 1.5}, "workers: a whole number is needed"),
        ({"workers": True}, "workers: a whole number is needed"),
        ({"workers": 1_000_000}, "workers: 1000000 is too many"),
        ({"isolation": "fork"}, "isolation: workers that stay are process, thread, async, not 'fork'"),
        ({"isolation": "cloud"}, "isolation: 'cloud' is none of process, thread, async"),
        ({"isolation": "process", "slots": 2}, "slots: a 'process' worker runs one job at a time"),
        ({"slots": 0}, "slots: must be 1 or more"),
        ({"recycle_jobs": 0}, "recycle_jobs: a number of jobs, 1 or more"),
        ({"recycle_age": "soon"}, "recycle_age: 'soon' is not a duration"),
        ({"recycle_age": 0}, "recycle_age: must be more than 0"),
        ({"recycle_memory": "much"}, "recycle_memory: 'much' is not a size"),
        ({"weight": 0}, "weight: must be 1 or more"),
        ({"enabled": "yes"}, "enabled: true or false is needed, not 'yes'"),
        ({"wokers": 1}, "there is no option 'wokers'; known are isolation, workers"),
    ],
)
def test_what_makes_no_sense_is_one_sentence(options: dict[str, Any], problem: str) -> None:
    with pytest.raises(AppError) as caught:
        declare("images", options)
    assert problem in caught.value.message
    assert "\n" not in caught.value.message


def test_a_pool_is_changed_by_its_options() -> None:
    spec = PoolSpec(product="images", workers=1, recycle_jobs=5)
    assert changed(spec, {"workers": 2, "recycle_jobs": None}) == PoolSpec(product="images", workers=2)
    with pytest.raises(ValueError, match="slots"):
        changed(spec, {"slots": 3})


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('{"images": {"workers": -1}}', "p.json: images: workers: must be 0 or more, not -1"),
        ('{"images": {"workers": "two"}}', "p.json: images: workers: a whole number is needed, not 'two'"),
        ('{"images": {"workers": 1, "workers": 2}}', "p.json: the key 'workers' is there twice"),
        ('{"images": {}, "images": {}}', "p.json: the key 'images' is there twice"),
        ('{"images": 3}', "p.json: images: an object with options is needed, not 3"),
        ("[]", "p.json: an object with a product for each name is needed"),
        ('{"images": ', "p.json is not JSON"),
        ('{"my images": {}}', "p.json: 'my images' cannot be the name of a product"),
        ("[" * 100_000, "p.json is nested too deep"),
    ],
)
def test_a_file_that_makes_no_sense_is_one_sentence(text: str, problem: str) -> None:
    with pytest.raises(ValueError) as caught:
        read_json(text, "p.json")
    assert problem in str(caught.value)


# ── where the files are found ────────────────────────────────────────────────────────────────────────────────────────


def products(root: Path, environ: dict[str, str] | None = None) -> dict[str, Any]:
    return settings_module.load({"root": str(root)}, environ=environ or {}).products


def test_the_file_is_found_in_the_project(tmp_path: Path) -> None:
    assert products(tmp_path) == {}
    (tmp_path / "products.json").write_text('{"images": {"workers": 1}}')
    assert products(tmp_path) == {"images": {"workers": 1}}
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "products.json").write_text('{"images": {"enabled": true, "workers": 2, "routes": true}}')
    assert products(tmp_path) == {"images": {"enabled": True, "workers": 2, "routes": True}}


def test_tables_win_over_the_file_option_by_option(tmp_path: Path) -> None:
    (tmp_path / "products.json").write_text('{"images": {"workers": 1, "routes": false}, "mail": {"workers": 3}}')
    (tmp_path / "stoker.toml").write_text("[products.images]\nworkers = 4\nrecycle_age = '1h'\n")
    found = {"images": {"workers": 4, "routes": False, "recycle_age": 3600.0}, "mail": {"workers": 3}}
    assert products(tmp_path) == found
    told = {"STOKER_PRODUCTS": json.dumps({"mail": {"workers": 0}})}
    assert products(tmp_path, told) == {**found, "mail": {"workers": 0}}


def test_another_file_can_be_named(tmp_path: Path) -> None:
    (tmp_path / "products.json").write_text('{"images": {"workers": 1}}')
    (tmp_path / "other.json").write_text('{"mail": {"workers": 2}}')
    (tmp_path / "stoker.toml").write_text("products = 'other.json'\n")
    assert products(tmp_path) == {"mail": {"workers": 2}}
    with pytest.raises(SettingsError, match=r"cannot read .*missing\.json: No such file"):
        products(tmp_path, {"STOKER_PRODUCTS": "missing.json"})


def test_a_mistake_names_its_place(tmp_path: Path) -> None:
    (tmp_path / "stoker.toml").write_text("[products.images]\nworkers = -1\n")
    with pytest.raises(SettingsError, match=r"stoker\.toml: products: images: workers: must be 0 or more, not -1"):
        products(tmp_path)


def test_what_a_daemon_is_given_is_what_it_finds_again(tmp_path: Path) -> None:
    base = settings_module.load({"root": str(tmp_path)}, environ={})
    given = settings_module.load(
        {"root": str(tmp_path)}, environ={"STOKER_PRODUCTS": '{"images": {"recycle_memory": "1GB"}}'}
    )
    again = settings_module.load({"root": str(tmp_path)}, environ=settings_module.as_environ(given, base))
    assert again == given
    assert again.products == {"images": {"recycle_memory": 1 << 30}}
