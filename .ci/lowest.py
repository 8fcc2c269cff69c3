"""Prints constraints for pip: the lowest version of each package that pyproject.toml names for users and tests."""

import tomllib
from pathlib import Path

from packaging.requirements import Requirement

PROJECT = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]

for requirement in map(Requirement, {*PROJECT["dependencies"], *EXTRAS["examples"], *EXTRAS["test"]}):
    for bound in requirement.specifier:
        if bound.operator == ">=":
            print(f"{requirement.name}=={bound.version}")
