"""A chat with a language model on this computer, and with the documents that one gives it.

    stoker up examples.chat:chat
    uvicorn examples.chat.app:app --port 8000

Every answer is a job in a process of its own; its words reach all tabs of whoever asked, and nobody else's.
"""

from examples.chat.commands import chat

__all__ = ["chat"]
