"""Models inside installed packages, which are found and never imported: that may run an engine."""

from importlib.util import find_spec
from pathlib import Path

from service.errors import ModelSourceError, UnknownModelError
from service.models.registry import PackageSource


def find_in_package(source: PackageSource) -> Path:
    """The weights' file.

    Raises `UnknownModelError`, which says what to install, when the package is not there, and
    `ModelSourceError` when it is there without the file.
    """
    found = find_spec(source.package)
    if found is None or not found.submodule_search_locations:
        raise UnknownModelError(f"its package is not installed (pip install {source.requirement})")
    file = Path(found.submodule_search_locations[0]) / source.file
    if not file.is_file():
        raise ModelSourceError(
            f"the installed package {source.package} lacks {source.file}: "
            f"pip install --force-reinstall {source.requirement}"
        )
    return file
