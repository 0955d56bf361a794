"""What applications of the ``surreal-commands`` library import, on Stoker: change the import, keep the code.

    from stoker.surreal_commands import CommandInput, CommandOutput, command, submit_command_job

    class Source(CommandInput):
        source_id: str

    @command("open_notebook", "process_source", timeout=300)
    async def process_source(input_data: Source) -> CommandOutput: ...

    id = await submit_command_job("open_notebook", "process_source", {"source_id": "source:abc"})

Run it by ``stoker up --import-modules commands --max-tasks 5``. Both spellings of ``command`` are read, names of the
library and of the documents are accepted side by side, and a record has the shape :func:`record` gives it.
"""

from stoker.surreal_commands.register import command
from stoker.surreal_commands.shapes import (
    CommandInput,
    CommandOutput,
    CommandResult,
    CommandStatus,
    ExecutionContext,
    RetryConfig,
    RetryStrategy,
)
from stoker.surreal_commands.submit import (
    execute_command_sync,
    get_command_status,
    get_command_status_sync,
    record,
    submit_command,
    submit_command_job,
    wait_for_command,
    wait_for_command_sync,
)

__all__ = [
    "CommandInput",
    "CommandOutput",
    "CommandResult",
    "CommandStatus",
    "ExecutionContext",
    "RetryConfig",
    "RetryStrategy",
    "command",
    "execute_command_sync",
    "get_command_status",
    "get_command_status_sync",
    "record",
    "submit_command",
    "submit_command_job",
    "wait_for_command",
    "wait_for_command_sync",
]
