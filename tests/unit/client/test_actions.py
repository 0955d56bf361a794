"""The class form: which actions a class knows, and what its handler gets."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from stoker import Product
from stoker.model.errors import AppError, UnknownCommand
from stoker.testing import run_inline


class LargeImagesProduct(Product):
    actions = ("by_table",)

    def start(self) -> None:
        self.rate = 2

    def handle_job(self, action: str, msg: dict[str, Any]) -> Any:
        if action == "resize":
            return [self.rate * msg["size"], msg["action"], len(msg["jobId"])]
        if action in ("rotate", "flip"):
            return action
        match action:
            case "crop" | "cut":
                return "smaller"
        if msg.get("kind") == "no_action":
            return None
        return super().handle_job(action, msg)


class Smaller(LargeImagesProduct):
    def handle_job(self, action: str, msg: dict[str, Any]) -> Any:
        return "tiny" if action == "shrink" else super().handle_job(action, msg)


class AwaitedProduct(Product):
    async def handle_job(self, action: str, msg: dict[str, Any]) -> Any:
        if action == "go":
            await asyncio.sleep(0)
            return msg["to"]
        return super().handle_job(action, msg)


def names(product: Product) -> set[str]:
    return set(product.commands)


def test_the_actions_are_read_from_the_method() -> None:
    product = LargeImagesProduct()
    assert product.name == "large_images"
    assert names(product) == {
        f"large_images.{name}" for name in ("by_table", "resize", "rotate", "flip", "crop", "cut")
    }
    assert names(Smaller("small")) == {name.replace("large_images", "small") for name in names(product)} | {
        "small.shrink"
    }


def test_an_action_reaches_the_method_with_its_message() -> None:
    product = LargeImagesProduct()
    assert run_inline(product.commands["large_images.resize"], {"size": 3}).value == [6, "resize", 32]
    assert run_inline(AwaitedProduct().commands["awaited.go"], to="there").value == "there"


def test_what_it_does_not_know_the_base_class_refuses() -> None:
    with pytest.raises(UnknownCommand, match="the product large_images has no action 'by_table'"):
        run_inline(LargeImagesProduct().commands["large_images.by_table"], {})


def test_a_product_needs_a_name() -> None:
    with pytest.raises(AppError, match="a product needs a name"):
        Product()
