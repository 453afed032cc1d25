"""What goes wrong with the asset of the workflow templates: drift that nobody sees, or that stops the pipeline."""

import json
from pathlib import Path

import dagster as dg
import pytest

from ryla_assets.assets.workflow_templates import workflow_templates
from ryla_assets.checks.parity import workflow_templates__parity
from ryla_assets.studio import templates
from ryla_assets.studio.templates import SHOWN, template_report
from workflows.templates import TEMPLATES, export, write_templates


@pytest.fixture
def edited(tmp_path: Path) -> Path:
    """Templates of which one was changed in ComfyUI: every picture of the face swap has 30 steps."""
    write_templates(tmp_path)
    document = export("face-swap")
    for node in document["nodes"]:
        if node["type"] == "KSampler":
            node["widgets_values"][2] = 30
    (tmp_path / "face-swap.json").write_text(json.dumps(document))
    return tmp_path


def materialized() -> dg.ExecuteInProcessResult:
    """The asset with its check, as Dagster runs them."""
    return dg.materialize([workflow_templates, workflow_templates__parity], raise_on_error=False)


def test_committed_templates_pass() -> None:
    """Asset and check say: four templates, no differences."""
    result = materialized()
    assert result.success
    (event,) = result.asset_materializations_for_node("workflow_templates")
    assert event.metadata["differences"].value == 0
    table = event.metadata["templates"]
    assert isinstance(table, dg.TableMetadataValue)
    assert [record.data["template"] for record in table.records] == list(TEMPLATES)
    (evaluation,) = result.get_asset_check_evaluations()
    assert evaluation.passed
    assert str(evaluation.description).startswith("All 4 templates")


def test_edited_template_fails_the_check_and_nothing_else(edited: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """ERROR, so that it is seen; not blocking, since jobs run the code and not the file."""
    monkeypatch.setattr(template_report, "__defaults__", (edited,))
    result = materialized()
    assert result.success
    (evaluation,) = result.get_asset_check_evaluations()
    assert (evaluation.passed, evaluation.severity, evaluation.blocking) == (False, dg.AssetCheckSeverity.ERROR, False)
    assert evaluation.metadata["differences"].value == 3
    assert "face-swap: KSampler 'Sample example/1'" in str(evaluation.description)
    assert "steps: builder 20, template 30" in str(evaluation.description)


def test_version_follows_the_files(edited: Path) -> None:
    """An edited file is a new data version; the same files are the same one."""
    assert template_report(edited).version == template_report(edited).version
    assert template_report(edited).version != template_report().version


def test_report_has_a_row_a_template(edited: Path) -> None:
    """Nodes count as the file has them, its note included."""
    rows = {row["template"]: row for row in template_report(edited).rows}
    assert list(rows) == list(TEMPLATES)
    assert rows["face-swap"] == {"template": "face-swap", "nodes": 22, "differences": 3}


def test_long_list_is_cut_short() -> None:
    """A rebuilt graph does not fill the screen."""
    report = templates.TemplateReport([], tuple(f"d{n}" for n in range(SHOWN + 5)), "")
    assert report.reason.endswith("; and 5 more")
    assert f"d{SHOWN}" not in report.reason


def test_broken_template_is_told_in_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that is no JSON fails the asset with the way out, not with a stack trace."""
    write_templates(tmp_path)
    (tmp_path / "face-swap.json").write_text("{")
    monkeypatch.setattr(template_report, "__defaults__", (tmp_path,))
    with pytest.raises(dg.Failure, match="ryla workflows export"):
        dg.materialize([workflow_templates])
