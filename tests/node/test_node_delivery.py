"""Studies in, results back, each once."""

from __future__ import annotations

import os
import threading
from collections.abc import Collection
from pathlib import Path

import pydicom
import pytest
from archive_stand_in import archive
from node_trials import CT, SECONDARY_CAPTURE, SEGMENTATION, at_work, configuration, free_port, send, stand_in_score, study, uid_of, until
from pynetdicom import AE, evt

from medood.node.jobs import FAILED, SENT
from medood.node.node import Node
from medood.node.scoring import Made
from medood.node.study_queue import open_queue


def scored_in(results: list[pydicom.Dataset]) -> list[str]:
    """UIDs of everything that was scored, as often as it was."""
    return sorted(uid for result in results for uid in result.ImageComments.split())


def uids(files: list[Path]) -> list[str]:
    return sorted(map(uid_of, files))


def state_of(node: Node, number: int = 1) -> tuple[str, str]:
    """State and reason of a study."""
    queue = open_queue(node.config.folder)
    try:
        return next((state, reason) for study, _, state, _, reason, _ in queue.overview() if study == number)
    except StopIteration:
        return "", ""
    finally:
        queue.file.close()


def images_left(node: Node) -> list[Path]:
    """Folders may go while they are looked into."""
    return [Path(folder, name) for folder, _, names in os.walk(node.config.folder / "studies") for name in names]


def test_a_study_comes_by_c_store_and_its_results_go_by_stow(tmp_path: Path) -> None:
    files = study(tmp_path / "in", 1, slices=4, series=2)
    with archive() as pacs, at_work(configuration(tmp_path / "node", stow={"url": pacs.url}, quiet_s=3.0)) as node:
        assert send(files, node.receiver.port) == [0] * 8
        until(lambda: state_of(node)[0] == SENT and not images_left(node))
        assert len(pacs.stored) == 2
        assert scored_in(pacs.results) == uids(files)
        assert not list((tmp_path / "node").glob("work/*/objects"))
        assert len(list((tmp_path / "node").glob("work/*/scores.csv"))) == 1


def test_images_stay_where_that_is_wanted(tmp_path: Path) -> None:
    files = study(tmp_path / "in", 1)
    with archive() as pacs, at_work(configuration(tmp_path / "node", stow={"url": pacs.url}, keep_images=True)) as node:
        send(files, node.receiver.port)
        until(lambda: state_of(node)[0] == SENT)
        assert sorted(uid_of(path) for path in images_left(node)) == uids(files)


def test_results_go_by_c_store(tmp_path: Path) -> None:
    got: list[str] = []

    def store(event: evt.Event) -> int:
        got.append(str(event.dataset.SOPInstanceUID))
        return 0

    entity, port = AE("ARCHIVE"), free_port()
    entity.require_called_aet = True
    entity.add_supported_context(SECONDARY_CAPTURE)
    server = entity.start_server(("127.0.0.1", port), block=False, evt_handlers=[(evt.EVT_C_STORE, store)])
    try:
        place = {"host": "127.0.0.1", "port": port, "called": "ARCHIVE"}
        with at_work(configuration(tmp_path / "node", store=place)) as node:
            send(study(tmp_path / "in", 1, series=2), node.receiver.port)
            until(lambda: state_of(node)[0] == SENT)
    finally:
        server.shutdown()
    assert len(got) == len(set(got)) == 2


def test_an_archive_is_looked_into_and_nothing_is_fetched_twice(tmp_path: Path) -> None:
    files = [*study(tmp_path / "in", 1, series=2), *study(tmp_path / "in", 2)]
    with archive() as pacs:
        for path in files:
            pacs.add(path)
        config = configuration(tmp_path / "node", receive=None, poll={"url": pacs.url, "every_s": 0.05}, stow={"url": pacs.url})
        with at_work(config) as node:
            until(lambda: state_of(node, 1)[0] == SENT and state_of(node, 2)[0] == SENT)
            looks = sum(request.startswith("GET /dicom-web/studies?") for request in pacs.requests)
            until(lambda: sum(request.startswith("GET /dicom-web/studies?") for request in pacs.requests) > looks + 3)
            assert state_of(node, 3)[0] == ""
        fetched = [request for request in pacs.requests if "/series/" in request]
        assert len(fetched) == len(set(fetched)) == len(files), "its own results are in the archive too, and are not taken for images"
        assert any("StudyDate=" in request for request in pacs.requests)
        assert len(pacs.stored) == 3
        assert scored_in(pacs.results) == uids(files)


def test_a_late_slice_in_the_archive_has_its_whole_series_fetched_again(tmp_path: Path) -> None:
    files = study(tmp_path / "in", 1, slices=3)
    with archive() as pacs:
        for path in files[:2]:
            pacs.add(path)
        config = configuration(tmp_path / "node", receive=None, poll={"url": pacs.url, "every_s": 0.05}, stow={"url": pacs.url})
        with at_work(config) as node:
            until(lambda: state_of(node)[0] == SENT and not images_left(node))
            pacs.add(files[2])
            until(lambda: len(pacs.stored) == 2)
        assert scored_in(pacs.results[1:]) == uids(files)


def test_a_study_that_is_sent_again_is_neither_scored_nor_answered_again(tmp_path: Path) -> None:
    files = study(tmp_path / "in", 1)
    with archive() as pacs, at_work(configuration(tmp_path / "node", stow={"url": pacs.url})) as node:
        send([*files, *files], node.receiver.port)
        until(lambda: state_of(node)[0] == SENT and not images_left(node))
        assert send(files, node.receiver.port) == [0] * 3
        assert images_left(node)
        until(lambda: state_of(node)[0] == SENT and not images_left(node))
        assert len(pacs.stored) == 1


def test_a_series_that_comes_later_is_scored_alone(tmp_path: Path) -> None:
    first, second = (study(tmp_path / "in", 1, series=2)[part] for part in (slice(0, 3), slice(3, 6)))
    with archive() as pacs, at_work(configuration(tmp_path / "node", stow={"url": pacs.url})) as node:
        send(first, node.receiver.port)
        until(lambda: state_of(node)[0] == SENT)
        send(second, node.receiver.port)
        until(lambda: len(pacs.stored) == 2)
        assert scored_in(pacs.results[:1]) == uids(first)
        assert scored_in(pacs.results[1:]) == uids(second)


def test_a_late_slice_of_a_deleted_series_fails_loudly_until_the_whole_comes_again(tmp_path: Path) -> None:
    files = study(tmp_path / "in", 1, slices=4)
    with archive() as pacs, at_work(configuration(tmp_path / "node", stow={"url": pacs.url})) as node:
        send(files[:3], node.receiver.port)
        until(lambda: state_of(node)[0] == SENT and not images_left(node))
        send(files[3:], node.receiver.port)
        until(lambda: state_of(node)[0] == FAILED)
        assert "after 3 of its objects had been scored and deleted; send the study again as a whole" in state_of(node)[1]
        send(files, node.receiver.port)
        until(lambda: len(pacs.stored) == 2)
        assert scored_in(pacs.results[1:]) == uids(files)


def test_a_study_that_grows_while_it_is_scored_is_scored_again(tmp_path: Path) -> None:
    files = study(tmp_path / "in", 1, slices=4)
    begun, go_on = threading.Event(), threading.Event()

    def score(images: Path, series: Collection[str], out: Path) -> Made:
        made = stand_in_score(images, series, out)
        begun.set()
        assert go_on.wait(20)
        return made

    with archive() as pacs, at_work(configuration(tmp_path / "node", stow={"url": pacs.url}), score) as node:
        send(files[:2], node.receiver.port)
        begun.wait(20)
        send(files[2:], node.receiver.port)
        go_on.set()
        until(lambda: state_of(node)[0] == SENT)
        assert len(pacs.stored) == 1
        assert scored_in(pacs.results) == uids(files)


def test_objects_that_come_while_results_wait_are_scored_next(tmp_path: Path) -> None:
    first, second = (study(tmp_path / "in", 1, series=2)[part] for part in (slice(0, 3), slice(3, 6)))
    with archive() as pacs, at_work(configuration(tmp_path / "node", stow={"url": pacs.url})) as node:
        pacs.on_request = lambda path: 503 if path.startswith("POST") else None
        send(first, node.receiver.port)
        until(lambda: "503" in state_of(node)[1])
        send(second, node.receiver.port)
        pacs.on_request = lambda path: None
        until(lambda: len(pacs.stored) == 2)
        assert scored_in(pacs.results) == uids([*first, *second])


def test_an_object_that_comes_again_with_other_content_replaces_the_first(tmp_path: Path) -> None:
    files = study(tmp_path / "in", 1, slices=1)
    other = pydicom.dcmread(files[0])
    other.StudyDescription = "corrected"
    other.save_as(tmp_path / "other.dcm")
    seen: list[str] = []

    def score(images: Path, series: Collection[str], out: Path) -> Made:
        seen.extend(str(pydicom.dcmread(path).StudyDescription) for path in images.rglob("*.dcm"))
        return stand_in_score(images, series, out)

    with archive() as pacs, at_work(configuration(tmp_path / "node", stow={"url": pacs.url}), score) as node:
        assert send([files[0], tmp_path / "other.dcm"], node.receiver.port) == [0, 0]
        until(lambda: state_of(node)[0] == SENT)
        assert seen == ["corrected"]


def test_results_that_an_archive_sends_back_begin_nothing(tmp_path: Path) -> None:
    with archive() as pacs, at_work(configuration(tmp_path / "node", stow={"url": pacs.url}, keep_images=True)) as node:
        files = study(tmp_path / "in", 1)
        send(files, node.receiver.port)
        until(lambda: state_of(node)[0] == SENT)
        pacs.results[0].save_as(tmp_path / "back.dcm")
        assert send([tmp_path / "back.dcm"], node.receiver.port) == [0]
        assert state_of(node)[0] == SENT
        assert len(images_left(node)) == len(files)


def test_a_class_that_the_archive_refuses_is_left_out_and_said(tmp_path: Path) -> None:
    with archive() as pacs:
        pacs.refuses[SEGMENTATION] = 0x0122
        kinds = (SECONDARY_CAPTURE, SEGMENTATION)
        with at_work(configuration(tmp_path / "node", stow={"url": pacs.url}), lambda *a: stand_in_score(*a, kinds)) as node:
            send(study(tmp_path / "in", 1), node.receiver.port)
            until(lambda: state_of(node)[0] == SENT)
            assert "refuses Segmentation Storage (0x0122)" in state_of(node)[1]
        assert [str(result.SOPClassUID) for result in pacs.results] == [SECONDARY_CAPTURE]


@pytest.mark.parametrize("reason", [0x0122, 0x0110])
def test_a_study_of_which_nothing_is_taken_has_failed(tmp_path: Path, reason: int) -> None:
    with archive() as pacs:
        pacs.refuses[SECONDARY_CAPTURE] = reason
        with at_work(configuration(tmp_path / "node", stow={"url": pacs.url})) as node:
            send(study(tmp_path / "in", 1), node.receiver.port)
            until(lambda: state_of(node)[0] == FAILED)
            assert f"0x{reason:04X}" in state_of(node)[1]
        assert CT not in pacs.refuses
