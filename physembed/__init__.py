"""PhysEmbed: machine-learning force fields for organic matter that hold and get the liquid right."""

from importlib.metadata import version

__version__ = version("physembed")
