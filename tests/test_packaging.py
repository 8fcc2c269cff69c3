"""What users install: the wheel has every module and nothing else, and works without the source tree."""

import subprocess
import sys
from email.message import Message
from email.parser import Parser
from pathlib import Path
from zipfile import ZipFile

import pytest

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (built,) = folder.iterdir()
    return built


@pytest.fixture(scope="module")
def metadata(wheel: Path) -> Message:
    with ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        return Parser().parsestr(archive.read(name).decode())


def test_the_wheel_has_the_source_and_nothing_else(wheel: Path) -> None:
    sources = {
        path.relative_to(SOURCE).as_posix()
        for path in SOURCE.rglob("*")
        if path.suffix in {".css", ".js", ".py", ".typed"}
    }
    with ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert packed == sources
    assert "cloaca/py.typed" in packed


def test_the_wheel_has_the_licence(wheel: Path) -> None:
    with ZipFile(wheel) as archive:
        (licence,) = (name for name in archive.namelist() if name.endswith("/licenses/LICENSE"))
        assert archive.read(licence) == (ROOT / "LICENSE").read_bytes()


def test_the_wheel_asks_for_five_packages(metadata: Message) -> None:
    required = [line for line in metadata.get_all("Requires-Dist", []) if "extra ==" not in line]
    assert required == ["cloudpickle<4,>=3.1", "msgspec>=0.20", "psutil>=5.9.4", "rich>=13.7", "xxhash>=3.4.1"]


def test_every_public_name_can_be_imported_from_the_wheel(wheel: Path, tmp_path: Path) -> None:
    with ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    program = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import cloaca\n"
        "for name in cloaca.__all__: getattr(cloaca, name)\n"
        "print(*(sys.modules[name].__file__ for name in sys.modules if name.partition('.')[0] == 'cloaca'), sep='\\n')"
    )
    run = subprocess.run(
        [sys.executable, "-I", "-c", program], cwd=tmp_path, check=True, stdout=subprocess.PIPE, text=True
    )
    assert run.stdout.split()
    assert [path for path in run.stdout.split() if not path.startswith(str(tmp_path))] == []
