"""The product: the name under which every command of the notebook is called."""

from __future__ import annotations

from stoker import Product

notebook = Product("open_notebook")
