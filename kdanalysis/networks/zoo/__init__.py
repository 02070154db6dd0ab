"""Small reference networks with named blocks."""

from kdanalysis.networks.zoo.build import MODELS, build_model, check_model
from kdanalysis.networks.zoo.network import Network

__all__ = ["MODELS", "Network", "build_model", "check_model"]
