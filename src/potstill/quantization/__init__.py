"""int8: fake quantization for training, conversion, and what int8 costs."""

from potstill.quantization.layer_errors import LayerError as LayerError
from potstill.quantization.layer_errors import sensitivity as sensitivity
