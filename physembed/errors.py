"""The exception whose message is meant for the user: what, where, which value, what to do."""


class PhysEmbedError(Exception):
    """A problem that the user can fix; its message is a single complete line."""
