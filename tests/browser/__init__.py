"""The browser side in a real Chromium, against a real daemon with its bridge."""
