"""No model is reached from here but the simulator."""

from tests.support.no_models import no_models
from tests.support.simulator import simulator

__all__ = ["no_models", "simulator"]
