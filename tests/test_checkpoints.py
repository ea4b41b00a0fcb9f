"""State dicts from every usual wrapping, and from hostile files."""

from __future__ import annotations

import os
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest

from affectkit.checkpoints import load_strictly, state_dict
from affectkit.errors import HostileFile, UsageError

torch = pytest.importorskip("torch")

TENSORS = {"conv.weight": torch.arange(6.0).reshape(2, 3), "conv.bias": torch.ones(2)}


def check(path: Path) -> None:
    read = state_dict(path)
    assert read.keys() == TENSORS.keys()
    assert all(torch.equal(read[name], TENSORS[name]) for name in TENSORS)


def saved(path: Path, content: Any = TENSORS, **how: Any) -> Path:
    torch.save(content, path, **how)
    return path


def packed(path: Path, *members: Path, method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for member in members:
            archive.write(member, f"inside/{member.name}")
    return path


class TestWrappings:
    def test_torch_zip_format(self, tmp_path: Path) -> None:
        check(saved(tmp_path / "a.pth"))
        check(saved(tmp_path / "a.zip"))

    def test_torch_old_format(self, tmp_path: Path) -> None:
        check(saved(tmp_path / "a.pth", _use_new_zipfile_serialization=False))

    @pytest.mark.parametrize("old", [False, True])
    def test_a_checkpoint_in_a_zip(self, tmp_path: Path, old: bool) -> None:
        inner = saved(tmp_path / "a.pth", _use_new_zipfile_serialization=not old)
        check(packed(tmp_path / "a.zip", inner))

    def test_safetensors(self, tmp_path: Path) -> None:
        from safetensors.torch import save_file

        save_file(TENSORS, tmp_path / "a.safetensors")
        check(tmp_path / "a.safetensors")

    @pytest.mark.parametrize("key", ["state_dict", "model"])
    def test_nested(self, tmp_path: Path, key: str) -> None:
        check(saved(tmp_path / "a.pth", {"epoch": 3, key: OrderedDict(TENSORS)}))

    def test_data_parallel_prefix(self, tmp_path: Path) -> None:
        check(saved(tmp_path / "a.pth", {f"module.{name}": value for name, value in TENSORS.items()}))
        mixed = {"module.a": torch.ones(1), "b": torch.ones(1)}
        assert state_dict(saved(tmp_path / "b.pth", mixed)).keys() == mixed.keys()


class Payload:
    """Runs a command when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.mark),)


class TestHostile:
    @pytest.mark.parametrize("old", [False, True])
    def test_pickled_code_does_not_run(self, tmp_path: Path, old: bool) -> None:
        content = {"conv.weight": Payload(tmp_path / "ran")}
        path = saved(tmp_path / "a.pth", content, _use_new_zipfile_serialization=not old)
        for file in (path, packed(tmp_path / "a.zip", path)):
            with pytest.raises(UsageError, match=r"not a checkpoint of plain tensors"):
                state_dict(file)
        assert not (tmp_path / "ran").exists()

    def test_a_zip_that_unpacks_to_much_more(self, tmp_path: Path) -> None:
        (tmp_path / "a.pth").write_bytes(bytes(4 << 20))
        with pytest.raises(HostileFile, match="declares 4194304 bytes"):
            state_dict(packed(tmp_path / "a.zip", tmp_path / "a.pth"))

    @pytest.mark.parametrize("content", [b"", b"text", b"PK\x03\x04", b"\x80\x02" + bytes(50), bytes(3000)])
    def test_no_checkpoint(self, tmp_path: Path, content: bytes) -> None:
        for name in ("a.pth", "a.safetensors"):
            (tmp_path / name).write_bytes(content)
            with pytest.raises(UsageError, match=name):
                state_dict(tmp_path / name)

    def test_truncated_at_any_place(self, tmp_path: Path) -> None:
        for old in (False, True):
            whole = saved(tmp_path / "a.pth", _use_new_zipfile_serialization=not old).read_bytes()
            for end in range(0, len(whole), max(1, len(whole) // 23)):
                (tmp_path / "b.pth").write_bytes(whole[:end])
                with pytest.raises(UsageError, match=r"b\.pth"):
                    state_dict(tmp_path / "b.pth")

    @pytest.mark.parametrize("content", [[1, 2], {}, {"a": 1}, {"a": {"b": torch.ones(1)}}, torch.ones(2)])
    def test_no_state_dict(self, tmp_path: Path, content: Any) -> None:
        with pytest.raises(UsageError, match="no state dict"):
            state_dict(saved(tmp_path / "a.pth", content))

    def test_a_zip_of_several_or_none(self, tmp_path: Path) -> None:
        one, two = saved(tmp_path / "1.pth"), saved(tmp_path / "2.pth")
        with pytest.raises(UsageError, match="holds 2 checkpoints"):
            state_dict(packed(tmp_path / "a.zip", one, two))
        (tmp_path / "readme.txt").write_text("hello")
        with pytest.raises(UsageError, match="holds 0 checkpoints"):
            state_dict(packed(tmp_path / "b.zip", tmp_path / "readme.txt"))


class TestLoadStrictly:
    def module(self) -> Any:
        return torch.nn.Sequential(torch.nn.Conv2d(3, 2, 1), torch.nn.BatchNorm2d(2))

    def test_every_tensor_is_copied(self) -> None:
        source, target = self.module(), self.module()
        load_strictly(target, source.state_dict(), Path("w.pth"))
        for name, tensor in target.state_dict().items():
            assert torch.equal(tensor, source.state_dict()[name])

    def test_counts_of_batches_may_be_absent(self) -> None:
        tensors = {name: t for name, t in self.module().state_dict().items() if "num_batches" not in name}
        load_strictly(self.module(), tensors, Path("w.pth"))

    def test_what_differs_is_said(self) -> None:
        tensors = self.module().state_dict()
        del tensors["0.bias"]
        tensors["0.weight"] = torch.ones(2, 3, 3, 3)
        tensors["2.weight"] = torch.ones(1)
        with pytest.raises(UsageError) as caught:
            load_strictly(self.module(), tensors, Path("w.pth"))
        for part in ("w.pth", "1 missing (0.bias)", "1 unknown (2.weight)", "1 of another shape (0.weight)"):
            assert part in str(caught.value)
