"""The offline model: rules in place of a language model, for trying the mesh without a key. It says so in all that it answers."""

from headrace.models.offline.model import OfflineModel

__all__ = ["OfflineModel"]
