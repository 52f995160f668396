"""The mel judge: right on voices it never heard, at chance where there was nothing to learn, cached whole."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from synesthete import hub
from synesthete.codecs.mel import MelCodec
from synesthete.evaluation.speech import judges
from synesthete.evaluation.speech.judges import MelJudge, load_or_train_judge, log_mel_of, log_mels, train_judge
from synesthete.types import AudioSpec, InputError


def test_it_understands_voices_it_never_heard(trained, real):
    assert trained.accuracy > 0.9
    assert trained.num_test == len(real)
    assert trained.num_voices == 6


def test_shuffled_labels_teach_nothing(judge_clips, real):
    """The same clips, steps and test with labels at random: chance is 0.25 of 4 words."""
    order = torch.randperm(len(judge_clips), generator=torch.Generator().manual_seed(1))
    judge = train_judge(judge_clips.waveforms, judge_clips.labels[order], judge_clips.class_names, num_steps=60)
    right = (judge.judge(log_mels(real.waveforms, AudioSpec())) == real.labels).float().mean()
    assert right < 0.5


def test_it_does_not_depend_on_the_generators_statistics(trained, real):
    """x_0 of two codecs with other statistics and floors is judged alike."""
    clips = real.waveforms[:24].float() / 32768
    answers = []
    for mean, scale in ((-8.0, 4.0), (0.5, 11.0)):
        codec = MelCodec(num_samples=clips.shape[-1])
        codec.mean.fill_(mean)
        codec.scale.fill_(scale)
        answers.append(trained.judge.judge(log_mel_of(codec, codec.encode(clips))))
    assert torch.equal(*answers)


def test_what_nobody_hears_does_not_matter(trained, real):
    log_mel = log_mels(real.waveforms[:24], AudioSpec())
    assert torch.equal(trained.judge.judge(log_mel), trained.judge.judge(log_mel.clamp(min=-5.5)))


def test_a_batch_equals_its_singles(trained, real):
    log_mel = log_mels(real.waveforms[:5], AudioSpec())
    singles = torch.cat([trained.judge(part) for part in log_mel.split(1)])
    torch.testing.assert_close(trained.judge(log_mel), singles, atol=1e-4, rtol=1e-4)


def test_the_same_seed_gives_the_same_judge_and_leaves_the_random_state(judge_clips):
    before = torch.get_rng_state()
    first, again = (
        train_judge(judge_clips.waveforms[:64], judge_clips.labels[:64], judge_clips.class_names, num_steps=2)
        for _ in range(2)
    )
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True))


def test_it_is_trained_once(trained, judge_clips, real, monkeypatch):
    monkeypatch.setattr(judges, "train_judge", lambda *_, **__: pytest.fail("trained again"))
    again = load_or_train_judge(judge_clips, real, num_steps=120)
    assert (again.accuracy, again.seconds) == (trained.accuracy, trained.seconds)
    log_mel = log_mels(real.waveforms[:24], AudioSpec())
    assert torch.equal(again.judge.judge(log_mel), trained.judge.judge(log_mel))


def test_other_clips_or_a_damaged_file_are_trained_again(judge_clips, real, monkeypatch, tmp_path):
    monkeypatch.setenv("SYNESTHETE_CACHE", str(tmp_path))
    runs = []

    def train(waveforms, labels, class_names, **_):
        runs.append(len(labels))
        return MelJudge(tuple(class_names))

    monkeypatch.setattr(judges, "train_judge", train)
    load_or_train_judge(judge_clips, real)
    other = replace(judge_clips, waveforms=judge_clips.waveforms.flip(0), labels=judge_clips.labels.flip(0))
    load_or_train_judge(other, real)
    folders = list((hub.cache_folder() / "judges").iterdir())
    assert len(folders) == 2
    for folder in folders:
        (folder / "diffusion_pytorch_model.safetensors").write_bytes(b"cut")
    load_or_train_judge(judge_clips, real)
    assert len(runs) == 3


def test_a_voice_in_both_splits_is_an_error(real):
    with pytest.raises(InputError, match="in the judge's split and in the test split"):
        load_or_train_judge(real, real)


def test_too_few_clips_are_an_error(real):
    with pytest.raises(InputError, match="1 clips"):
        train_judge(real.waveforms[:1], real.labels[:1], real.class_names)
