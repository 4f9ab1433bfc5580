"""Learning from a teacher: what each part of the loss measures, and runs of several phases."""

import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from tiny_runs import TINY, assert_close, assert_same, losses, start, tiny, weights

from mambairv2.network.config import MambaIRv2Config
from mambairv2.network.model import MambaIRv2
from mambairv2.training.checkpoint import load_checkpoint
from mambairv2.training.distillation import FeatureLesson, Teacher, check_teacher, principal_channels, stretches
from mambairv2.training.loop import train
from mambairv2.training.objective import Objective
from mambairv2.training.recipe import Recipe
from mambairv2.training.schedule import learning_rate
from mambairv2.weights.load import load_model
from mambairv2.weights.save import save_model

CONFIG = MambaIRv2Config.from_dict(TINY)


def network(seed=0, **changes):
    torch.manual_seed(seed)
    made = MambaIRv2(replace(CONFIG, **changes))
    for layer in made.modules():  # a teacher in which every part shows
        if isinstance(layer, torch.nn.Linear):
            torch.nn.init.normal_(layer.weight, std=0.3)
        if isinstance(layer, torch.nn.LayerNorm):
            torch.nn.init.uniform_(layer.weight, 0.5, 1.5)
            torch.nn.init.uniform_(layer.bias, -0.5, 0.5)
    return made


def image(side=16):
    return torch.rand(2, 3, side, side, generator=torch.Generator().manual_seed(1))


def goal(**terms):
    sampled = terms.pop("sampled", False)
    part = {"weights": "teacher", "truth": 0, **terms}
    return Recipe.model_validate({"train": {"iterations": 1, "sampled": sampled}, "teacher": part}).goal(0)


def test_a_network_has_nothing_to_learn_from_itself():
    student, source = network().train(), image()
    teacher = Teacher(network())
    objective = Objective(student, teacher)
    target = teacher.restore(source)
    for terms in ({"truth": 1, "outputs": 1}, {"features": 1}):
        assert objective(source, target, None, goal(**terms)).item() == pytest.approx(0, abs=1e-6)
    assert objective(source, target, None, goal(features=1, routing=1)) > 0.01  # no label is certain


def test_every_weight_learns_from_features_and_each_layer_alone():
    student, teacher = network(1).train(), Teacher(network(2))
    features, routing = FeatureLesson(student, teacher, None).losses(image())
    (features + routing).backward()
    assert [n for n, p in student.named_parameters() if p.grad is None or p.grad.abs().sum() == 0] == []
    before = features.item()
    with torch.no_grad():  # a wrong first group leaves the lessons of the second as they were
        for parameter in student.groups[0].parameters():
            parameter.mul_(2)
    lesson, again = FeatureLesson(student, teacher, None), FeatureLesson(network(1).train(), teacher, None)
    lesson.losses(image())
    again.losses(image())
    assert sum(again.errors).item() == pytest.approx(before, rel=1e-5)
    changed = [a.item() != b.item() for a, b in zip(lesson.errors, again.errors, strict=True)]
    assert changed == [False] * 2 + [True] * 5 + [False] * 7  # attention, two feed-forwards, scan, convolution


def test_an_error_is_relative_to_the_teachers_change_by_hand():
    student, teacher = network(1), Teacher(network(2))
    lesson = FeatureLesson(student, teacher, None)
    lesson.losses(image())
    with torch.no_grad():
        his, mine = teacher.network, student
        first = his.conv_first(image() - torch.tensor([0.4488, 0.4371, 0.4040]).view(1, 3, 1, 1))
        y = his.norm_first(first.permute(0, 2, 3, 1))
        layer, model = (net.groups[0].layers[0] for net in (mine, his))
        x1 = model.attention(model.norm1(y)) + y
        x1 = x1 + model.ffn1(model.norm2(x1)) + model.scale1 * y
        label = model.attentive_scan.route(model.norm3(x1)).argmax(-1).flatten(1)
        after = x1 + model.attentive_scan(model.norm3(x1))
        found = x1 + layer.attentive_scan(layer.norm3(x1), routed=layer.attentive_scan.prompts_of(label))
        error = ((found - after) ** 2).sum() / ((after - x1) ** 2).sum()
    assert lesson.errors[4].item() == pytest.approx(error.item(), rel=1e-5)


@pytest.mark.parametrize("fused", [False, True])
def test_prompts_can_be_chosen_by_the_caller(fused):
    layer, x = network().eval().groups[0].layers[0], torch.randn(1, 8, 8, 12)
    scan = layer.attentive_scan

    def run(**given):
        return scan.fused(x, layer.norm3, **given) if fused else scan(layer.norm3(x), **given)

    label = scan.route(layer.norm3(x)).argmax(-1).flatten(1)
    torch.testing.assert_close(run(routed=scan.prompts_of(label)), run())
    other = scan.prompts_of((label + 1) % CONFIG.num_tokens)
    assert not torch.allclose(run(routed=other), run())
    assert torch.equal(run(routed=other), run(generator=torch.Generator(), routed=other))  # nothing is drawn


def test_a_wider_teacher_goes_through_a_map_that_keeps_most():
    teacher = network(2, embed_dim=16)
    basis = principal_channels(teacher, [image()], 12)
    torch.testing.assert_close(basis.T @ basis, torch.eye(12), atol=1e-5, rtol=0)
    student = network(1)
    features, routing = FeatureLesson(student.train(), Teacher(teacher, basis), None).losses(image())
    (features + routing).backward()
    assert all(p.grad is not None for p in student.parameters())
    with torch.no_grad():
        y = teacher.norm_first(teacher.conv_first(image()).permute(0, 2, 3, 1)).flatten(0, 2)
        kept = [((y @ b @ b.T).square().sum() / y.square().sum()).item() for b in (basis, torch.eye(16)[:, :12])]
    assert kept[0] > kept[1]


def test_a_deeper_teacher_teaches_groups():
    teacher = network(2, depths=(1, 1, 2), num_heads=(2, 2, 2))
    assert [len(part) for part in stretches(2, teacher.groups)] == [1, 2]
    student = network(1).train()
    lesson = FeatureLesson(student, Teacher(teacher), None)
    features, routing = lesson.losses(image())
    assert len(lesson.errors) == 2 + 2 + 2
    assert routing == 0
    features.backward()
    assert student.groups[1].layers[0].attention.qkv.weight.grad.abs().sum() > 0


def test_a_student_without_a_scan_learns_the_rest():
    student, teacher = network(1, attentive_scan=False).train(), Teacher(network(2))
    lesson = FeatureLesson(student, teacher, None)
    lesson.losses(image())
    taught = FeatureLesson(network(1).train(), teacher, None)
    taught.losses(image())
    assert len(taught.errors) - len(lesson.errors) == len(taught.routing) == 2  # the scans alone


def test_another_scale_teaches_the_body_and_not_the_head():
    student = network(1, upscale=3).train()
    features, _ = FeatureLesson(student, Teacher(network(2)), None).losses(image())
    features.backward()
    assert student.conv_after_body.weight.grad is not None
    assert student.head.conv.weight.grad is None


@pytest.mark.parametrize(
    ("teacher", "parts", "says"),
    [
        ({"in_channels": 1}, {}, "1 image channels"),
        ({"upscale": 3}, {"outputs": True}, "outputs of a teacher for ×3"),
        ({"embed_dim": 8}, {"features": True}, "12 channels cannot learn features of 8"),
        ({"depths": (1,), "num_heads": (2,)}, {"features": True}, "2 groups cannot learn features of 1"),
        ({"num_tokens": 5}, {"features": True, "routing": True}, "number of prompts"),
    ],
)
def test_a_teacher_that_cannot_teach_is_refused(teacher, parts, says):
    parts = {"outputs": False, "features": False, "routing": False, **parts}
    with pytest.raises(ValueError, match=says):
        check_teacher(network(), network(**teacher), **parts)


def test_phases_take_what_they_leave_out_from_the_recipe():
    recipe = tiny(
        10,
        lr=1e-3,
        schedule="cosine",
        final_lr=0,
        teacher={"weights": "t"},
        phases=[
            {"start": 0, "lr": 2e-3, "truth": 0, "features": 1, "routing": 0.1},
            {"start": 4, "outputs": 1, "sampled": False, "warmup": 2, "ema": 0.9},
        ],
    )
    first, second = recipe.goals()
    assert (first.start, first.train.iterations, first.train.lr, first.train.sampled) == (0, 4, 2e-3, True)
    assert (second.start, second.train.iterations, second.train.lr, second.train.ema) == (4, 6, 1e-3, 0.9)
    assert (first.teacher.truth, first.teacher.features, first.teacher.routing) == (0, 1, 0.1)
    assert (second.teacher.truth, second.teacher.outputs, second.teacher.features) == (1, 1, 0)
    assert recipe.goal(3) == first
    assert recipe.goal(9) == second
    assert learning_rate(first.train, 0) == pytest.approx(2e-3)
    assert learning_rate(second.train, 0) == pytest.approx(5e-4)  # warms up anew
    assert tiny(10, warmup=3).goals()[0].train == tiny(10, warmup=3).train


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"teacher": {"truth": 0}}, "nothing to learn"),
        ({"teacher": {"outputs": 1}}, "need the weights of a teacher"),
        ({"phases": [{"start": 6}]}, "after the last iteration"),
        ({"phases": [{"start": 2}, {"start": 2}]}, "two phases start at 2"),
    ],
)
def test_phases_that_cannot_learn_are_refused(changes, says):
    with pytest.raises(ValueError, match=says):
        tiny(6, **changes)


@pytest.fixture
def taught(tmp_path):
    save_model(network(2), tmp_path / "teacher.safetensors")

    def make(iterations=8, **changes):
        phases = [
            {"start": 0, "lr": 5e-3, "truth": 0, "features": 1, "routing": 0.1},
            {"start": iterations // 2, "lr": 1e-3, "outputs": 1, "truth": 0.1, "sampled": False},
        ]
        given = {"teacher": {"weights": str(tmp_path / "teacher.safetensors")}, "phases": phases, **changes}
        return tiny(iterations, schedule="cosine", **given)

    return make


def test_a_fresh_student_learns(taught, options, tmp_path):
    train(taught(120), options())
    found = [loss for _, loss in losses(options().run)]
    assert sum(found[50:60]) < 0.5 * sum(found[:10])
    train(tiny(120, lr=5e-3, schedule="cosine"), options("alone"))
    wanted = load_model(tmp_path / "teacher.safetensors")(image())
    taught_one, alone = (load_model(options(name).run / "ema.safetensors")(image()) for name in ("run", "alone"))
    assert (taught_one - wanted).abs().mean() < 0.75 * (alone - wanted).abs().mean()


@pytest.mark.parametrize("wide", [False, True])
def test_stopping_within_and_between_phases_changes_no_bit(taught, options, tmp_path, wide):
    changes = {}
    if wide:
        save_model(network(2, embed_dim=16), tmp_path / "wide.safetensors")
        changes = {"teacher": {"weights": str(tmp_path / "wide.safetensors")}}
    whole, parts = options("whole"), options("parts", max_minutes=0)
    train(taught(6, **changes), whole)
    while not train(taught(6, **changes), parts):
        pass
    assert load_checkpoint(whole.run)["optimizer"]["state"][0]["step"] == 3  # moments of the second phase alone
    assert losses(parts.run) == losses(whole.run)
    assert_same(weights(parts.run), weights(whole.run))
    assert (load_checkpoint(parts.run)["basis"] is not None) == wide


def test_weights_are_looked_for_as_data_is(taught, options, tmp_path, monkeypatch):
    monkeypatch.setenv("MAMBAIRV2_DATA", str(tmp_path))
    named = {"weights": "teacher.safetensors"}
    model = taught().model.model_copy(update={"start_from": "teacher.safetensors"})
    assert train(taught(2, teacher=named).model_copy(update={"model": model}), options())
    with pytest.raises(ValueError, match=r"teacher: .*no such weights"):
        train(taught(2, teacher={"weights": "absent.safetensors"}), options("other"))


def test_micro_batches_teach_outputs_alike(taught, options):
    for name, micro in (("whole", 0), ("pieces", 1)):
        recipe = taught(3, phases=[], teacher=taught().teacher.model_copy(update={"outputs": 1.0}).model_dump())
        part = recipe.train.model_copy(update={"micro_batch": micro, "sampled": False})
        train(recipe.model_copy(update={"train": part}), options(name))
    assert_close(options("pieces").run, options("whole").run)


@pytest.mark.slow
def test_two_processes_learn_from_a_teacher_what_one_does(taught, options, tmp_path):
    alone, both = options("alone"), options("both", devices=2)
    recipe = taught(4, phases=[{"start": 2, "features": 0, "routing": 0, "outputs": 1, "truth": 1, "sampled": False}])
    recipe = recipe.model_copy(
        update={"teacher": recipe.teacher.model_copy(update={"truth": 0.0, "features": 1.0, "routing": 0.1})}
    )
    train(recipe, alone)
    script = tmp_path / "run.py"
    script.write_text(start(recipe, both)[-1])
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    ended = subprocess.run([*torchrun, str(script)], capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == 0, ended.stderr
    assert_close(both.run, alone.run, atol=0.02)  # an error is relative to each half's own energy
