"""The one thing pyproject.toml cannot say: the version stands in metadata.txt alone."""

from configparser import ConfigParser
from pathlib import Path

from setuptools import setup

metadata = ConfigParser(interpolation=None)
metadata.read(Path(__file__).with_name("metadata.txt"), encoding="utf-8")
setup(version=metadata["general"]["version"])
