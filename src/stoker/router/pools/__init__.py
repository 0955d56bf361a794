"""The processes of this machine, and which of them gets which job."""
