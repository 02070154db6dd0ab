"""What kind of model of Transformers one is, and where it puts its logits."""

from typing import Any

from torch import Tensor, nn


def logits_in(outputs: Any) -> Tensor:
    """Return the logits of a model's outputs: by name, or the first entry of a tuple."""
    return outputs["logits"] if isinstance(outputs, dict) else outputs[0]


def predicts_next_token(model: nn.Module) -> bool:
    """Whether a model is a causal language model of Transformers, by its class."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES as CAUSAL

    model = model.get_base_model() if hasattr(model, "get_base_model") else model
    known = any(kind.__name__ in CAUSAL.values() for kind in type(model).__mro__)
    return known and not is_encoder_decoder(model)


def is_encoder_decoder(model: nn.Module) -> bool:
    """Whether a model makes its decoder's inputs of the labels."""
    return bool(getattr(getattr(model, "config", None), "is_encoder_decoder", False))
