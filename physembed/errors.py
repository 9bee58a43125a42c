"""The one exception whose message is meant for the user: what, where, which value, what to do."""


class PhysEmbedError(Exception):
    """A problem the user can mend; its message is a single complete line."""
