"""Small reference networks with named blocks."""

from kdanalysis.models.build import MODELS, build_model
from kdanalysis.models.network import Network

__all__ = ["MODELS", "Network", "build_model"]
