from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import jsonschema
import numpy as np
import pytest
from hypothesis import given

from wardround_common.errors import StateError
from wardround_sim.results import (
    MAXIMUM_ROC_POINTS,
    Results,
    read_results,
    results_schema,
    thin_roc,
    write_results,
)


@pytest.fixture
def written(four_hospitals: Any, tmp_path: Path) -> Path:
    path = tmp_path / "results.json"
    write_results(four_hospitals.results, path)
    return path


def test_results_are_read_as_they_were_written(four_hospitals: Any, written: Path) -> None:
    assert read_results(written) == four_hospitals.results


def test_the_same_results_give_the_same_sorted_bytes(four_hospitals: Any, written: Path) -> None:
    before = written.read_bytes()
    write_results(four_hospitals.results, written)
    assert written.read_bytes() == before
    document = json.loads(before)
    assert list(document) == sorted(document)


def test_what_readers_outside_rely_on_is_where_they_look(written: Path) -> None:
    document = json.loads(written.read_bytes())
    assert document["model_sha256"] and document["seed"] == 1
    assert document["rounds"]["completed"] == 40
    for arm in ("federated", "local", "pooled"):
        assert set(document["auc"][arm]["all"]) >= {"auc", "low", "high"}
        assert document["auc"][arm]["hannover"] is None
    assert document["phases"]["masked"]["bytes_received"] > 0


def test_the_file_fits_its_schema(written: Path) -> None:
    jsonschema.Draft202012Validator.check_schema(results_schema())
    jsonschema.validate(json.loads(written.read_bytes()), results_schema())


def test_every_field_of_the_schema_is_described() -> None:
    definitions = results_schema()["$defs"]
    assert "Results" in definitions
    for definition in definitions.values():
        assert definition["description"]
        assert all(field["description"] for field in definition["properties"].values())


@pytest.mark.parametrize("key", [field.name for field in dataclasses.fields(Results)])
def test_a_missing_key_is_refused_by_schema_and_reader(written: Path, key: str) -> None:
    document = json.loads(written.read_bytes())
    del document[key]
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(document, results_schema())
    written.write_text(json.dumps(document))
    with pytest.raises(StateError, match="repeat the run"):
        read_results(written)


@pytest.mark.parametrize(
    ("keys", "value", "named"),
    [
        (("seed",), True, "seed"),
        (("seed",), 1.5, "seed"),
        (("engine",), "cloud", "engine"),
        (("sites", 0, "archive", "found"), "many", r"sites\[0\].archive.found"),
        (("auc", "federated", "all", "auc"), "high", "auc.federated.all.auc"),
        (("auc", "federated", "all"), 0.9, "auc.federated.all"),
        (("sites",), {}, "sites"),
        (("phases",), [], "phases"),
        (("rounds", "extra"), 1, "rounds"),
        (("rounds",), None, "rounds"),
    ],
)
def test_a_value_of_the_wrong_kind_is_refused_by_name(
    written: Path, keys: tuple[str | int, ...], value: object, named: str
) -> None:
    document = json.loads(written.read_bytes())
    place = document
    for key in keys[:-1]:
        place = place[key]
    place[keys[-1]] = value
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(document, results_schema())
    written.write_text(json.dumps(document))
    with pytest.raises(StateError, match=named):
        read_results(written)


def test_another_format_is_refused(written: Path) -> None:
    document = json.loads(written.read_bytes()) | {"format": 1}
    written.write_text(json.dumps(document))
    with pytest.raises(StateError, match="format: got 1, expected 2"):
        read_results(written)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[]", b"3"])
def test_a_damaged_file_is_refused(written: Path, content: bytes) -> None:
    written.write_bytes(content)
    with pytest.raises(StateError):
        read_results(written)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StateError, match="cannot be read"):
        read_results(tmp_path / "results.json")


def test_a_number_that_is_not_finite_leaves_the_old_file(
    four_hospitals: Any, written: Path
) -> None:
    before = written.read_bytes()
    with pytest.raises(ValueError, match="JSON compliant"):
        write_results(dataclasses.replace(four_hospitals.results, wall_s=float("nan")), written)
    assert written.read_bytes() == before
    assert [path.name for path in written.parent.iterdir()] == ["results.json"]


def test_a_number_that_is_not_finite_is_not_read(written: Path) -> None:
    document = json.loads(written.read_bytes()) | {"wall_s": float("inf")}
    written.write_text(json.dumps(document))
    with pytest.raises(StateError, match="wall_s"):
        read_results(written)


@pytest.mark.parametrize("scopes", [{"elsewhere": None}, {"all": None, "ALL": None}])
def test_a_scope_that_is_no_site_is_refused(four_hospitals: Any, scopes: dict[str, None]) -> None:
    with pytest.raises(ValueError, match="expected arms and sites"):
        dataclasses.replace(four_hospitals.results, auc={"federated": scopes})


def test_an_unknown_arm_is_refused(four_hospitals: Any) -> None:
    with pytest.raises(ValueError, match="guess"):
        dataclasses.replace(four_hospitals.results, roc={"guess": {}})


def test_two_sites_of_one_name_are_refused(four_hospitals: Any) -> None:
    site = four_hospitals.results.sites[0]
    with pytest.raises(ValueError, match="distinct names"):
        dataclasses.replace(four_hospitals.results, sites=(site, site))


@given(st.integers(1, 400), st.integers(1, 400), st.integers(0, 2**32 - 1))
def test_a_thinned_roc_keeps_ends_order_and_at_most_a_hundred_points(
    negatives: int, positives: int, seed: int
) -> None:
    order = np.random.default_rng(seed).permutation(np.repeat([0, 1], [negatives, positives]))
    fpr = np.concatenate([[0.0], np.cumsum(order == 0) / negatives])
    tpr = np.concatenate([[0.0], np.cumsum(order == 1) / positives])
    thin = thin_roc(fpr, tpr)
    points = list(zip(thin.fpr, thin.tpr, strict=True))
    assert len(points) <= MAXIMUM_ROC_POINTS
    assert (points[0], points[-1]) == ((0.0, 0.0), (1.0, 1.0))
    assert points == sorted(points)
    assert set(points) <= set(zip(fpr.tolist(), tpr.tolist(), strict=True))


def test_a_long_roc_loses_little_area_by_thinning() -> None:
    fpr = np.linspace(0, 1, 5000)
    thin = thin_roc(fpr, fpr**0.2)
    assert np.trapezoid(thin.tpr, thin.fpr) == pytest.approx(1 / 1.2, abs=2e-3)


def test_a_curve_of_one_point_is_refused() -> None:
    with pytest.raises(ValueError, match="two or more points"):
        thin_roc(np.zeros(1), np.zeros(1))
