"""Clips of a few words by the voices of the classifier and of the test split, and a classifier trained on them."""

from __future__ import annotations

import pytest
from speakers import NUM_SAMPLES, NUM_STEPS, WORDS

from synesthete.data.speech.corpus import build_speech_corpus, load_clips
from synesthete.data.speech.engines import split_voices
from synesthete.evaluation.classifiers.speech import load_or_train_speech_classifier


@pytest.fixture(scope="session")
def corpus(tmp_path_factory, cache):
    """Four words by the voices of the classifier and of the test split."""
    pytest.importorskip("espeakng_loader", reason="the speech extra is not installed")
    pytest.importorskip("pocketsphinx", reason="the speech extra is not installed")
    folder = tmp_path_factory.mktemp("corpus")
    voices = {split: group for split, group in split_voices().items() if split != "train"}
    words = {word: word for word in WORDS}
    build_speech_corpus(words, folder, seconds=NUM_SAMPLES / 24_000, takes=4, voices=voices, num_workers=1)
    return folder


@pytest.fixture(scope="session")
def real(corpus):
    return load_clips(corpus, "test")


@pytest.fixture(scope="session")
def classifier_clips(corpus):
    return load_clips(corpus, "classifier")


@pytest.fixture(scope="session")
def trained(classifier_clips, real):
    return load_or_train_speech_classifier(classifier_clips, real, num_steps=NUM_STEPS)
