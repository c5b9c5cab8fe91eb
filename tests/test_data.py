"""Data sets: what is accepted, how they are cut, and what is refused with which words."""

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sparcl_mcu.data import (
    DataError,
    class_incremental,
    consecutive,
    load,
    named,
    pooled,
    recorded_incremental,
)
from sparcl_mcu.data.npz import load as load_npz
from sparcl_mcu.data.split import grouped, sampled, stratified

Arrays = dict[str, np.ndarray]


def good() -> Arrays:
    rng = np.random.default_rng(0)
    return {
        "x_train": rng.normal(size=(80, 3, 2)).astype(np.float32),
        "y_train": np.arange(80) % 4,
        "x_test": rng.normal(size=(12, 3, 2)).astype(np.float32),
        "y_test": np.arange(12) % 4,
    }


def written(tmp_path: Path, arrays: Arrays) -> Path:
    path = tmp_path / "my.npz"
    np.savez(path, **arrays)
    return path


def test_digits_are_cut_into_disjoint_parts_that_never_change() -> None:
    data = load("digits", relative_to=Path())
    assert len(data.x_train) + len(data.x_test) == 1797
    assert data.x_train.shape[1:] == (8, 8)
    tasks = class_incremental(data, consecutive(data, 2))
    assert [task.classes for task in tasks] == [(0, 1), (2, 3), (4, 5), (6, 7), (8, 9)]
    assert sum(len(t.x_train) + len(t.x_val) + len(t.x_test) for t in tasks) == 1797
    assert sum(len(t.x_val) for t in tasks) == pytest.approx(0.1 * len(data.x_train), abs=10)
    for task in tasks:
        assert set(task.y_train) == set(task.y_val) == set(task.y_test) == set(task.classes)
        everything = np.concatenate([task.x_train, task.x_val, task.x_test]).reshape(-1, 64)
        originals = np.concatenate([data.x_train, data.x_test])[
            np.isin(np.concatenate([data.y_train, data.y_test]), task.classes)
        ]
        assert sorted(map(bytes, everything)) == sorted(map(bytes, originals.reshape(-1, 64)))
    again = class_incremental(data, consecutive(data, 2))
    assert all(np.array_equal(a.x_val, b.x_val) for a, b in zip(tasks, again, strict=True))


def test_digits_checksum_is_pinned() -> None:
    """Published figures rest on this split: a change of it must be noticed."""
    assert load("digits", relative_to=Path()).checksum.startswith("9b14349c45da1f03")


def test_split_is_stratified_and_deterministic() -> None:
    labels = np.repeat(np.arange(3, dtype=np.uint8), (50, 30, 1))
    kept, cut = stratified(labels, 0.1)
    assert np.bincount(labels[cut], minlength=3).tolist() == [5, 3, 0]
    assert sorted([*kept, *cut]) == list(range(81))
    assert np.array_equal(cut, stratified(labels, 0.1)[1])


def test_samples_per_task_keeps_the_share_of_each_class() -> None:
    data = load("digits", relative_to=Path())
    for task in class_incremental(data, consecutive(data, 2), samples_per_task=40):
        assert len(task.x_train) == pytest.approx(40, abs=1)
        assert np.bincount(task.y_train)[list(task.classes)].tolist() == pytest.approx([20, 20], abs=2)


@pytest.mark.parametrize(("samples", "drawn"), [(24, "259fdb6c53"), (50, "8ac48dd0dd"), (400, "4262eb85aa")])
def test_drawn_digits_are_pinned(samples: int, drawn: str) -> None:
    """As the checksum of digits: published figures rest on these."""
    data = load("digits", relative_to=Path())
    tasks = class_incremental(data, consecutive(data, 5), samples)
    assert hashlib.sha256(b"".join(task.x_train.tobytes() for task in tasks)).hexdigest().startswith(drawn)


def test_few_samples_still_hold_every_class() -> None:
    labels = np.repeat(np.arange(5, dtype=np.uint8), (40, 40, 1, 1, 1))
    for count in range(5, len(labels)):
        drawn = labels[sampled(labels, count)]
        assert len(drawn) <= count
        assert set(drawn) == set(range(5))


def test_a_class_that_a_part_would_miss_is_refused(tmp_path: Path) -> None:
    scarce = np.repeat(np.arange(4), (70, 2, 7, 1))
    names = {"classes": np.array(["up", "down", "left", "right"])}
    data, _ = load_npz(written(tmp_path, good() | names | {"y_train": scarce}))
    with pytest.raises(DataError, match="class 'right' has 1 training sample; at least two a class"):
        class_incremental(data, consecutive(data, 2))
    data = replace(data, y_train=np.where(scarce == 3, 2, np.where(np.arange(80) < 2, 3, scarce)).astype(np.uint8))
    (task, _) = class_incremental(data, consecutive(data, 2), samples_per_task=30)
    assert np.bincount(task.y_train).tolist() == [29, 1]  # one of the two downs is for validation
    with pytest.raises(
        DataError, match=r"task of classes up, down, left has .* 3 classes, but \[data\] samples_per_task"
    ):
        class_incremental(data, consecutive(data, 3), samples_per_task=2)


def test_last_task_takes_the_rest_and_one_task_is_refused(tmp_path: Path) -> None:
    data, _ = load_npz(written(tmp_path, good()))
    assert consecutive(data, 3) == ((0, 1, 2), (3,))
    with pytest.raises(DataError, match=r"lower data\.classes_per_task"):
        consecutive(data, 4)


def test_own_file_with_names_domains_and_other_arrays(tmp_path: Path) -> None:
    arrays = good() | {"classes": np.array(["a", "b", "c", "d"]), "lsb": np.ones(3)}
    arrays |= {"domain_train": np.zeros(80, int), "domain_test": np.zeros(12, int)}
    written(tmp_path, arrays)
    data, ignored = load_npz(tmp_path / "my.npz")
    assert data.class_names == ("a", "b", "c", "d")
    assert data.sample_shape == (3, 2)
    assert ignored == ("lsb",)
    same = load("./my.npz", relative_to=tmp_path)
    assert same.checksum == data.checksum == load("my", relative_to=Path(), data_dir=tmp_path).checksum
    arrays["x_test"] = arrays["x_test"] + np.float32(1e-6)
    assert load_npz(written(tmp_path, arrays))[0].checksum != data.checksum


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"x_test": None}, "x_test is missing"),
        ({"x_train": np.full((80, 3, 2), np.nan)}, "x_train holds 480 NaN or infinite values; drop or fill"),
        ({"x_train": np.full((80, 3, 2), 1e300)}, "x_train has values up to 1e+300 in size; scale them"),
        ({"x_test": np.full((12, 3, 2), -1e-40)}, "x_test has values up to 1e-40 in size; scale them"),
        ({"x_train": np.array([["a", "b"]] * 80)}, "x_train has dtype <U1"),
        ({"x_train": np.zeros(80)}, "x_train has shape (80,)"),
        ({"x_train": np.zeros((0, 3, 2))}, "not empty"),
        ({"y_train": np.arange(79) % 4}, "y_train has shape (79,) beside 80 samples"),
        ({"y_train": np.arange(80) % 4 + 1}, "y_train has no sample of class 0"),
        ({"y_train": (np.arange(80) % 4) * 2}, "y_train has no sample of class 1; number the classes 0 .. 3"),
        ({"y_train": np.arange(80) % 4 - 1}, "y_train holds labels -1 .. 2"),
        ({"y_train": np.arange(80) * 5}, "y_train holds labels 0 .. 395"),
        ({"y_train": np.arange(80) % 4 * 1.0}, "y_train has dtype float64; store integers"),
        ({"y_train": np.zeros(80, int)}, "single class"),
        ({"y_test": np.arange(12) % 3}, "do not share class 3"),
        ({"y_test": np.arange(12) % 5}, "do not share class 4"),
        ({"x_test": np.zeros((12, 3, 1))}, "x_test has samples of shape (3, 1), x_train of (3, 2)"),
        ({"domain_train": np.zeros(80, int)}, "domain_train stands alone"),
        ({"domain_train": np.zeros(80, int), "domain_test": np.zeros(11, int)}, "domain_test has shape (11,)"),
        ({"classes": np.array(["a"])}, "classes has 1 names for 4 classes"),
    ],
)
def test_bad_files_are_refused_by_file_array_and_remedy(tmp_path: Path, changes: Arrays, words: str) -> None:
    arrays = {key: value for key, value in (good() | changes).items() if value is not None}
    path = written(tmp_path, arrays)
    with pytest.raises(DataError) as caught:
        load_npz(path)
    assert str(caught.value).startswith(str(path))
    assert words in str(caught.value)


def test_tasks_by_name_or_number_hold_every_class_once(tmp_path: Path) -> None:
    data, _ = load_npz(written(tmp_path, good() | {"classes": np.array(["up", "down", "2", "_x_"])}))
    assert named(data, [["_x_", "up"], [1, "2"]]) == ((3, 0), (1, 2))
    with pytest.raises(DataError, match=r"no class 'left'; its 4 classes are 'up', 'down', '2', '_x_'"):
        named(data, [["up", "left"], ["down"]])
    with pytest.raises(DataError, match="no class 4"):
        named(data, [[0, 4], [1, 2]])
    with pytest.raises(DataError, match="class '_x_' stands 0 times"):
        named(data, [["up", "down"], ["2"]])
    with pytest.raises(DataError, match="class 'up' stands 2 times"):
        named(data, [["up", "down"], ["2", 3, 0]])
    tasks = class_incremental(data, ((3, 0), (1, 2)))
    assert [set(task.y_train) for task in tasks] == [{0, 3}, {1, 2}]


def test_samples_of_one_person_are_never_in_two_parts(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    n = 1000
    arrays = {"x_train": rng.normal(size=(n, 3)), "y_train": np.arange(n) % 4, **{k: good()[k] for k in ("y_test",)}}
    arrays |= {"x_test": rng.normal(size=(12, 3)), "person_train": rng.integers(1, 31, n).astype(np.uint8)}
    arrays["x_train"][:, 0] = arrays["person_train"]
    data, ignored = load_npz(written(tmp_path, arrays))
    assert list(data.groups) == ["person"]
    assert ignored == ()
    tasks = class_incremental(data, consecutive(data, 2), validate_by="person")
    train = {p for task in tasks for p in task.x_train[:, 0]}
    val = {p for task in tasks for p in task.x_val[:, 0]}
    assert len(train | val) == 30
    assert not train & val
    for task in tasks:
        assert sum(len(part) for part in (task.y_train, task.y_val)) == n // 2
        assert 0.05 < len(task.y_val) / (n // 2) < 0.15
    evenly = class_incremental(data, consecutive(data, 2), validate_by="class")
    assert {p for t in evenly for p in t.x_val[:, 0]} & {p for t in evenly for p in t.x_train[:, 0]}
    with pytest.raises(DataError, match=r"no array speaker_train; \[data\] validate_by can be 'class', 'person'"):
        class_incremental(data, consecutive(data, 2), validate_by="speaker")


def test_domains_part_validation_unless_told_otherwise(tmp_path: Path) -> None:
    arrays = good() | {"domain_train": np.arange(80) // 4 % 5, "domain_test": np.zeros(12, int)}
    data, _ = load_npz(written(tmp_path, arrays))
    (validation,) = {len(t.y_val) for t in class_incremental(data, consecutive(data, 2))}
    assert validation == 8  # one of five domains
    arrays["domain_train"] = np.arange(80) % 4  # each class in a domain of its own
    data, _ = load_npz(written(tmp_path, arrays))
    with pytest.raises(DataError, match=r"by domain: class 0 is not in enough groups.*'class'"):
        class_incremental(data, consecutive(data, 2))
    assert class_incremental(data, consecutive(data, 2), validate_by="class")


def test_samples_that_are_nobodys_are_cut_one_by_one() -> None:
    labels = np.repeat(np.arange(2, dtype=np.uint8), 100)
    groups = np.concatenate([np.full(100, -1), np.arange(100) % 10])
    kept, cut = grouped(labels, groups, 0.1)
    assert np.bincount(labels[cut]).tolist() == [10, 10]
    assert len(set(groups[cut]) - {-1}) == 1
    assert sorted([*kept, *cut]) == list(range(200))


def test_a_person_with_half_the_samples_is_not_taken_for_a_tenth() -> None:
    labels = (np.arange(400) % 2).astype(np.uint8)
    groups = np.concatenate([np.zeros(200, int), 1 + np.arange(200) // 10])
    kept, cut = grouped(labels, groups, 0.1)
    assert np.bincount(labels[cut]).tolist() == [20, 20]
    assert 0 not in groups[cut]
    assert not set(groups[kept]) & set(groups[cut])


def test_unreadable_files_are_refused(tmp_path: Path) -> None:
    path = written(tmp_path, good())
    path.write_bytes(path.read_bytes()[:400])
    with pytest.raises(DataError, match=r"my\.npz is not a readable"):
        load_npz(path)
    np.savez(path, x_train=np.array([{}], dtype=object))
    with pytest.raises(DataError, match="no object arrays"):
        load_npz(path)
    np.save(tmp_path / "array.npy", np.zeros(3))
    (tmp_path / "array.npy").rename(path)
    with pytest.raises(DataError, match=r"my\.npz is not a readable"):
        load_npz(path)
    with pytest.raises(DataError, match="does not exist"):
        load("gone.npz", relative_to=tmp_path)


@pytest.mark.parametrize(
    ("local", "central", "value", "words"), [(8, 10, 77, "compression method"), (6, 8, 1, "encrypted")]
)
def test_zips_of_another_kind_are_refused(tmp_path: Path, local: int, central: int, value: int, words: str) -> None:
    path = written(tmp_path, good())
    file = bytearray(path.read_bytes())
    file[local] = value  # fields of the first array's header and of its entry in the zip's directory
    file[file.index(b"PK\1\2") + central] = value
    path.write_bytes(file)
    with pytest.raises(DataError, match=rf"my\.npz is not a readable \.npz \(.*{words}"):
        load_npz(path)


def test_what_cannot_be_opened_says_why(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"cannot be opened \(Is a directory\)"):
        load_npz(tmp_path)
    with pytest.raises(DataError, match=r"cannot be opened \(File name too long\)"):
        load("x" * 300 + ".npz", relative_to=tmp_path)
    with pytest.raises(DataError, match=r"cannot be opened \(embedded null byte\)"):
        load("a\0.npz", relative_to=tmp_path)
    with pytest.raises(DataError, match="neither bundled nor in"):
        load("x" * 300, relative_to=tmp_path, data_dir=tmp_path)


def test_unknown_names_say_where_was_looked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SPARCL_DATA_DIR", raising=False)
    with pytest.raises(DataError, match="SPARCL_DATA_DIR"):
        load("fashion_mnist", relative_to=Path())
    written(tmp_path, good())
    monkeypatch.setenv("SPARCL_DATA_DIR", str(tmp_path))
    with pytest.raises(DataError, match="holds my"):
        load("fashion_mnist", relative_to=Path())


def test_images_are_pooled_to_means_of_squares() -> None:
    data = pooled(load("digits", relative_to=Path()), 4)
    assert data.sample_shape == (2, 2)
    whole = load("digits", relative_to=Path())
    assert data.x_test[5, 1, 0] == pytest.approx(whole.x_test[5, 4:, :4].mean())
    with pytest.raises(DataError, match=r"digits has samples of shape \(8, 8\): data.pool 3"):
        pooled(whole, 3)


def recorded(tmp_path: Path) -> Path:
    """Two persons of four and seven recordings, ten samples each, out of order; every sample is its recording."""
    recording = np.random.default_rng(0).permutation(np.repeat(np.arange(11), 10))
    arrays = good() | {
        "x_train": np.tile(recording[:, None], (1, 6)).astype(np.float32).reshape(-1, 3, 2),
        "y_train": np.arange(110) % 4,
        "subject_train": np.where(recording < 4, 3, 8),
        "execution_train": recording,
    }
    return written(tmp_path, arrays)


def test_persons_become_tasks_tested_on_their_last_recordings(tmp_path: Path) -> None:
    data, _ = load_npz(recorded(tmp_path))
    found = recorded_incremental(data, "subject", "execution")
    parts = [[sorted(set(x[:, 0, 0])) for x in (t.x_train, t.x_val, t.x_test)] for t in found]
    assert parts == [[[0, 1], [2], [3]], [[4, 5, 6, 7], [8], [9, 10]]]
    assert [t.classes for t in found] == [(0, 1, 2, 3)] * 2
    assert sum(len(y) for t in found for y in (t.y_train, t.y_val, t.y_test)) == 110
    assert [len(t.y_train) for t in recorded_incremental(data, "subject", "execution", 12)] == [12, 12]


def test_persons_that_are_not_there_or_hardly_recorded_are_refused(tmp_path: Path) -> None:
    data, _ = load_npz(recorded(tmp_path))
    with pytest.raises(DataError, match=r"no array device_train; \[data\] domains can be 'subject', 'execution'"):
        recorded_incremental(data, "device", "execution")
    with pytest.raises(DataError, match="subject 3 has 1 recordings; three are needed"):
        recorded_incremental(data, "subject", "subject")
    alone = replace(data, groups=data.groups | {"subject": np.zeros(110, np.int64)})
    with pytest.raises(DataError, match="a single subject"):
        recorded_incremental(alone, "subject", "execution")
    with pytest.raises(DataError, match=r"subject 3 has .* of 4 classes, but \[data\] samples_per_task is 3"):
        recorded_incremental(data, "subject", "execution", 3)


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.arange(110) % 2 * 1.0, r"subject_train has dtype float64; store integers"),
        (np.array(["ann", "bob"] * 55), r"subject_train has dtype <U3; store integers"),
        (np.arange(109) % 2, r"subject_train has shape \(109,\) beside 110 samples; store \(110,\)"),
    ],
)
def test_arrays_that_tell_no_persons_apart_say_why(tmp_path: Path, array: np.ndarray, words: str) -> None:
    path = recorded(tmp_path)
    with np.load(path) as file:
        arrays = dict(file)
    data, ignored = load_npz(written(tmp_path, arrays | {"subject_train": array}))
    assert ignored == ("subject_train",)
    with pytest.raises(DataError, match=words + r"; \[data\] domains can be 'execution'"):
        recorded_incremental(data, "subject", "execution")
    with pytest.raises(DataError, match=words + r"; \[data\] validate_by can be 'class', 'execution'"):
        class_incremental(data, consecutive(data, 2), validate_by="subject")


def test_samples_of_nobody_or_no_recording_are_in_no_task(tmp_path: Path) -> None:
    data, _ = load_npz(recorded(tmp_path))
    subject, execution = data.groups["subject"].copy(), data.groups["execution"].copy()
    subject[execution == 10] = -1
    execution[execution == 9] = -7
    some = replace(data, groups={"subject": subject, "execution": execution})
    found = recorded_incremental(some, "subject", "execution")
    parts = [[sorted(set(x[:, 0, 0])) for x in (t.x_train, t.x_val, t.x_test)] for t in found]
    assert parts == [[[0, 1], [2], [3]], [[4, 5, 6], [7], [8]]]
    assert [t.name for t in found] == ["subject 3", "subject 8"]
    for unknown, words in (
        ({"subject": subject * 0 - 1}, "no subject"),
        ({"execution": execution * 0 - 1}, "0 record"),
    ):
        with pytest.raises(DataError, match=words):
            recorded_incremental(replace(some, groups=some.groups | unknown), "subject", "execution")
