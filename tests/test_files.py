import os
import stat

import pytest

from lmfast.files import atomic_write


def test_unit_writes_bytes_and_text(tmp_path):
    with atomic_write(tmp_path / "a.bin") as stream:
        stream.write(b"\x00\r\n\xff")
    with atomic_write(tmp_path / "a.txt", "w") as stream:
        stream.write("é\nñ")
    assert (tmp_path / "a.bin").read_bytes() == b"\x00\r\n\xff"
    assert (tmp_path / "a.txt").read_bytes() == b"\xc3\xa9\n\xc3\xb1"
    assert sorted(os.listdir(tmp_path)) == ["a.bin", "a.txt"]


def test_unit_the_name_appears_only_at_the_end(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"old")
    with atomic_write(path) as stream:
        stream.write(b"new")
        stream.flush()
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"


def test_unit_seeking_back_works(tmp_path):
    with atomic_write(tmp_path / "a") as stream:
        stream.write(b"0000body")
        stream.seek(0)
        stream.write(b"head")
    assert (tmp_path / "a").read_bytes() == b"headbody"


@pytest.mark.parametrize("failure", [RuntimeError, KeyboardInterrupt, SystemExit, GeneratorExit])
@pytest.mark.parametrize("old", [b"old", None])
def test_safety_a_failure_leaves_the_old_file_and_nothing_else(tmp_path, failure, old):
    path = tmp_path / "a"
    if old is not None:
        path.write_bytes(old)

    def write_half():
        with atomic_write(path) as stream:
            stream.write(b"half")
            raise failure

    with pytest.raises(failure):
        write_half()
    assert os.listdir(tmp_path) == ([] if old is None else ["a"])
    assert old is None or path.read_bytes() == old


def test_safety_a_failing_disk_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "a"
    path.write_bytes(b"old")

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"), atomic_write(path) as stream:
        stream.write(b"new")
    assert os.listdir(tmp_path) == ["a"]
    assert path.read_bytes() == b"old"


@pytest.mark.parametrize(("umask", "want"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_unit_a_new_file_follows_the_umask(tmp_path, umask, want):
    before = os.umask(umask)
    try:
        with atomic_write(tmp_path / "a"):
            pass
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == want


def test_unit_an_old_file_keeps_its_permissions(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"old")
    path.chmod(0o640)
    with atomic_write(path) as stream:
        stream.write(b"new")
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_unit_a_link_is_followed(tmp_path):
    (tmp_path / "folder").mkdir()
    target = tmp_path / "folder" / "target"
    target.write_bytes(b"old")
    (tmp_path / "link").symlink_to(target)
    with atomic_write(tmp_path / "link") as stream:
        stream.write(b"new")
    assert (tmp_path / "link").is_symlink()
    assert target.read_bytes() == b"new"


def test_unit_a_device_is_written_as_it_is():
    with atomic_write(os.devnull) as stream:
        stream.write(b"gone")
    assert stat.S_ISCHR(os.stat(os.devnull).st_mode)


def test_unit_errors_name_the_path(tmp_path):
    missing = tmp_path / "no" / "a"
    with pytest.raises(FileNotFoundError) as caught, atomic_write(missing):
        pass
    assert caught.value.filename == str(missing)
    with pytest.raises(IsADirectoryError) as caught, atomic_write(tmp_path):
        pass
    assert caught.value.filename == str(tmp_path)
    with pytest.raises(ValueError, match="'a'"), atomic_write(tmp_path / "x", "a"):
        pass
    assert os.listdir(tmp_path) == []
