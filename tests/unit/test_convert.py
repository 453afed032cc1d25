"""What goes wrong between ComfyUI's canvas and the prompt that its server gets: one small file for each rule."""

from typing import Any

import pytest

from workflows.convert import convert, is_ui
from workflows.errors import WorkflowError

Ui = dict[str, Any]


def kind(required: dict[str, Any], outputs: list[str], optional: dict[str, Any] | None = None, **more: Any) -> Any:
    """One entry of object_info."""
    names = {"output": outputs, "output_name": outputs, "output_node": not outputs}
    return {"input": {"required": required, "optional": optional or {}}, **names, **more}


SEED = ["INT", {"default": 0, "control_after_generate": True}]
CLASSES: dict[str, Any] = {
    "Load": kind({"file": [["a", "b"]]}, ["MODEL", "CLIP"], display_name="Load it"),
    "Text": kind({"clip": ["CLIP"], "text": ["STRING", {"multiline": True}]}, ["COND"]),
    "Sample": kind(
        {
            "cfg": ["FLOAT", {"default": 1.0}],
            "cond": ["COND"],
            "model": ["MODEL"],
            "mode": [["fast", "slow"]],
            "seed": SEED,
            "steps": ["INT", {"default": 20}],
        },
        ["LATENT"],
        {"hint": ["STRING", {"default": "none"}], "mask": ["MASK"]},
        input_order={"required": ["model", "seed", "steps", "cfg", "cond", "mode"], "optional": ["mask", "hint"]},
    ),
    "Patch": kind({"model": ["MODEL"], "weight": ["FLOAT", {"default": 1.0}]}, ["MODEL"]),
    "Mix": kind({"one": ["COND"], "other": ["COND"]}, ["COND", "COND"]),
    "Any": kind({"clip": ["CLIP"], "any": ["*"]}, ["MODEL"]),
    "Save": kind({"latent": ["LATENT"], "prefix": ["STRING", {"default": "x"}]}, []),
    "Image": kind({"image": [["i.png"], {"image_upload": True}], "channel": [["red", "alpha"]]}, ["IMAGE"]),
    "Noise": kind({"noise_seed": ["INT", {}], "name": ["STRING", {}]}, ["NOISE"]),
    "Plain": kind({"seed": ["INT", {"control_after_generate": False}], "steps": ["INT", {}]}, ["INT"]),
    "Pick": kind({"file": ["COMBO", {"options": ["a", "b"], "control_after_generate": True}], "n": ["INT", {}]}, ["X"]),
    "Forced": kind({"text": ["STRING", {"forceInput": True}], "n": ["INT", {}]}, ["X"]),
    "Many": kind({"names": ["COMBO", {"options": ["a", "b"], "multiselect": True}]}, ["X"]),
    "Resize": kind(
        {
            "how": [
                "COMFY_DYNAMICCOMBO_V3",
                {
                    "options": [
                        {"key": "size", "inputs": {"required": {"width": ["INT", {}], "height": ["INT", {}]}}},
                        {"key": "noise", "inputs": {"required": {"seed": ["INT", {}]}}},
                        {"key": "like", "inputs": {"required": {"match": ["IMAGE"]}}},
                    ]
                },
            ],
            "method": [["area", "lanczos"]],
        },
        ["IMAGE"],
    ),
}


def node(
    node_id: int, type_: str, values: Any = (), *, ins: Any = (), outs: Any = (), mode: int = 0, **more: Any
) -> Ui:
    """A saved node; `ins` are (name, type, link) or (name, type, link, "widget")."""
    inputs = [
        {"name": i[0], "type": i[1], "link": i[2], **({"widget": {"name": i[0]}} if len(i) > 3 else {})} for i in ins
    ]
    outputs = [{"name": o, "type": o} for o in outs]
    return {
        "id": node_id, "type": type_, "mode": mode, "inputs": inputs, "outputs": outputs,
        "widgets_values": values if isinstance(values, dict) else list(values), **more,
    }  # fmt: skip


def graph(nodes: list[Ui], links: list[tuple[Any, ...]], subgraphs: Any = ()) -> Ui:
    """A saved file; links are (id, from, slot, to, slot, type)."""
    return {"nodes": nodes, "links": [list(x) for x in links], "definitions": {"subgraphs": list(subgraphs)}}


def subgraph(
    name: str, nodes: list[Ui], links: list[tuple[Any, ...]], *, ins: Any = (), outs: Any = (), **more: Any
) -> Ui:
    """A definition; its links are objects, `ins` are (name, type, [link ids])."""
    keys = ("id", "origin_id", "origin_slot", "target_id", "target_slot", "type")
    return {
        "id": name, "name": name, "nodes": nodes, "links": [dict(zip(keys, x, strict=True)) for x in links],
        "inputs": [{"name": i[0], "type": i[1], "linkIds": i[2]} for i in ins],
        "outputs": [{"name": o, "type": o} for o in outs], **more,
    }  # fmt: skip


def inputs(ui: Ui, node_id: str) -> dict[str, Any]:
    """The inputs of one node of the prompt."""
    found: dict[str, Any] = convert(ui, object_info=CLASSES)[node_id]["inputs"]
    return found


SAMPLE = [7, "randomize", 8, 2.5, "slow", "h"]


def through(between: list[Ui], links: list[tuple[Any, ...]], subgraphs: Any = ()) -> Ui:
    """A loader (1), a sampler (9) whose model is link 5, and whatever stands between them."""
    ends = [
        node(1, "Load", ["a"], outs=["MODEL", "CLIP"]),
        node(9, "Sample", SAMPLE, ins=[("model", "MODEL", 5), ("cond", "COND", None)], outs=["LATENT"]),
    ]
    return graph([*ends, *between], links, subgraphs)


def test_widgets_are_read_in_the_order_of_input_order() -> None:
    """Required before optional, by `input_order` and not by the keys' order; the seed's "randomize" is dropped."""
    ui = through([], [(5, 1, 0, 9, 0, "MODEL")])
    assert convert(ui, object_info=CLASSES)["9"] == {
        "class_type": "Sample",
        "inputs": {"seed": 7, "steps": 8, "cfg": 2.5, "mode": "slow", "hint": "h", "model": ["1", 0]},
        "_meta": {"title": "Sample"},
    }


def test_title_is_the_node_s_then_the_class_s() -> None:
    """Error messages quote it: the person's own title, or the display name."""
    prompt = convert(graph([node(1, "Load", ["a"]), node(2, "Load", ["a"], title="Mine")], []), object_info=CLASSES)
    assert [n["_meta"]["title"] for n in prompt.values()] == ["Load it", "Mine"]


def test_values_that_a_file_lacks_are_defaults() -> None:
    """A file from before an input existed gets what a fresh widget shows."""
    assert inputs(graph([node(1, "Sample", [7, "fixed", 8])], []), "1") == {
        "seed": 7, "steps": 8, "cfg": 1.0, "mode": "fast", "hint": "none",
    }  # fmt: skip


def test_links_as_objects_are_links() -> None:
    """Newer files write links as objects at the root, too."""
    ui = through([], [(5, 1, 0, 9, 0, "MODEL")])
    same = {**ui, "links": [{"id": 5, "origin_id": 1, "origin_slot": 0, "target_id": 9, "target_slot": 0, "type": "M"}]}
    assert convert(same, object_info=CLASSES) == convert({**ui, "links": [None, *ui["links"]]}, object_info=CLASSES)


def test_reroutes_vanish() -> None:
    """Two dots on the way leave no trace."""
    dots = [node(n, "Reroute", ins=[("", "*", n)], outs=["*"]) for n in (3, 4)]
    ui = through(dots, [(3, 1, 0, 3, 0, "*"), (4, 3, 0, 4, 0, "*"), (5, 4, 0, 9, 0, "MODEL")])
    assert inputs(ui, "9")["model"] == ["1", 0]
    assert convert(ui, object_info=CLASSES).keys() == {"1", "9"}


@pytest.mark.parametrize("dot", [False, True])
def test_primitive_wins_over_the_stale_widget(dot: bool) -> None:
    """A primitive's value stands where the widget still shows an old one, also behind a reroute."""
    nodes = [
        node(2, "PrimitiveNode", [30, "fixed"], outs=["INT"]),
        node(3, "Reroute", ins=[("", "*", 6)], outs=["*"]),
        node(9, "Sample", SAMPLE, ins=[("steps", "INT", 5, "widget")]),
    ]
    links = [(6, 2, 0, 3, 0, "*"), (5, 3, 0, 9, 0, "INT")] if dot else [(5, 2, 0, 9, 0, "INT")]
    assert inputs(graph(nodes, links), "9") == {"seed": 7, "steps": 30, "cfg": 2.5, "mode": "slow", "hint": "h"}


def test_converted_widget_holds_its_place() -> None:
    """A linked widget's old value still stands in the list; the link wins."""
    nodes = [node(1, "Plain", [5, 6], outs=["INT"]), node(9, "Sample", SAMPLE, ins=[("steps", "INT", 5, "widget")])]
    found = inputs(graph(nodes, [(5, 1, 0, 9, 0, "INT")]), "9")
    assert (found["steps"], found["cfg"]) == (["1", 0], 2.5)


def test_muted_node_takes_its_links_along() -> None:
    """Who depended on a muted node lacks an input, and the server will say so."""
    ui = through([node(2, "Patch", [1.0], ins=[("model", "MODEL", 4)], outs=["MODEL"], mode=2)],
                 [(4, 1, 0, 2, 0, "MODEL"), (5, 2, 0, 9, 0, "MODEL")])  # fmt: skip
    assert convert(ui, object_info=CLASSES).keys() == {"1", "9"}
    assert "model" not in inputs(ui, "9")


def test_bypassed_node_hands_its_input_on() -> None:
    """Bypassing a patch leaves the model as it was; two in a row do, too."""
    patches = [node(n, "Patch", [1.0], ins=[("model", "MODEL", n)], outs=["MODEL"], mode=4) for n in (2, 3)]
    ui = through(patches, [(2, 1, 0, 2, 0, "MODEL"), (3, 2, 0, 3, 0, "MODEL"), (5, 3, 0, 9, 0, "MODEL")])
    assert inputs(ui, "9")["model"] == ["1", 0]


@pytest.mark.parametrize(
    ("slot", "ins", "outs", "expected"),
    [
        (1, [("one", "COND", 11), ("other", "COND", 12)], ["COND", "COND"], ["2", 0]),  # same place
        (0, [("clip", "CLIP", 11), ("other", "COND", 12)], ["COND"], ["2", 0]),  # same type
        (0, [("clip", "CLIP", 11), ("any", "COND,MASK", 12)], ["COND"], ["2", 0]),  # fitting type
        (0, [("clip", "CLIP", 11)], ["COND"], None),  # nothing fits
        (0, [("other", "COND", None), ("one", "COND", 12)], ["COND"], None),  # the first is unlinked: it still counts
    ],
)
def test_bypass_chooses_its_input(slot: int, ins: Any, outs: list[str], expected: Any) -> None:
    """The same place if its type fits, else exactly the type, else a fitting one, else nothing."""
    nodes = [
        node(1, "Text", ["t"], outs=["COND"]),
        node(2, "Text", ["u"], outs=["COND"]),
        node(3, "Mix", ins=ins, outs=outs, mode=4),
        node(9, "Sample", SAMPLE, ins=[("cond", "COND", 5)]),
    ]
    ui = graph(nodes, [(11, 1, 0, 3, 0, "COND"), (12, 2, 0, 3, 1, "COND"), (5, 3, slot, 9, 0, "COND")])
    assert inputs(ui, "9").get("cond") == expected


def test_bypass_before_an_input_of_any_type_takes_the_same_place() -> None:
    """For an input that takes everything, types decide nothing."""
    nodes = [
        node(1, "Load", ["a"], outs=["MODEL", "CLIP"]),
        node(3, "Patch", [1.0], ins=[("model", "MODEL", 4)], outs=["X"], mode=4),
        node(9, "Any", ins=[("any", "*", 5)]),
    ]
    assert inputs(graph(nodes, [(4, 1, 0, 3, 0, "M"), (5, 3, 0, 9, 0, "*")]), "9") == {"any": ["1", 0]}


def test_set_and_get_are_a_wire() -> None:
    """The value set under a name arrives wherever it is got; the setter hands it on as well."""
    nodes = [
        node(2, "SetNode", ["base"], ins=[("MODEL", "MODEL", 4)], outs=["MODEL"]),
        node(3, "GetNode", ["base"], outs=["MODEL"]),
    ]
    ui = through(nodes, [(4, 1, 0, 2, 0, "MODEL"), (5, 3, 0, 9, 0, "MODEL")])
    assert inputs(ui, "9")["model"] == ["1", 0]
    ui["links"][-1][1] = 2
    assert inputs(ui, "9")["model"] == ["1", 0]


def test_get_without_set_is_an_error() -> None:
    """A name that nobody sets is told, with the node that asks for it."""
    ui = through([node(3, "GetNode", ["bass"], outs=["MODEL"])], [(5, 3, 0, 9, 0, "MODEL")])
    with pytest.raises(WorkflowError, match="bass") as caught:
        convert(ui, object_info=CLASSES)
    assert caught.value.field == "node 3"


def test_notes_are_dropped() -> None:
    """Notes are for people."""
    notes = [node(2, "Note", ["hi"]), node(3, "MarkdownNote", ["# hi"]), node(4, "PrimitiveNode", [1])]
    assert convert(graph([node(1, "Load", ["a"]), *notes], []), object_info=CLASSES).keys() == {"1"}


def test_group_node_is_refused() -> None:
    """Their contents lie elsewhere in the file, in a form that ComfyUI gave up."""
    with pytest.raises(WorkflowError, match="subgraph") as caught:
        convert(graph([node(1, "workflow>Mine", [1])], []), object_info=CLASSES)
    assert caught.value.field == "node 1"


def test_unknown_class_says_what_to_pass() -> None:
    """The error names node, class and title, and the option that helps."""
    with pytest.raises(WorkflowError, match=r"KSamplerX 'My sampler' is not in object_info.*--object-info") as caught:
        convert(graph([node(7, "KSamplerX", title="My sampler")], []), object_info=CLASSES)
    assert (caught.value.field, caught.value.value) == ("node 7", "KSamplerX")
    assert convert(graph([node(7, "KSamplerX", mode=4)], []), object_info=CLASSES) == {}


def test_values_as_an_object_are_read_by_name() -> None:
    """Some packs save names; what is no input (a preview) stays out, what is absent is the default."""
    ui = graph([node(1, "Sample", {"steps": 9, "seed": 3, "videopreview": {"x": 1}})], [])
    assert inputs(ui, "1") == {"seed": 3, "steps": 9, "cfg": 1.0, "mode": "fast", "hint": "none"}


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["size", 64, 32, "lanczos"], {"how": "size", "how.width": 64, "how.height": 32, "method": "lanczos"}),
        (["noise", 5, "fixed", "area"], {"how": "noise", "how.seed": 5, "method": "area"}),
        (["like", "area"], {"how": "like", "how.match": ["1", 0], "method": "area"}),
        ({"how": "size", "how.width": 8, "how.height": 9, "method": "area"},
         {"how": "size", "how.width": 8, "how.height": 9, "method": "area"}),
    ],
)  # fmt: skip
def test_dynamic_choice_brings_dotted_inputs(values: Any, expected: dict[str, Any]) -> None:
    """Each choice has its own inputs, named after it; sockets among them are linked, not read."""
    ins = [("how.match", "IMAGE", 5)] if "how.match" in expected else []
    ui = graph([node(1, "Image", ["i.png", "red", "image"]), node(2, "Resize", values, ins=ins)],
               [(5, 1, 0, 2, 0, "IMAGE")])  # fmt: skip
    assert inputs(ui, "2") == expected


def test_upload_button_s_value_is_dropped() -> None:
    """LoadImage saves "image" for its button, after all its widgets."""
    ui = graph([node(1, "Image", ["i.png", "alpha", "image"])], [])
    assert inputs(ui, "1") == {"image": "i.png", "channel": "alpha"}


@pytest.mark.parametrize(
    ("type_", "values", "expected"),
    [
        ("Noise", [5, "increment", "n"], {"noise_seed": 5, "name": "n"}),  # by its name alone
        ("Noise", [5, "n"], {"noise_seed": 5, "name": "n"}),  # written by a program, without the extra value
        ("Plain", [5, 6], {"seed": 5, "steps": 6}),  # object_info says that it has none
        ("Pick", ["b", "increment", "filter", 3], {"file": "b", "n": 3}),  # a list also has a filter
        ("Forced", [4], {"n": 4}),  # a socket by force holds no place
    ],
)
def test_frontend_s_own_values_are_dropped(type_: str, values: list[Any], expected: dict[str, Any]) -> None:
    """What the frontend saves between the widgets is no input."""
    assert inputs(graph([node(1, type_, values)], []), "1") == expected


def test_list_is_wrapped() -> None:
    """A bare list of two would read as a link."""
    assert inputs(graph([node(1, "Many", [["a", "b"]])], []), "1") == {"names": {"__value__": ["a", "b"]}}


def test_braces_in_texts_stay() -> None:
    """The frontend picks one of `{a|b}` by chance; a prompt that must be reproducible keeps the text."""
    assert inputs(graph([node(1, "Text", ["{red|blue} coat"])], []), "1") == {"text": "{red|blue} coat"}


def test_circle_of_reroutes_is_an_error() -> None:
    """Wires that only feed themselves end in a sentence, not in a stack overflow."""
    dots = [node(n, "Reroute", ins=[("", "*", n)], outs=["*"]) for n in (3, 4)]
    ui = through(dots, [(3, 4, 0, 3, 0, "*"), (4, 3, 0, 4, 0, "*"), (5, 4, 0, 9, 0, "MODEL")])
    with pytest.raises(WorkflowError, match="feeds itself"):
        convert(ui, object_info=CLASSES)


@pytest.mark.parametrize("document", [[], {}, {"1": {"class_type": "Load", "inputs": {}}}, None])
def test_what_is_no_ui_file_is_said_so(document: Any) -> None:
    """A prompt needs no conversion, and a list is nothing."""
    assert not is_ui(document)
    with pytest.raises(WorkflowError, match="no list of nodes"):
        convert(document, object_info=CLASSES)


@pytest.mark.parametrize("change", [{"nodes": [{"id": 1}]}, {"nodes": [None]}, {"links": [[1, 2]]}])
def test_damaged_file_is_said_so(change: Ui) -> None:
    """Half a node and half a link are errors of ours, not of Python."""
    with pytest.raises(WorkflowError):
        convert({**graph([], []), **change}, object_info=CLASSES)


def test_dangling_link_is_no_link() -> None:
    """A link to a node that is not there leaves the input open."""
    assert "model" not in inputs(through([], [(5, 77, 0, 9, 0, "MODEL")]), "9")
    assert "model" not in inputs(through([], []), "9")
