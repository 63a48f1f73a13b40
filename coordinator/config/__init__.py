"""The configuration: ``mailhaul.toml`` and the files it names, read once into frozen records.

Owns the keys, their defaults and the words in which a wrong value is reported. Whether directories exist and
hosts answer is found out where they are used. pydantic stays inside this package.
"""

from .loading import load
from .templates import CONFIG_TEMPLATE, GROUPS_TEMPLATE

__all__ = ["CONFIG_TEMPLATE", "GROUPS_TEMPLATE", "load"]
