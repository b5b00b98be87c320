"""The W&B mirror, against W&B itself: offline directories are read back, uploads go to a server in this file."""

import json
import math
import re
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from study import tracking
from study.config import CoAtNetVariant, Data, Run, Training
from study.errors import StudyError

pytest.importorskip("wandb")

AT_ONCE = 5.0  # seconds of all rows, on however busy a machine: who waits for W&B does so longer, or at every row


@pytest.fixture(autouse=True)
def _no_wandb_settings(monkeypatch, tmp_path):
    """No account, no settings file, no cache and no server of whoever runs the tests."""
    for name in ("WANDB_ENTITY", "WANDB_PROJECT", "WANDB_IDENTITY_TOKEN_FILE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("CONFIG", "CACHE", "DATA"):
        monkeypatch.setenv(f"WANDB_{name}_DIR", str(tmp_path / f"wandb-{name.lower()}"))
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")  # nobody listens there
    monkeypatch.setattr(tracking, "GRACE", 120.0)  # a busy machine takes its time to import wandb


def a_run(seed: int = 0) -> Run:
    variant = CoAtNetVariant(
        layout="C-C-T-T", depths=(1, 1, 1, 1, 1), widths=(8, 8, 16, 32, 64), strides=(2, 1, 2, 2, 2)
    )
    return Run(variant=variant, data=Data(), training=Training(), seed=seed, label="C-C-T-T")


def a_row(step: int) -> dict:
    loss = 2.5 / (1 + step)
    return {"step": step, "epoch": step / 31, "samples": step * 128, "running_loss": loss, "test_accuracy": 1 / 3}


def a_result(run: Run, rows: list[dict]) -> dict:
    result = {"id": run.id, "label": run.label, "status": "ok", "seed": run.seed, "parameters": 123456, "steps": 93}
    result |= {"samples": rows[-1]["samples"], "seconds": 1.5, "final": rows[-1], "best_test_accuracy": 1 / 3}
    result |= {"run": run.model_dump(mode="json")}
    return result | {"environment": {"torch": "2.x", "device": "cpu"}}


def write_rows(folder: Path, rows: list[dict]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def write_finished_run(results: Path, run: Run, rows: list[dict]) -> Path:
    (results / "runs").mkdir(parents=True, exist_ok=True)
    (results / "experiment.json").write_text(json.dumps({"name": "generalization"}))
    write_rows(results / "runs" / run.id, rows)
    (results / "runs" / run.id / "run.json").write_text(run.model_dump_json())
    (results / "runs" / run.id / "result.json").write_text(json.dumps(a_result(run, rows)))
    return results / "runs" / run.id


ROWS = [a_row(step) for step in (0, 31, 62, 93)]
GROUP = "generalization-fractals-32px"

# ---------------------------------------------------------------- reading an offline directory back


def records(folder: Path) -> list:
    """The protobuf records of the one offline run below `folder`: LevelDB's log format after a header of 7 bytes."""
    from wandb.proto.wandb_internal_pb2 import Record

    (path,) = folder.glob("wandb/offline-run-*/run-*.wandb")
    data, position, pieces, found = path.read_bytes(), 7, b"", []
    assert data[:4] == b":W&B"
    while position + 7 <= len(data):
        if 32768 - position % 32768 < 7:  # no record header fits into the rest of a block
            position += 32768 - position % 32768
            continue
        length, kind = struct.unpack_from("<HB", data, position + 4)
        pieces += data[position + 7 : position + 7 + length]
        position += 7 + length
        if kind in (1, 4):  # the whole of a record, or its last piece
            found.append(Record.FromString(pieces))
            pieces = b""
    return found


def values(items) -> dict:
    """Items of a record with their JSON values, without W&B's own keys."""
    pairs = {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in items}
    return {key: value for key, value in pairs.items() if not key.startswith("_")}


def history(folder: Path) -> list[dict]:
    return [values(r.history.item) for r in records(folder) if r.WhichOneof("record_type") == "history"]


def steps(folder: Path) -> list[int]:
    return [r.history.step.num for r in records(folder) if r.WhichOneof("record_type") == "history"]


def run_record(folder: Path):
    return next(r.run for r in records(folder) if r.WhichOneof("record_type") == "run")


def exit_codes(folder: Path) -> list[int]:
    return [r.exit.exit_code for r in records(folder) if r.WhichOneof("record_type") == "exit"]


def summary(folder: Path) -> dict:
    found = {}
    for record in records(folder):
        if record.WhichOneof("record_type") == "summary":
            found |= values(record.summary.update)
    return found


def test_an_offline_run_holds_id_group_name_config_and_every_row_and_needs_no_network(tmp_path, capfd, server):
    run = a_run()
    mirror = tracking.open_mirror("offline", run, "generalization", tmp_path)
    for row in ROWS:
        mirror.log(row)
    mirror.finish(a_result(run, ROWS))

    recorded = run_record(tmp_path)
    assert (recorded.run_id, recorded.run_group, recorded.display_name) == (run.id, GROUP, "C-C-T-T-0")
    assert (recorded.job_type, list(recorded.tags)) == ("train", ["C-C-T-T", "fractals", "generalization"])
    assert recorded.project == "study"
    assert values(recorded.config.update) == run.model_dump(mode="json")
    assert history(tmp_path) == [tracking.wandb_names(row) for row in ROWS]
    assert steps(tmp_path) == [row["step"] for row in ROWS]
    told = summary(tmp_path)
    assert (told["status"], told["cost/parameters"], told["test/best_accuracy"]) == ("ok", 123456, 1 / 3)
    assert exit_codes(tmp_path) == [0]
    assert capfd.readouterr().err == ""
    assert server.connections == 0


def test_a_resumed_offline_run_is_complete_in_one_directory(tmp_path):
    run = a_run()
    first = tracking.open_mirror("offline", run, "generalization", tmp_path)
    for row in (*ROWS[:2], a_row(40)):  # the row at step 40 lies after the checkpoint and is dropped on resuming
        first.log(row)
    first.finish(None)
    assert steps(tmp_path) == [0, 31, 40]
    assert exit_codes(tmp_path) == [1]

    write_rows(tmp_path, ROWS[:2])
    second = tracking.open_mirror("offline", run, "generalization", tmp_path)
    with open(tmp_path / "metrics.jsonl", "a") as file:  # rows written from now on come by log alone
        file.write('{"step": 62, "epo')
    second.log(ROWS[2])
    second.log({"step": 70, "running_loss": float("nan")})
    second.finish({"status": "diverged"})
    assert history(tmp_path)[:-1] == [tracking.wandb_names(row) for row in ROWS[:3]]
    last = history(tmp_path)[-1]  # W&B keeps no order of its keys
    assert last.keys() == {"step", "train/running_loss"}
    assert last["step"] == 70
    assert math.isnan(last["train/running_loss"])
    assert summary(tmp_path)["status"] == "diverged"
    assert exit_codes(tmp_path) == [0]


def test_the_mode_off_starts_no_process_and_writes_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(tracking.subprocess, "Popen", lambda *_, **__: pytest.fail("a process was started"))
    mirror = tracking.open_mirror("off", a_run(), "generalization", tmp_path)
    mirror.log(ROWS[0])
    mirror.finish(a_result(a_run(), ROWS))
    assert list(tmp_path.iterdir()) == []


def test_the_training_process_imports_neither_wandb_nor_torch_for_it():
    code = "import sys, study.tracking; sys.exit(bool({'wandb', 'torch'} & set(sys.modules)))"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="reads Linux's /proc")
def test_no_process_outlives_a_mirror(tmp_path):
    def processes() -> set[str]:
        """W&B's service processes, as started by this mirror process."""
        found = set()
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                words = path.read_bytes().split(b"\0")
            except OSError:  # gone in the meantime
                continue
            if words[0].endswith(b"wandb-core") and str(pid).encode() in words:
                found.add(path.parent.name)
        return found

    def wait_until(condition) -> None:
        end = time.monotonic() + 90
        while not condition():
            assert time.monotonic() < end
            time.sleep(0.05)

    for kill in (False, True):
        mirror = tracking.open_mirror("offline", a_run(), "generalization", tmp_path)
        pid = mirror._process.pid
        wait_until(processes)
        if kill:
            mirror._process.kill()
        mirror.finish(a_result(a_run(), ROWS))
        wait_until(lambda: not processes())


# ---------------------------------------------------------------- failing


def fake_wandb(tmp_path, monkeypatch, init: str) -> None:
    """A package wandb whose `init` has this body, for the mirror processes that start from now on."""
    (tmp_path / "fake").mkdir()
    body = f"class Settings:\n    def __init__(self, **_): pass\ndef init(**_):\n    {init}\n"
    (tmp_path / "fake" / "wandb.py").write_text("import time\n" + body)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "fake"))


def seconds_of_a_mirrored_run(
    folder: Path, rows: int = 200, pause: float = 0.0, until: Callable[[], bool] = lambda: True
) -> tuple[float, float]:
    """How long starting the mirror and logging all rows took, without the pauses, and how long finishing took.

    The run finishes once `until` is true, or after a minute and a half.
    """
    started = time.perf_counter()
    mirror = tracking.open_mirror("online", a_run(), "generalization", folder)
    for step in range(rows):
        time.sleep(pause)
        mirror.log(a_row(step))
    logging = time.perf_counter() - started - rows * pause
    given_up = time.perf_counter() + 90
    while not until() and time.perf_counter() < given_up:
        time.sleep(0.05)
    started = time.perf_counter()
    mirror.finish(a_result(a_run(), ROWS))
    return logging, time.perf_counter() - started


@pytest.mark.parametrize(
    ("init", "reason"),
    [
        ("import os; os.write(2, b'noise'); raise RuntimeError('no such project')", "RuntimeError: no such project"),
        ("import sys; sys.exit(5)", "SystemExit: 5"),
        ("return type('R', (), {'starting_step': 0, 'log': lambda *_, **__: 1 / 0})()", "ZeroDivisionError"),
    ],
    ids=["init raises", "init exits", "log raises"],
)
def test_a_failing_wandb_costs_a_run_one_line_of_warning(tmp_path, monkeypatch, capfd, init, reason):
    fake_wandb(tmp_path, monkeypatch, init)
    logging, finishing = seconds_of_a_mirrored_run(tmp_path, rows=20, pause=0.05)
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith(f"warning: run {a_run().id} ")
    assert reason in line
    assert logging < AT_ONCE
    assert finishing < tracking.GRACE / 2


def test_a_hanging_wandb_delays_no_row_and_the_end_by_the_grace_alone(tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(tracking, "GRACE", 1.0)
    fake_wandb(tmp_path, monkeypatch, "time.sleep(3600)")
    logging, finishing = seconds_of_a_mirrored_run(tmp_path, rows=20)
    (line,) = capfd.readouterr().err.splitlines()
    assert "did not finish within 1 s" in line
    assert logging < AT_ONCE
    assert 1 <= finishing < 1 + 4 * AT_ONCE


def test_more_rows_than_a_hanging_wandb_takes_switch_the_mirror_off(tmp_path, monkeypatch, capfd):
    fake_wandb(tmp_path, monkeypatch, "time.sleep(3600)")
    logging, finishing = seconds_of_a_mirrored_run(tmp_path, rows=5000)  # more than any pipe holds
    (line,) = capfd.readouterr().err.splitlines()
    assert "takes no more rows" in line
    assert logging < AT_ONCE
    assert finishing < AT_ONCE


def test_a_server_that_never_answers_delays_no_row_and_the_end_by_the_grace_alone(tmp_path, monkeypatch, capfd, server):
    """The real wandb, online, while the network swallows everything."""
    monkeypatch.setattr(tracking, "GRACE", 2.0)
    server.silent = True
    logging, finishing = seconds_of_a_mirrored_run(tmp_path, rows=20, until=lambda: server.connections > 0)
    (line,) = capfd.readouterr().err.splitlines()
    assert "did not finish within 2 s" in line
    assert logging < AT_ONCE
    assert 2 <= finishing < 2 + 4 * AT_ONCE
    assert server.connections > 0


def test_an_interpreter_that_does_not_start_costs_one_line(tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(tracking, "_COMMAND", (str(tmp_path / "missing"),))
    seconds_of_a_mirrored_run(tmp_path)
    (line,) = capfd.readouterr().err.splitlines()
    assert "did not start" in line


def test_check_says_what_is_missing_before_any_run_starts(tmp_path, monkeypatch):
    tracking.check("off")
    tracking.check("offline")
    tracking.check("online")  # a key in the environment will do; it is not tried out
    with pytest.raises(StudyError, match="'sometimes' is not one of off, offline, online"):
        tracking.check("sometimes")
    monkeypatch.delenv("WANDB_API_KEY")
    with pytest.raises(StudyError, match="wandb login"):
        tracking.check("online")
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(StudyError, match="pip install wandb"):
        tracking.check("offline")
    tracking.check("off")


def test_a_folder_named_wandb_is_not_taken_for_the_package(tmp_path, monkeypatch):
    (tmp_path / "wandb").mkdir()
    monkeypatch.delitem(sys.modules, "wandb", raising=False)
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    with pytest.raises(StudyError, match="pip install wandb"):
        tracking.check("offline")


# ---------------------------------------------------------------- pushing


def test_push_offline_replays_each_finished_run_into_one_directory(tmp_path):
    runs = {"finished": a_run(0), "torn": a_run(1), "running": a_run(2), "unreadable": a_run(3)}
    folders = {state: write_finished_run(tmp_path, run, ROWS) for state, run in runs.items()}
    (folders["torn"] / "metrics.jsonl").write_text('{"step": 0, ')
    (folders["unreadable"] / "result.json").write_text('{"id": "')
    (folders["running"] / "result.json").unlink()
    first = {one.id: one for one in tracking.push(tmp_path, mode="offline")}
    assert set(first) == {runs[state].id for state in ("finished", "torn", "unreadable")}
    for state, file in (("torn", "metrics.jsonl"), ("unreadable", "result.json")):  # they do not stop the other
        assert first[runs[state].id].label == "damaged"
        assert f"{folders[state] / file} is damaged" in first[runs[state].id].error
        (folders[state] / "result.json").unlink()
    second = tracking.push(tmp_path, mode="offline")
    assert [first[runs["finished"].id]] == second == [tracking.Pushed(runs["finished"].id, "C-C-T-T", 0, rows=4)]
    assert history(folders["finished"]) == [
        tracking.wandb_names(row) for row in ROWS
    ]  # reading back finds the one directory
    recorded = run_record(folders["finished"])
    assert (recorded.run_id, recorded.run_group) == (runs["finished"].id, GROUP)
    assert values(recorded.config.update) == runs["finished"].model_dump(mode="json")
    assert not (folders["running"] / "wandb").exists()


def test_online_each_row_is_sent_once_however_often_a_run_is_mirrored_and_pushed(tmp_path, server):
    run = a_run()
    folder = write_finished_run(tmp_path, run, ROWS[:1])
    mirror = tracking.open_mirror("online", run, "generalization", folder)
    mirror.log(ROWS[1])
    mirror.finish(None)  # cut off
    assert len(server.runs[run.id]["rows"]) == 2
    assert server.runs[run.id]["exitcode"] == 1

    write_finished_run(tmp_path, run, ROWS)
    assert [one.rows for one in tracking.push(tmp_path)] == [2]
    assert [one.rows for one in tracking.push(tmp_path)] == [0]
    assert list(server.runs) == [run.id]
    (sent,) = server.runs.values()
    named = [tracking.wandb_names(row) for row in ROWS]
    assert [{key: row[key] for key in named[0]} for row in sent["rows"]] == named
    assert [row["_step"] for row in sent["rows"]] == [row["step"] for row in ROWS]
    assert (sent["group"], sent["name"], sent["exitcode"]) == (GROUP, "C-C-T-T-0", 0)
    assert {key: sent["config"][key]["value"] for key in sent["config"] if key[0] != "_"} == run.model_dump(mode="json")


def test_the_report_and_the_figures_go_along_as_an_artifact(tmp_path):
    write_finished_run(tmp_path, a_run(), ROWS)
    (tmp_path / "report.html").write_text("<p>the answer</p>")
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "gap_curve.svg").write_text("<svg/>")
    report = tracking.push(tmp_path, mode="offline")[-1]
    assert (report.label, report.error) == ("report", "")
    found = [r.artifact or r for r in records(tmp_path) if r.WhichOneof("record_type") == "artifact"]
    sent = [r.request.log_artifact.artifact for r in records(tmp_path) if r.WhichOneof("record_type") == "request"]
    artifacts = [*found, *sent]
    names = {entry.path for artifact in artifacts for entry in artifact.manifest.contents}
    assert names == {"report.html", "figures/gap_curve.svg"}
    assert (run_record(tmp_path).job_type, run_record(tmp_path).run_group) == ("report", GROUP)


def test_pushing_a_folder_that_is_no_results_folder_is_said_so(tmp_path):
    with pytest.raises(StudyError, match="is not a results folder"):
        tracking.push(tmp_path, mode="offline")


# ---------------------------------------------------------------- a server


class Server(ThreadingHTTPServer):
    """As much of a W&B server as uploading and resuming a run needs. `runs` is what it was sent."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.runs: dict[str, dict] = {}
        self.connections = 0
        self.silent = False
        self.stopped = threading.Event()

    def handle_error(self, request, client_address) -> None:
        pass  # clients hang up as they please

    def answer(self, operation: str, variables: dict) -> dict:
        """The data of a GraphQL answer."""
        project = {"id": "p", "name": "study", "entity": {"id": "e", "name": "someone"}}
        name = variables.get("name")
        if operation == "RunResumeStatus":
            if name not in self.runs:
                return {"model": project | {"bucket": None}}
            rows = self.runs[name]["rows"]
            tail = json.dumps([json.dumps(row) for row in rows[-1:]])
            bucket = {"id": name, "name": name, "displayName": None, "tags": [], "notes": None, "config": "{}"}
            bucket |= {"summaryMetrics": "{}", "wandbConfig": '{"t": 1}', "historyLineCount": len(rows)}
            bucket |= {"eventsLineCount": 0, "logLineCount": 0, "historyTail": tail, "eventsTail": "[]"}
            return {"model": project | {"bucket": bucket}}
        if operation == "UpsertBucket":
            run = self.runs.setdefault(name, {"rows": [], "exitcode": None})
            told = {"group": variables["groupName"], "name": variables["displayName"]}
            run |= {key: value for key, value in told.items() if value} | {"config": json.loads(variables["config"])}
            bucket = {"id": name, "name": name, "project": project, "config": "{}", "historyLineCount": 0}
            return {"upsertBucket": {"bucket": bucket, "inserted": True}}
        if operation == "CreateRunFiles":
            files = [{"name": file, "uploadUrl": f"{self.url}/upload"} for file in variables["files"]]
            return {"createRunFiles": {"runID": variables["run"], "uploadHeaders": [], "files": files}}
        return {}

    def stream(self, run: dict, sent: dict) -> None:
        """Rows of history at an offset, and the exit code."""
        if chunk := (sent.get("files") or {}).get("wandb-history.jsonl"):
            lines = [json.loads(line) for line in chunk["content"]]
            run["rows"][chunk["offset"] : chunk["offset"] + len(lines)] = lines
        if sent.get("complete"):
            run["exitcode"] = sent["exitcode"]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def setup(self) -> None:
        super().setup()
        self.server.connections += 1

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.server.silent:
            self.server.stopped.wait()
            return
        answer = {}
        if found := re.fullmatch(r"/files/[^/]+/[^/]+/([^/]+)/file_stream", self.path):
            self.server.stream(self.server.runs[found[1]], json.loads(body))
        elif self.path == "/graphql":
            query = json.loads(body)
            operation = re.search(r"(?:query|mutation)\s+(\w+)", query["query"])
            answer = {"data": self.server.answer(operation[1] if operation else "", query.get("variables") or {})}
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(json.dumps(answer).encode())

    do_GET = do_PUT = do_POST  # noqa: N815

    def log_message(self, *_) -> None:
        pass


@pytest.fixture
def server(monkeypatch):
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        monkeypatch.setenv("WANDB_BASE_URL", server.url)
        yield server
        server.stopped.set()
        server.shutdown()
        thread.join()
