"""What hurts a node: full disks, broken and hostile senders, sizes and counts."""

from __future__ import annotations

import errno
import os
import socket
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from archive_stand_in import archive
from dicom_writer import image_dataset, write_image
from node_trials import CT, associate, at_work, configuration, send, study, until
from pydicom.uid import DeflatedExplicitVRLittleEndian, generate_uid
from pynetdicom.pdu_primitives import P_DATA

from medood.core.errors import InputError, MedoodError
from medood.node import inbox as inbox_module
from medood.node.config import Limits
from medood.node.inbox import Inbox, NoRoom
from medood.node.object_header import read_object
from medood.node.study_queue import StudyQueue

NOWHERE = {"url": "http://127.0.0.1:9/dicom-web"}


@pytest.fixture
def node(tmp_path: Path):
    limits = {"free_gb": 0.0, "object_mb": 1, "decoded_mb": 1}
    with at_work(configuration(tmp_path / "node", stow=NOWHERE, limits=limits, quiet_s=3600.0)) as node:
        yield node


def kept(node: Any) -> int:
    return sum(path.is_file() for path in (node.config.folder / "studies").rglob("*"))


def half_written(node: Any) -> list[Path]:
    return list((node.config.folder / "incoming").iterdir())


@pytest.mark.parametrize("where", ["fsync", "queue"])
def test_a_full_disk_is_told_to_the_sender_who_may_come_again(node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    files = study(tmp_path / "in", 1)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        if where == "fsync":
            patch.setattr(os, "fsync", full)
        else:
            patch.setattr(StudyQueue, "add", full)
        assert set(send(files, node.receiver.port)) == {0xA700}
    assert not half_written(node)
    assert send(files, node.receiver.port) == [0] * 3
    assert kept(node) == 3


def test_a_disk_that_others_need_is_left_alone(tmp_path: Path) -> None:
    inbox = Inbox(tmp_path, StudyQueue(tmp_path / "q"), Limits(free_gb=1e9))
    with pytest.raises(NoRoom, match="free_gb"):
        inbox.check_room()


def test_nothing_is_taken_beyond_the_storage_limit(tmp_path: Path) -> None:
    limits = {"free_gb": 0.0, "storage_gb": 1e-6}
    with at_work(configuration(tmp_path / "node", stow=NOWHERE, limits=limits, quiet_s=3600.0)) as node:
        statuses = send(study(tmp_path / "in", 1, slices=4, size=16), node.receiver.port)
        assert statuses == [0, 0xA700, 0xA700, 0xA700] or statuses == [0, 0, 0xA700, 0xA700]


def test_only_so_many_objects_wait_at_the_same_time(tmp_path: Path) -> None:
    limits = {"free_gb": 0.0, "objects": 2}
    with at_work(configuration(tmp_path / "node", stow=NOWHERE, limits=limits, quiet_s=3600.0)) as node:
        assert send(study(tmp_path / "in", 1, slices=4), node.receiver.port) == [0, 0, 0xA700, 0xA700]


def test_a_study_has_only_so_many_objects(tmp_path: Path) -> None:
    limits = {"free_gb": 0.0, "study_objects": 3}
    with at_work(configuration(tmp_path / "node", stow=NOWHERE, limits=limits, quiet_s=3600.0)) as node:
        files = study(tmp_path / "in", 1, slices=5)
        assert send(files, node.receiver.port) == [0, 0, 0, 0xC000, 0xC000]
        assert send(files[:3], node.receiver.port) == [0, 0, 0]
        assert send(study(tmp_path / "in", 2), node.receiver.port) == [0, 0, 0]


def test_an_association_that_is_aborted_half_way_leaves_what_was_acknowledged(node, tmp_path: Path) -> None:
    files = study(tmp_path / "in", 1, slices=2, size=128)
    association = associate(node.receiver.port)
    assert association.send_c_store(files[0]).Status == 0
    half = P_DATA()
    half.presentation_data_value_list = [[association.accepted_contexts[0].context_id, b"\x00" + bytes(500)]]
    association.dul.send_pdu(half)
    association.abort()
    until(lambda: not node.receiver._server.active_associations)
    assert kept(node) == 1
    assert not half_written(node)
    assert send(files, node.receiver.port) == [0, 0]
    assert kept(node) == 2


def test_an_object_that_is_too_large_ends_the_connection_and_nothing_else(node, tmp_path: Path) -> None:
    large = write_image(tmp_path / "large.dcm", np.zeros((1024, 1600), np.int16), modality="CT", series="1.2.3", study="1.2")
    assert send([large], node.receiver.port) == []
    assert send(study(tmp_path / "in", 1), node.receiver.port) == [0] * 3


def test_a_message_of_four_gigabytes_is_not_waited_for(node, tmp_path: Path) -> None:
    for kind in (1, 4):
        with socket.create_connection(("127.0.0.1", node.receiver.port)) as hostile:
            hostile.sendall(struct.pack(">BBL", kind, 0, 0xFFFFFFFF) + bytes(1000))
            hostile.settimeout(10)
            while hostile.recv(1000):  # an A-ABORT, perhaps, and the end
                pass
    assert send(study(tmp_path / "in", 1), node.receiver.port) == [0] * 3


def test_who_does_not_wait_for_answers_is_cut_off(node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hold = inbox_module.threading.Event()
    take = Inbox.take
    monkeypatch.setattr(Inbox, "take", lambda *arguments: (hold.wait(10), take(*arguments)))
    association = associate(node.receiver.port)
    from pydicom import dcmread
    from pynetdicom.dimse_primitives import C_STORE
    from pynetdicom.dsutils import encode

    files = study(tmp_path / "in", 1)
    for number, path in enumerate(files, start=1):
        request, dataset = C_STORE(), dcmread(path)
        request.MessageID, request.Priority = number, 2
        request.AffectedSOPClassUID, request.AffectedSOPInstanceUID = dataset.SOPClassUID, dataset.SOPInstanceUID
        from io import BytesIO

        request.DataSet = BytesIO(encode(dataset, False, True))
        association.dimse.send_msg(request, association.accepted_contexts[0].context_id)
    until(lambda: not association.is_established)
    hold.set()
    assert send(files, node.receiver.port) == [0] * 3


def test_only_so_many_may_call_at_the_same_time(tmp_path: Path) -> None:
    config = configuration(tmp_path / "node", stow=NOWHERE, quiet_s=3600.0)
    assert config.receive
    config = config.model_copy(update={"receive": config.receive.model_copy(update={"associations": 2})})
    with at_work(config) as node:
        held = [associate(node.receiver.port) for _ in range(2)]
        assert all(one.is_established for one in held)
        assert not associate(node.receiver.port).is_established
        for one in held:
            one.release()
        until(lambda: not node.receiver._server.active_associations)
        assert send(study(tmp_path / "in", 1), node.receiver.port) == [0] * 3


def deflated(path: Path, megabytes: int) -> Path:
    """An object of so many megabytes of zeros, deflated a thousandfold."""
    dataset = image_dataset(np.zeros((8, 8), np.int16), modality="CT", series="1.2.3", study="1.2")
    dataset.file_meta = __import__("pydicom").dataset.FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    dataset.add_new(0x00091001, "UN", b"")
    dataset.save_as(path, enforce_file_format=True)
    content = path.read_bytes()
    start = 144 + int.from_bytes(content[140:144], "little")
    plain = zlib.decompress(content[start:], -zlib.MAX_WBITS)
    place = plain.index(b"\x09\x00\x01\x10UN")
    bomb = plain[: place + 8] + struct.pack("<L", megabytes << 20) + bytes(megabytes << 20) + plain[place + 12 :]
    squeeze = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    path.write_bytes(content[:start] + squeeze.compress(bomb) + squeeze.flush())
    return path


def test_what_deflates_is_measured_before_it_is_inflated(tmp_path: Path) -> None:
    bomb, fine = deflated(tmp_path / "bomb.dcm", 3), deflated(tmp_path / "fine.dcm", 1)
    assert bomb.stat().st_size < 20_000
    with pytest.raises(InputError, match="inflates to more than 2 MB"):
        read_object(bomb, Limits(object_mb=2))
    assert read_object(fine, Limits(object_mb=2)).study == "1.2"


def test_a_deflated_bomb_is_refused_and_the_node_goes_on(node, tmp_path: Path) -> None:
    association = associate(node.receiver.port, syntax=DeflatedExplicitVRLittleEndian)
    bomb = deflated(tmp_path / "bomb.dcm", 3)
    from io import BytesIO

    from pynetdicom.dimse_primitives import C_STORE

    content = bomb.read_bytes()
    request = C_STORE()
    request.MessageID, request.Priority, request.AffectedSOPClassUID, request.AffectedSOPInstanceUID = 1, 2, CT, generate_uid()
    request.DataSet = BytesIO(content[144 + int.from_bytes(content[140:144], "little") :])
    association._reactor_checkpoint.clear()  # as send_c_store does, so that nobody else takes the answer
    until(lambda: association._is_paused)
    association.dimse.send_msg(request, association.accepted_contexts[0].context_id)
    _, answer = association.dimse.get_msg(block=True)
    association._reactor_checkpoint.set()
    assert answer.Status == 0xC000
    association.release()
    assert send(study(tmp_path / "in", 1), node.receiver.port) == [0] * 3


def test_pixels_that_would_take_too_much_memory_are_refused(tmp_path: Path) -> None:
    path = write_image(tmp_path / "x.dcm", np.zeros((8, 8), np.int16), modality="CT", extra={"Rows": 60000, "Columns": 60000})
    with pytest.raises(InputError, match=r"13732 MB, more than 4096 \(limits.decoded_mb\)"):
        read_object(path, Limits())


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"StudyInstanceUID": None}, "StudyInstanceUID"),
        ({"SeriesInstanceUID": "../../etc"}, "SeriesInstanceUID"),
        ({"SOPInstanceUID": "1.2.x"}, "SOPInstanceUID"),
    ],
)
def test_an_object_without_names_is_refused(tmp_path: Path, change: dict[str, Any], why: str) -> None:
    path = write_image(tmp_path / "x.dcm", np.zeros((8, 8), np.int16), modality="CT", extra=change)
    with pytest.raises(InputError, match=why):
        read_object(path, Limits())


@pytest.mark.parametrize("content", [b"", b"x" * 200, bytes(128) + b"DICM", bytes(128) + b"DICM" + b"\x02\0\0\0UL\x04\0\xff\xff\xff\xff"])
def test_what_is_no_object_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(InputError):
        read_object(tmp_path / "x", Limits())


def test_two_nodes_do_not_share_a_folder(tmp_path: Path) -> None:
    with (
        at_work(configuration(tmp_path / "node", stow=NOWHERE)),
        pytest.raises(MedoodError, match="give this node another `folder`"),
        at_work(configuration(tmp_path / "node", stow=NOWHERE)),
    ):
        pass


def test_a_port_that_is_taken_is_said(tmp_path: Path) -> None:
    config = configuration(tmp_path / "one", stow=NOWHERE)
    other = config.model_copy(update={"folder": tmp_path / "two"})
    with at_work(config), pytest.raises(MedoodError, match="Cannot listen on 127"), at_work(other):
        pass


def test_what_a_crash_left_is_taken_away_and_what_was_acknowledged_is_not(tmp_path: Path) -> None:
    config = configuration(tmp_path / "node", stow=NOWHERE, quiet_s=3600.0)
    with at_work(config) as node:
        send(study(tmp_path / "in", 1), node.receiver.port)
    (tmp_path / "node" / "incoming" / "half.part").write_bytes(b"x")
    (tmp_path / "node" / "studies" / "orphan.dcm").write_bytes(b"x")
    with at_work(config) as node:
        assert not half_written(node)
        assert kept(node) == 3


def test_an_archive_that_sends_too_much_is_stopped(tmp_path: Path) -> None:
    large = write_image(tmp_path / "large.dcm", np.zeros((1024, 1600), np.int16), modality="CT", series="1.2.3", study="1.2")
    with archive() as pacs:
        pacs.add(large)
        limits = {"free_gb": 0.0, "object_mb": 1}
        config = configuration(tmp_path / "node", receive=None, poll={"url": pacs.url, "every_s": 0.05}, stow=NOWHERE, limits=limits)
        with at_work(config) as node:
            until(lambda: sum("/series/" in request for request in pacs.requests) > 1)
            assert not kept(node)
