"""PhysEmbed: machine-learning force fields for organic matter that hold and get the liquid right."""

__version__ = "0.1.0"
