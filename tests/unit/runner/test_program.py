"""The program that is sent: one text of all parts, for old Pythons too, started by any login shell or not at all."""

import ast
import hashlib
import re
import shutil
import subprocess
import sys
import zlib
from pathlib import Path

import pytest

from interlock.hosts import program as made
from interlock.hosts.program import PARTS, bootstrap, joined, program, runner_exec
from interlock.runner.frames import encode_frame
from interlock.runner.steps import LANDING_STEPS, RUN_STEPS

FOLDER = Path(made.__file__).parent.parent / "runner"
OURS = "interlock.runner."
SHELLS = [
    found for name in ("sh", "bash", "dash", "zsh", "fish", "csh", "tcsh", "ksh") if (found := shutil.which(name))
]


def imports_of(part: str) -> list[str]:
    tree = ast.parse((FOLDER / f"{part}.py").read_text("utf-8"))
    nodes = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    return [node.module.removeprefix(OURS) for node in nodes if node.module.startswith(OURS)]


def test_every_part_is_sent_and_finds_what_it_needs_before_itself() -> None:
    assert sorted(PARTS) == sorted(path.stem for path in FOLDER.glob("*.py") if path.stem != "__init__")
    late = [
        (part, used) for number, part in enumerate(PARTS) for used in imports_of(part) if used not in PARTS[:number]
    ]
    assert not late


def test_no_two_parts_have_one_name_for_two_things() -> None:
    with pytest.raises(ValueError, match=r"_step is a name of one and of two"):
        joined({"one": '"""One."""\n_step = 1\n', "two": '"""Two."""\ndef _step(): ...\n'})


def test_the_text_is_one_python_3_6_program_of_the_standard_library() -> None:
    tree = ast.parse(program().text, feature_version=(3, 6))
    modules = {alias.name for node in tree.body if isinstance(node, ast.Import) for alias in node.names}
    modules |= {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {name.split(".")[0] for name in modules} <= set(sys.stdlib_module_names)
    assert "threading" not in modules
    assert program().digest == hashlib.sha256(program().text.encode()).hexdigest()


def test_what_a_login_shell_reads_holds_nothing_that_it_could_expand() -> None:
    line = runner_exec(become="web-user").line
    assert line.startswith("exec sudo -n -u web-user -- /usr/bin/env -i ")
    assert not re.search(r"[!\\\n]", line)
    quoted = re.findall(r"'[^']*'", line)
    assert not re.search(r"[\"'$`;&|<>*?~#()\[\]{}]", re.sub(r"'[^']*'", "", line))
    assert quoted[1] == f"'{bootstrap(program())}'"
    with pytest.raises(ValueError, match="plain word"):
        runner_exec(become="web; id")


def started(shell: str, sent: bytes) -> subprocess.CompletedProcess[bytes]:
    exec_ = runner_exec()
    done = subprocess.run([shell, "-c", exec_.line], input=sent, capture_output=True, timeout=30, check=False)
    assert done.stdout.startswith(exec_.marker)
    assert exec_.marker in done.stderr
    return done


@pytest.mark.parametrize("shell", SHELLS)
def test_every_login_shell_starts_it_and_it_ends_with_its_input(shell: str) -> None:
    done = started(shell, program().packed + encode_frame({"n": 1, "do": "here"}))
    assert done.returncode == 0
    assert b'"here":true' in done.stdout


def test_an_upload_that_was_cut_or_changed_starts_nothing() -> None:
    packed = program().packed
    assert started("/bin/sh", packed[:-1]).returncode == 3
    other = zlib.compress(program().text.replace("def serve(", "def serves(").encode(), 9)
    assert started("/bin/sh", other.ljust(len(packed), b"\0")[: len(packed)]).returncode in (1, 4)


def test_a_host_without_python_says_so() -> None:
    exec_ = runner_exec()
    line = re.sub(r" python3 .*", " no-python-here", exec_.line)
    assert subprocess.run(["/bin/sh", "-c", line], capture_output=True, timeout=30, check=False).returncode == 127


def test_every_named_step_is_one_that_the_runner_comes_to() -> None:
    text = "".join(path.read_text("utf-8") for path in FOLDER.glob("*.py") if path.stem != "steps")
    named = set(re.findall(r'(?:run|landing)_step\("([a-z-]+)"\)', text))
    assert named == {*RUN_STEPS, *LANDING_STEPS}
