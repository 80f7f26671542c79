"""What a message tells somebody who meant well: how to write a number, a key, an item, a file."""

from pathlib import Path

import pytest

from orchestrator.admission.files import read_paths

HEAD = "apiVersion: game/v1\nkind: Loadout\nmetadata:\n  team: a\n"


def problems(tmp_path: Path, content: str | bytes) -> list[tuple[int, int, str]]:
    path = tmp_path / "x.yaml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    (file,) = read_paths([path]).files
    return [(each.line, each.column, each.message) for each in file.problems]


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("learningRate: '0.02'", "; write 0.02 without quotes"),
        ("learningRate: 0,02", "; write 0.02, with a point"),
        ("learningRate: 2%", "; write 0.02, without %"),
        ("epochs: 10 epochs", "; write 10, without a unit"),
        ("epochs: '0.5'", "'0.5'; a whole number is wanted"),
        ("purchases: [{item: whirl-and-swirl, degrees: 10°}]", "; write 10, without a unit"),
        ("degrees: 10", "; it belongs to a purchase: below `- item: whirl-and-swirl`"),
        ("purchases: [{item: flip-trick, seed: 1}]", "; it belongs under spec"),
        ("purchases: [{item: flip-trick, size: 96}]",
         "; it is a parameter of resolution-rocket; allowed here is item, horizontal, vertical"),
        ("maxArea: 0.1", "; it belongs to a purchase: below `- item: cutout-chaos`"),
        ("alpha: 1", "below `- item: mixup-mixer or wisdom-extractor`"),
        ("learningRate 0.02", "; is a colon missing? `learningRate: 0.02`"),
        ("learningRate:0.02", "; a space is wanted after the colon: `learningRate: 0.02`"),
        ("learningRate = 0.02\n  seed 1", "; is a colon missing? `learningRate: 0.02`"),
        ("purchases: [speed-boost]", ": write `- item: speed-boost`, in a line of its own"),
        ("purchases: flip-trick", " (lines of `- ...`) is wanted: write `- item: flip-trick`"),
        ("purchases:\n    - Speed Boost", " is wanted: write `- item: speed-boost`"),
        ("purchases:\n    - whatever", "; a mapping such as `item: ITEM` is wanted"),
        ("purchases:\n    speed-boost: {}", " is wanted: write `- item: speed-boost`"),
        ("purchases:\n    item: speed-boost", " is wanted: write `- item: speed-boost`"),
        ("purchases:\n    - speed-boost: {}", "'item' is missing; write `- item: speed-boost`"),
        ("flip-trick", "; a mapping (lines of `key: value`) is wanted"),
        ("purchases: [{item: ensemble-enchanter, members: [seed 1, {}]}]", "`seed: 1`"),
        ("purchases: [{item: ensemble-enchanter, members: [{}, "
         "{items: {resolution-rocket: {size: 96}}}]}]",
         "cannot differ in resolution-rocket: all images of a job have one size"),
        ("purchases: [{item: data-potion}]", "; did you mean info-infusion?"),
        ("purchases: [{item: Need for Shift}]", "; did you mean tokyo-data-drift?"),
        ("purchases: [{item: 'flip-trick, speed-boost'}]", "; one item a line: `- item: ...`"),
        ("purchases:\n    – item: flip-trick",
         "; an entry starts with a hyphen and a space: `- item: ...`"),
        ("purchases:\n    -item: flip-trick",
         "; an entry starts with a hyphen and a space: `- item: ...`"),
        ("purchases:\n    - item: rate-rollercoaster\n    schedule: cosine",
         "of the entry that it belongs to, or further left where it belongs to none"),
        ("item: flip-trick", "; what is bought stands below `purchases:`, each as `- item: ITEM`"),
        ("purchases: [{item: ensemble-enchanter, members: [{item: whirl-and-swirl}, {}]}]",
         "; a member's own parameters of an item are `items: {ITEM: {PARAMETER: VALUE}}`"),
        ("epochs: 20.0", "; write 20"),
        ("batchSize: 1k", "; write 1000"),
        ("purchases: [{item: flip-trick, horizontal: 150%}]", "'150%'; a number is wanted"),
        ("purchases: [{item: whirl-and-swirl, degrees: 0.26 rad}]", "; a number is wanted"),
        ("purchases: [{item: batchSize}]", "; batchSize is free: write it under spec"),
        ("purchases: [{item: learning rate}]", "; learningRate is free: write it under spec"),
        ("purchases: [{item: rate}]", "did you mean learning-rate-decay or rate-rollercoaster?"),
        ("epochs: -3.0", "a whole number is wanted"),
        ("purchases: [{item: ensemble-enchanter, members: [{members: 3}, {}]}]",
         "unknown key 'members'; did you mean items?"),
        ("purchases: [{item: tokyo}]", "; did you mean tokyo-data-drift?"),
        ("purchases: [{item: speedbost}]", "; did you mean speed-boost?"),
        ("purchases: [{item: adam}]", "custom, ensemble-enchanter"),
        ("purchases:\n    - item:speed-boost",
         "; a space is wanted after the colon: `item: speed-boost`"),
        ("purchases:\n    - item: speed-boost\n      item: flip-trick",
         "; another purchase is an entry of its own: `- item: ...`"),
        ("purchases: [{item: ensemble-enchanter, members: [{blocks: 2}, {}]}]",
         "cannot differ in blocks of neural-turbo-boost: what is bought is the same for all"),
        ("purchases: [{item: ensemble-enchanter, members: [{size: 96}, {}]}]",
         "cannot differ in size of resolution-rocket: all images of a job have one size"),
        ("purchases: [{item: ensemble-enchanter, members: [{combine: vote}, {}]}]",
         "; it belongs to the ensemble, beside `members:`"),
        ("purchases: [{item: ensemble-enchanter, members: [{degrees: 9}, {}]}]",
         "; it belongs under items, whirl-and-swirl"),
        ("purchases: [{item: ensemble-enchanter, members: [{flip-trick: {vertical: 1}}, {}]}]",
         "; a member's own parameters of it are `items: {flip-trick: {PARAMETER: VALUE}}`"),
        ("purchases: [{item: ensemble-enchanter, members: [{}]}]",
         "the number of members is 1; at least 2 are wanted"),
        ("purchases: [{item: }]", "the key 'item' has no value; give it one"),
        ("epochs:", "the key 'epochs' has no value; give it one or leave it out"),
        ("purchases: [{item: ensemble-enchanter, members: 3}]",
         "; for 3 networks write `members: [{}, {}, {}]`"),
        ("purchases: [{item: ensemble-enchanter}]", "; see `gamectl shop ensemble-enchanter`"),
        ("purchases: 3", "a list (lines of `- ...`) is wanted"),
    ],
)  # fmt: skip
def test_a_value_or_key_gets_a_hint(tmp_path: Path, spec: str, said: str) -> None:
    (problem,) = problems(tmp_path, f"{HEAD}spec:\n  {spec}\n")
    assert problem[2].endswith(said)


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("limits: {activeDeadlineSeconds: 10 min}", "; write 600, in seconds"),
        ("limits: {activeDeadlineSeconds: 90s}", "; write 90, in seconds"),
        ("queue: {maxWaitSeconds: 1.5 hours}", "; write 5400, in seconds"),
        ("customLimits: {wallSeconds: 2 weeks}", "a number is wanted, of seconds, without a unit"),
        ("customLimits: {memoryMib: 2GiB}", "; write 2048, in MiB"),
        ("customLimits: {memoryMib: 1000.5 MB}", "is wanted, of MiB, without a unit"),
        ("epochs: 10", "; it belongs under limits"),
        ("imageSizePx: 64", "; it belongs under limits or teacher"),
        ("limits: {policy: fair}", "; it belongs under spec, queue"),
        ("data: {source: 's3:/monkeys/1'}", "; did you mean s3://monkeys/1?"),
        ("data: {source: 'gs:monkeys'}", "; did you mean gs://monkeys?"),
        ("limits: {split: 1}", "; allowed is epochs, imageSizePx, members, batchSize, "
         "submissionsPerTeam, activeDeadlineSeconds"),
    ],
)  # fmt: skip
def test_a_cohort_gets_a_hint(tmp_path: Path, spec: str, said: str) -> None:
    (problem,) = problems(tmp_path, f"apiVersion: game/v1\nkind: Cohort\nspec:\n  {spec}\n")
    assert problem[2].endswith(said)


@pytest.mark.parametrize("line", ["learningRate:0.02", "learningRate 0.02", "learningRate = 0.02"])
@pytest.mark.parametrize(
    "lines", ["{}\n\n  epochs: 3", "seed: 1\n  {}", "seed: 1\n  {}\n  epochs: 3"]
)
def test_a_key_without_its_colon_is_reported_in_its_line(
    tmp_path: Path, lines: str, line: str
) -> None:
    text = f"{HEAD}spec:\n  {lines.format(line)}\n"
    at = text[: text.index(line)].count("\n") + 1
    (problem,) = problems(tmp_path, text)
    assert problem == (at, 3, f"'{line}'; a key needs a colon and a space: `name: value`")


@pytest.mark.parametrize(
    ("content", "place", "said"),
    [
        (f"{HEAD}spec:\n\xa0 epochs: 3\n\xa0 seed: 1\n", (6, 1), "a no-break space (U+00A0)"),
        (f"{HEAD}spec:\n  epochs: 3\u200b\n", (6, 12), "a zero width space (U+200B)"),
        (f"{HEAD}\ufeffspec: {{}}\n", (5, 1), "a zero width no-break space (U+FEFF)"),
        (f"```yaml\n{HEAD}```\n", (1, 1), "remove the ``` line"),
        (HEAD.encode("utf-16"), (1, 1), "saved as UTF-16? Save the file as UTF-8"),
        (b"PK\x03\x04\xff\x00", (1, 1), "a Word or zip file; save it as plain text"),
        (b"{\\rtf1 x}", (1, 1), "rich text; save it as plain text"),
        ("epochs\n", (1, 1), "a loadout starts with `apiVersion: game/v1`"),
        (HEAD.replace("team: a", "team: flinke-äffchen"), (4, 9), "try flinke-aeffchen"),
    ],
)
def test_what_is_not_a_loadout_yet(
    tmp_path: Path, content: str | bytes, place: tuple[int, int], said: str
) -> None:
    (problem,) = problems(tmp_path, content)
    assert problem[:2] == place
    assert said in problem[2]


def test_a_comment_may_hold_any_space(tmp_path: Path) -> None:
    assert problems(tmp_path, f"# 10\xa0epochs\n{HEAD}spec: {{}}  # 3\u202fB NN\n") == []


def test_what_should_be_indented_is_said_so(tmp_path: Path) -> None:
    text = "apiVersion: game/v1\nkind: Loadout\nmetadata:\nteam: a\nspec:\nepochs: 3\n"
    assert [message.partition("; ")[2] for _, _, message in problems(tmp_path, text)] == [
        "indent the lines below it",
        "it belongs under metadata: indent it",
        "indent the lines below it",
        "it belongs under spec: indent it",
    ]


def test_bullets_of_a_word_processor_are_no_entries(tmp_path: Path) -> None:
    found = problems(
        tmp_path, f"{HEAD}spec:\n  purchases:\n    • item: flip-trick\n    • item: mixup-mixer\n"
    )
    assert found
    assert all(text.endswith("a hyphen and a space: `- item: ...`") for *_, text in found), found
