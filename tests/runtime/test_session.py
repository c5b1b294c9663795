"""Sessions of onnxruntime: no telemetry, safe with fork, pickled by the path of the file."""

from __future__ import annotations

import ast
import copy
import multiprocessing
import os
import pickle
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import emotion_models
from emotion_runtime import EmotionClassifier, FaceClassifier, FaceFinder, ModelFileError
from emotion_runtime.model.session import (
    TELEMETRY_VARIABLE,
    Session,
    import_onnxruntime,
    open_session,
)
from synthetic import CLASSES, band_face, band_model

ROOT = Path(__file__).parents[2]
forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")

# --- telemetry ---


def run(code: str, home: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run code in a process with its own home folder and without settings of the user."""
    kept = {name: value for name, value in os.environ.items() if name != TELEMETRY_VARIABLE}
    kept |= {"HOME": str(home), "XDG_CACHE_HOME": str(home / ".cache")} | environment
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=kept, timeout=60
    )


PREDICT = """
import os, sys
from emotion_runtime import EmotionClassifier
prediction = EmotionClassifier(sys.argv[1] if sys.argv[1:] else None).predict({picture!r})
print(prediction.label, os.environ["ORT_DISABLE_TELEMETRY"])
"""


def test_a_prediction_writes_no_file_and_a_forked_child_ends(tmp_path: Path) -> None:
    """With telemetry on, the import of onnxruntime would write its files."""
    code = PREDICT.format(picture=str(ROOT / "samples" / "happy_01.png"))
    if hasattr(os, "fork"):
        code += """
child = os.fork()
if not child:
    sys.exit(0)  # through the end of the interpreter, where it would wait for telemetry
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    done = run(code, tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["happy", "1", "0"][: 3 if hasattr(os, "fork") else 2]
    assert list(tmp_path.rglob("*")) == []


def test_the_setting_of_the_user_is_kept(tmp_path: Path) -> None:
    code = "from emotion_runtime.model.session import import_onnxruntime as get; import os\n"
    code += f"get(); print(os.environ[{TELEMETRY_VARIABLE!r}])"
    assert run(code, tmp_path, **{TELEMETRY_VARIABLE: "0"}).stdout.strip() == "0"


def test_telemetry_is_switched_off_if_onnxruntime_is_already_imported(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    onnxruntime, calls = import_onnxruntime(), []
    monkeypatch.setattr(onnxruntime, "disable_telemetry_events", lambda: calls.append(1))
    import_onnxruntime()
    assert calls == [], "the toolkit imported it"
    monkeypatch.delenv(TELEMETRY_VARIABLE)
    import_onnxruntime()
    import_onnxruntime()
    assert calls == [1]


def test_quantisation_writes_no_telemetry_file(tmp_path: Path) -> None:
    done = run("import emotion_export.int8.quantise", tmp_path)
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / ".cache" / "Microsoft").exists()


def imports(tree: ast.AST) -> list[tuple[int, str]]:
    """Return the modules that a file imports, with their lines."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.append((node.lineno, node.module))
    return found


def test_no_other_module_imports_onnxruntime_before_its_telemetry_is_off() -> None:
    """onnxsim imports it too."""
    for folder in ("models", "runtime", "train", "export", "benchmarks", "samples"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            if path.name == "session.py":
                continue
            text = path.read_text(encoding="utf-8")
            lines = [
                line
                for line, name in imports(ast.parse(text))
                if name.partition(".")[0] in ("onnxruntime", "onnxsim")
            ]
            if not lines:
                continue
            before = text.splitlines()[: min(lines) - 1]
            assert any("import_onnxruntime()" in line for line in before), path


# --- fork ---


def wait(child: int, seconds: float = 20) -> int | None:
    """Return the exit code of a child; None if it does not end, after killing it."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.005)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None


@pytest.mark.slow
@forks
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of forking beside threads
@pytest.mark.parametrize("threads", [1, 2])
def test_a_child_forked_while_threads_classify_classifies(model_file: Path, threads: int) -> None:
    classifier = EmotionClassifier(model_file, threads=threads)
    faces = [band_face(n % 3, n, 60) for n in range(60)]
    stop = threading.Event()

    def classify() -> None:
        while not stop.is_set():
            list(classifier.predict_many(faces, workers=2, batch_size=8))

    busy = [threading.Thread(target=classify) for _ in range(2)]
    for thread in busy:
        thread.start()
    codes = []
    try:
        for number in range(10):
            time.sleep(0.002 * number)
            child = os.fork()
            if not child:
                code = 1
                try:
                    labels = [one.label for one in classifier.predict_many(faces[:9], workers=2)]
                    code = 0 if labels == [*CLASSES] * 3 else 2
                finally:
                    os._exit(code)
            codes.append(wait(child))
    finally:
        stop.set()
        for thread in busy:
            thread.join()
    assert codes == [0] * 10


@forks
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_forked_child_of_a_process_with_threads_ends(tmp_path: Path) -> None:
    code = """
import os, sys
import numpy as np
from emotion_runtime import EmotionClassifier
classifier = EmotionClassifier(threads=3)
faces = np.zeros((4, 48, 48), np.uint8)
classifier.infer(faces)
for used in (False, True):
    child = os.fork()
    if not child:
        if used:
            classifier.infer(faces)
        sys.exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    done = run(code, tmp_path)
    assert done.stdout.split() == ["0", "0"], done.stderr


@forks
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_stream_from_before_a_fork_is_refused_in_the_child(model_file: Path) -> None:
    faces = [band_face(n % 3, n) for n in range(200)]
    stream = EmotionClassifier(model_file).predict_many(faces, workers=2, batch_size=4)
    for _ in range(20):
        next(stream)
    child = os.fork()
    if not child:
        code = 1
        try:
            list(stream)
        except RuntimeError as error:
            code = 0 if "forked child" in str(error) else 2
        finally:
            os._exit(code)
    assert wait(child) == 0
    assert len(list(stream)) == 180, "the parent still works"


# --- copies and pickles ---


def test_a_copy_makes_the_same_predictions_and_shares_the_session(model_file: Path) -> None:
    classifier = EmotionClassifier(model_file, min_confidence=0.3)
    for made in (copy.copy(classifier), copy.deepcopy(classifier)):
        assert made.predict(band_face(2)) == classifier.predict(band_face(2))
        assert made.min_confidence == 0.3
        assert made._session is classifier._session


def test_a_pickle_holds_the_path_and_not_the_weights(
    model_file: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(model_file.parent)
    classifier = EmotionClassifier(model_file.name, threads=2, min_confidence=0.25)
    data = pickle.dumps(classifier._session)
    assert len(data) < 1000
    data = pickle.dumps(classifier)
    monkeypatch.chdir(tmp_path)  # a worker may start in another folder
    made = pickle.loads(data)
    assert made.predict(band_face(1)) == classifier.predict(band_face(1))
    assert (made.min_confidence, made._session.threads) == (0.25, 2)
    assert made.model_sha256 == classifier.model_sha256
    assert pickle.loads(pickle.dumps(made)).labels == CLASSES


def test_a_pickle_of_a_changed_or_missing_file_is_refused(tmp_path: Path) -> None:
    path = band_model(tmp_path / "m.onnx")
    data = pickle.dumps(EmotionClassifier(path))
    band_model(path, min_confidence=0.5)
    with pytest.raises(ModelFileError, match="content has changed"):
        pickle.loads(data)
    path.unlink()
    with pytest.raises(ModelFileError, match="cannot be opened"):
        pickle.loads(data)


def test_a_pickle_of_a_released_model_finds_it_where_it_is_installed() -> None:
    data = pickle.dumps(EmotionClassifier()._session)
    assert str(Path(emotion_models.__file__).parent).encode() not in data
    session = pickle.loads(data)
    assert session.path == emotion_models.model_path()


def test_a_face_finder_is_pickled_too() -> None:
    classifier = FaceClassifier()
    picture = ROOT / "docs" / "faces.png"
    expected = classifier.predict(picture)
    assert len(expected) == 5
    made = pickle.loads(pickle.dumps(classifier))
    assert made.predict(picture) == expected
    finder = pickle.loads(pickle.dumps(FaceFinder()))
    assert len(finder.find(picture)) == 5


METHODS = multiprocessing.get_all_start_methods()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_a_classifier_is_sent_to_worker_processes(
    method: str, tmp_path: Path, model_file: Path
) -> None:
    if method not in METHODS:
        pytest.skip(f"no {method} here")
    # In another process: workers import the main module again.
    script = tmp_path / "work.py"
    script.write_text(
        f"""
import multiprocessing, sys
import numpy as np
from emotion_runtime import EmotionClassifier

def label_of(task):
    return task[0].predict(task[1]).label

if __name__ == "__main__":
    classifier = EmotionClassifier(sys.argv[1])
    face = np.zeros((48, 48), np.uint8)
    face[16:32] = 200
    with multiprocessing.get_context({method!r}).Pool(1) as pool:
        print(*pool.map(label_of, [(classifier, face), (classifier, face.T.copy())]))
""",
        encoding="utf-8",
    )
    done = subprocess.run(
        [sys.executable, str(script), str(model_file)], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[0] == "sad"


def test_joblib_sends_a_classifier_to_its_workers() -> None:
    joblib = pytest.importorskip("joblib")
    classifier = EmotionClassifier()
    pictures = sorted((ROOT / "samples").glob("happy_0[1-3].png"))
    try:
        work = joblib.Parallel(n_jobs=2, backend="loky")(
            joblib.delayed(classifier.predict)(path) for path in pictures
        )
    finally:
        # It keeps its workers for five minutes, and tests of other files expect none.
        joblib.externals.loky.get_reusable_executor().shutdown(wait=True)
    assert [one.label for one in work] == ["happy"] * 3


# --- providers and threads ---


def test_a_provider_that_does_not_start_is_an_error(
    model_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """onnxruntime itself uses the CPU instead, such as when libraries of CUDA are missing."""
    names = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    onnxruntime = import_onnxruntime()

    class OnTheCpu:
        def __init__(self, *_: object, **__: object) -> None: ...

        def get_providers(self) -> list[str]:
            return names[1:]

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: names)
    monkeypatch.setattr(onnxruntime, "InferenceSession", OnTheCpu)
    with pytest.raises(ModelFileError, match="cannot start the provider CUDAExecutionProvider"):
        EmotionClassifier(model_file, provider=names[0])


def test_too_little_memory_is_not_blamed_on_the_file(
    model_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError(
            "[ONNXRuntimeError] : 1 : FAIL : Non-zero status code returned while running Conv "
            "node. Status Message: bfc_arena.cc:360 Failed to allocate memory for requested buffer"
        )

    session = open_session(model_file)
    monkeypatch.setattr(session, "_ort_session", SimpleNamespace(run=fail))
    with pytest.raises(ModelFileError, match=r"cannot be run \(not enough memory\)\.$"):
        session.run([], {})

    def fail_to_open(*_: object, **__: object) -> None:
        raise RuntimeError("std::bad_alloc")

    monkeypatch.setattr(import_onnxruntime(), "InferenceSession", fail_to_open)
    with pytest.raises(ModelFileError, match=r": not enough memory to open it\.$"):
        open_session(model_file)


def test_a_session_has_its_provider_and_threads(model_file: Path) -> None:
    session = open_session(model_file, np.int64(2))  # type: ignore[arg-type]
    assert isinstance(session, Session)
    assert (session.path, session.threads) == (model_file, 2)
    assert type(session.threads) is int
    with pytest.raises(ModelFileError, match="cannot be run"):
        session.run(["nothing"], {})
    shutil.copy(model_file, model_file.with_name("copy.onnx"))
    other = open_session(model_file.with_name("copy.onnx"))
    assert other.sha256() == session.sha256()
