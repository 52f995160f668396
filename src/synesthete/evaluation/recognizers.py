"""Which words are said, by listeners that no part of this package trained: pocketsphinx, and Whisper; and a panel."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import soxr
import torch
from rapidfuzz.distance import Levenshtein
from torch import Tensor

from synesthete import hub
from synesthete.data.speech.engines import Espeak
from synesthete.evaluation.classifiers.speech import SpeechClassifier, log_mel_of
from synesthete.evaluation.samples import Generated, encode_signals
from synesthete.io import tab_separated
from synesthete.types import InputError, counted, first_line

if TYPE_CHECKING:
    from synesthete.evaluation.classifiers.classifier import TrainedClassifier

    Count = Callable[[int, int], None]  # (done, total)

PHONES = dict(tab_separated(Path(__file__).with_name("phones.tsv")))  # the engine's alphabet as phones of CMUdict
_PHONE = re.compile("|".join(map(re.escape, PHONES)))
_UNSPOKEN = re.compile("[ˈˌ ]")


def phones_of(word: str) -> str | None:
    """The phones of an English word by the speech engine's rules, such as "D UW G AO NG".

    None of what is no word, of a sound that CMUdict has no phone for, and where there is no engine.
    """
    if not re.fullmatch(r"[a-z']*[aeiouy][a-z']*", word):
        return None
    try:
        said = _UNSPOKEN.sub("", Espeak().phonemes(word))
    except InputError:
        return None
    found = _PHONE.findall(said)
    return " ".join(PHONES[one] for one in found) if "".join(found) == said else None


# A transcript further than this from every phrase, in edits a letter, is none of them.
FARTHEST = 0.5
SMALL = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"),
    *("thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"),
)
TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
SAMPLE_RATE = 16_000  # Hz, of the listener's model
PEAK = 0.9
PADDING = 0.2  # seconds of quiet on both sides
# Quiet, not silence: with 40 dB less of it the same clips were understood to 0.65 where this, together with leaving out
# the listener's second pass (bestpath), gave 0.94 (13 voices, 130 utterances).
NOISE = 0.0045


def phrases_of(words: Sequence[str | Sequence[str]]) -> tuple[tuple[str, ...], ...]:
    """The phrases of each class as `normalise` writes them; a class may have one, as a string, or several."""
    several = ([own] if isinstance(own, str) else own for own in words)
    return tuple(tuple(dict.fromkeys(map(normalise, own))) for own in several)


# Whisper's own normaliser, in transformers, writes numbers as digits: of one letter each, edits a letter tell nothing.
def normalise(phrase: str) -> str:
    """Small letters, single spaces, no accents or punctuation, numbers below a hundred in words.

    `"A goldfish, bright orange fish!"` is `"a goldfish bright orange fish"`, `"7."` is `"seven"`.
    """
    plain = "".join(c for c in unicodedata.normalize("NFKD", phrase.lower()) if not unicodedata.combining(c))
    plain = re.sub(r"[,.!?:;\"()\[\]…“”]+", " ", plain.replace("\u2019", "'"))
    return re.sub(r"\b\d{1,2}\b", lambda found: _number(int(found[0])), " ".join(plain.split()))


def _number(value: int) -> str:
    if value < len(SMALL):
        return SMALL[value]
    return f"{TENS[value // 10 - 2]} {SMALL[value % 10]}".removesuffix(" zero")


def nearest_class(transcript: str, phrases: Sequence[Sequence[str]]) -> int:
    """The class whose phrase, of `phrases_of`, has the least edits a letter (Levenshtein 1966) to what was heard.

    -1 where all are further than FARTHEST, or where two classes are equally near: it cannot be told which was meant.
    """
    heard = normalise(transcript)
    distances = [min(Levenshtein.normalized_distance(heard, one) for one in own) for own in phrases]
    least = min(distances)
    return distances.index(least) if least <= FARTHEST and distances.count(least) == 1 else -1


class GrammarRecognizer:
    """pocketsphinx with its own English model and a grammar of words or phrases: it hears one of them, or nothing.

    What it hears in a clip does not depend on what it heard before.

    Raises:
        InputError: pocketsphinx is not installed, no words, or one that its dictionary lacks and nobody can say.
    """

    name = "pocketsphinx"

    def __init__(self, words: Sequence[str]) -> None:
        try:
            from pocketsphinx import Decoder  # the speech extra, which not every installation has
        except ImportError:
            raise InputError("pocketsphinx is not installed; pip install 'synesthete[speech]'") from None
        self.words = tuple(map(normalise, words))
        if not self.words:
            raise InputError("a listener without words; give it at least one")
        self._decoder = Decoder(samprate=SAMPLE_RATE, loglevel="FATAL", lm=None, bestpath=False)
        for word in (word for phrase in self.words for word in phrase.split() or [phrase]):
            if not word or not self._knows(word):
                raise InputError(
                    f"{word!r} is not in pocketsphinx's dictionary; spell it as English words in data.words"
                )
        grammar = " | ".join(dict.fromkeys(self.words))
        self._decoder.add_jsgf_string("words", f"#JSGF V1.0; grammar words; public <words> = {grammar};")
        self._decoder.activate_search("words")

    def _knows(self, word: str) -> bool:
        """Whether it is in the dictionary, or can be added: as two words that are (stingray), or by rule (dugong)."""
        if self._decoder.lookup_word(word) is not None:
            return True
        for cut in range(3, len(word) - 2):
            parts = [self._decoder.lookup_word(part) for part in (word[:cut].rstrip("-"), word[cut:].lstrip("-"))]
            if all(parts):
                self._decoder.add_word(word, " ".join(parts), True)
                return True
        if phones := phones_of(word):
            self._decoder.add_word(word, phones, True)
        return phones is not None

    def recognize(self, waveform: Tensor | np.ndarray, sample_rate: int) -> str | None:
        """The word in a waveform (S,), finite and of any level, or None where it hears none."""
        samples = level(waveform, sample_rate)
        if not len(samples):
            return None
        padded = np.pad(samples, round(PADDING * SAMPLE_RATE))
        noise = np.random.default_rng(0).normal(0, NOISE, padded.shape)
        content = (np.clip(padded + noise, -1, 1) * 32767).astype(np.int16).tobytes()
        # It adapts to the channel from one utterance to the next, whatever its setting `cmn` says. Started anew for
        # each clip it understood 0.93 of 294 real ones; after hearing the clip itself once 0.95, as many as after all
        # the clips before it.
        self._decoder.reinit_feat()
        for _ in range(2):
            self._decoder.start_utt()
            self._decoder.process_raw(content, full_utt=True)
            self._decoder.end_utt()
        heard = self._decoder.hyp()
        return heard.hypstr or None if heard else None

    def recognize_all(self, waveforms: Tensor, sample_rate: int, progress: Count | None = None) -> list[str | None]:
        """What it hears in each of (n, S); progress(done, total) is called after every clip."""
        return [self.recognize(waveform.cpu(), sample_rate) for waveform in counted(waveforms, progress)]


def level(waveform: Tensor | np.ndarray, sample_rate: int) -> np.ndarray:
    """A waveform (S,) as listeners take it: at their rate, its peak at PEAK, exact zeros at the ends left out."""
    samples = np.trim_zeros(np.asarray(waveform, dtype=np.float32))
    if not np.isfinite(samples).all():
        raise InputError("waveform with NaN or infinite samples; there is nothing to hear in it")
    if not len(samples):
        return samples
    samples = soxr.resample(samples, sample_rate, SAMPLE_RATE)
    return PEAK * samples / max(float(np.abs(samples).max()), 1e-9)


AT_HAND = ("openai/whisper-base", "openai/whisper-tiny.en")  # looked for on this machine, the better one first
NUM_AT_ONCE = 8
NUM_TOKENS = 40  # of a transcript; a phrase of ten words has about fifteen
LEFT_OUT = -100  # of labels, in transformers


def local_whisper() -> str | None:
    """The Hub id of a Whisper that is on this machine, or None; nothing is downloaded."""
    return next((name for name in AT_HAND if hub.local_weights(name)), None)


class WhisperRecognizer:
    """Whisper (Radford et al. 2022), greedy, told that the language is English; it is not told which words there are.

    name: a folder in the layout of transformers, or a Hub id.

    Raises:
        InputError: no such weights, or files that make no Whisper.
    """

    def __init__(self, name: str) -> None:
        from transformers import WhisperForConditionalGeneration, WhisperProcessor  # which pocketsphinx does without

        folder = hub.find_weights(name)
        try:
            self.processor = WhisperProcessor.from_pretrained(folder)
            self.model = WhisperForConditionalGeneration.from_pretrained(folder, use_safetensors=True)
        except Exception as error:  # whatever another model's files make transformers say
            reason = first_line(error)
            raise InputError(f"{folder}: no Whisper as transformers saves it ({reason}); give another") from None
        self.model.eval()
        self.name = name

    @torch.no_grad()
    def recognize_all(self, waveforms: Tensor, sample_rate: int, progress: Count | None = None) -> list[str]:
        """What it writes down for each of (n, S), empty where there is no sound."""
        heard: list[str] = []
        told = {"language": "en", "task": "transcribe"} if self.knows_languages else {}
        for part in waveforms.split(NUM_AT_ONCE):
            sounds, features = self._features(part, sample_rate)
            tokens = self.model.generate(features, max_new_tokens=NUM_TOKENS, **told)
            texts = self.processor.batch_decode(tokens, skip_special_tokens=True)
            heard += [text.strip() if len(sound) else "" for text, sound in zip(texts, sounds, strict=True)]
            if progress:
                progress(len(heard), len(waveforms))
        return heard

    @torch.no_grad()
    def log_likelihoods(
        self,
        waveforms: Tensor,
        sample_rate: int,
        phrases: Sequence[str],
        progress: Count | None = None,
    ) -> Tensor:
        """How likely the decoder finds each phrase, given each of (n, S) and all its tokens before: (n, num_phrases).

        The mean log-likelihood of its tokens, the end among them, written as Whisper writes, ` seven` or ` Seven.`, of
        which the likelier counts. -inf where there is no sound.
        """
        texts = [text for phrase in phrases for text in (f" {phrase}", f" {phrase[:1].upper()}{phrase[1:]}.")]
        tokens, labels = self._texts(texts)
        rows = []
        for waveform in counted(waveforms, progress):
            [sound], features = self._features(waveform[None], sample_rate)
            heard = self.model.model.encoder(features).last_hidden_state.expand(len(texts), -1, -1)  # (texts, T, D)
            logits = self.model(encoder_outputs=(heard,), decoder_input_ids=tokens).logits  # (texts, L, vocabulary)
            told = labels != LEFT_OUT
            each = logits.float().log_softmax(dim=2).gather(2, labels.where(told, 0)[..., None])[..., 0]  # (texts, L)
            mean = (each * told).sum(dim=1) / told.sum(dim=1)
            best = mean.view(-1, 2).amax(dim=1)
            rows.append(best if len(sound) else torch.full_like(best, -torch.inf))
        return torch.stack(rows) if rows else torch.zeros(0, len(phrases))

    @property
    def knows_languages(self) -> bool:
        """Whether it has to be told that it hears English, which English-only models refuse."""
        return bool(getattr(self.model.generation_config, "is_multilingual", False))

    def _features(self, waveforms: Tensor, sample_rate: int) -> tuple[list[np.ndarray], Tensor]:
        """Waveforms (n, S) as listeners take them, and what the encoder reads of them, (n, n_mels, T)."""
        sounds = [level(waveform.cpu(), sample_rate) for waveform in waveforms]
        # One sample of silence stands in for no sound at all, which the feature extractor refuses.
        filled = [sound if len(sound) else [0.0] for sound in sounds]
        features = self.processor(filled, sampling_rate=SAMPLE_RATE, return_tensors="pt").input_features
        return sounds, features

    def _texts(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """What the decoder reads (n, L), and the token that it is to say next at each place, or LEFT_OUT."""
        told = ["<|en|>", "<|transcribe|>"] if self.knows_languages else []
        tokenizer = self.processor.tokenizer
        start = tokenizer.convert_tokens_to_ids(["<|startoftranscript|>", *told, "<|notimestamps|>"])
        rows = [tokenizer(text, add_special_tokens=False).input_ids for text in texts]
        longest, end = max(map(len, rows)), self.model.config.eos_token_id
        tokens = [[*start, *row, *[end] * (longest - len(row))] for row in rows]
        labels = [[*[LEFT_OUT] * (len(start) - 1), *row, end, *[LEFT_OUT] * (longest - len(row))] for row in rows]
        return torch.tensor(tokens), torch.tensor(labels)


X_0, DECODED = "mel classifier on x_0", "mel classifier on the decoded sound"
LISTENER, WHISPER = "pocketsphinx on the decoded sound", "Whisper on the decoded sound"
BATCH_SIZE = 50  # sounds that are encoded at once


class RecognizerPanel:
    """The classifier and, where there are such, the recognisers; phrases: what may be said for each class.

    codec: of the sounds. words: what is said for each class, one phrase or several. listener: "auto", pocketsphinx and
    whichever Whisper is on this machine; "pocketsphinx" alone; "none"; or the folder or Hub id of a Whisper, which must
    be had, beside pocketsphinx. notes say where pocketsphinx cannot be part of it.
    """

    def __init__(
        self,
        codec: Any,
        trained: TrainedClassifier[SpeechClassifier],
        words: Sequence[str | Sequence[str]],
        listener: str = "auto",
    ) -> None:
        self.codec, self.trained, self.phrases = codec, trained, phrases_of(words)
        self.notes: list[str] = []
        self.grammar: GrammarRecognizer | None = None
        named = listener if listener not in ("auto", "pocketsphinx", "none") else None
        whisper = local_whisper() if listener == "auto" else named
        self.whisper = WhisperRecognizer(whisper) if whisper else None
        if listener != "none":
            try:
                self.grammar = GrammarRecognizer([phrase for own in self.phrases for phrase in own])
            except InputError as error:
                self.notes.append(f"no pocketsphinx: {error}")

    def answers(self, speech: Generated, progress: Count | None = None) -> dict[str, Tensor]:
        """What each hears in each of n sounds, (n,) by name: a class, or -1. Whisper is too slow to be among them."""
        classifier, codec = self.trained.classifier, self.codec
        again = encode_signals(codec, speech.signal, BATCH_SIZE)
        found = {name: classifier.classify(log_mel_of(codec, x)) for name, x in ((X_0, speech.x_0), (DECODED, again))}
        if self.grammar is not None:
            found[LISTENER] = self.grammar_answers(speech.signal, progress)
        return found

    def grammar_answers(self, waveforms: Tensor, progress: Count | None = None) -> Tensor:
        """The answers of pocketsphinx alone, (n,)."""
        assert self.grammar is not None
        meant = {phrase: i for i, own in enumerate(self.phrases) for phrase in own}
        heard = self.grammar.recognize_all(waveforms, self.codec.spec.sample_rate, progress)
        return torch.tensor([meant.get(phrase, -1) if phrase else -1 for phrase in heard])

    def transcribe(self, waveforms: Tensor, progress: Count | None = None) -> tuple[list[str], Tensor]:
        """What Whisper writes, and the classes of the nearest phrases (n,), -1 for none of them."""
        assert self.whisper is not None
        written = self.whisper.recognize_all(waveforms, self.codec.spec.sample_rate, progress)
        return written, torch.tensor([nearest_class(text, self.phrases) for text in written])

    def choose(self, waveforms: Tensor, progress: Count | None = None) -> Tensor:
        """The classes of the phrases that Whisper finds likeliest (n,), -1 where there is no sound."""
        assert self.whisper is not None
        phrases = [(phrase, i) for i, own in enumerate(self.phrases) for phrase in own]
        named, classes = [phrase for phrase, _ in phrases], torch.tensor([i for _, i in phrases])
        found = self.whisper.log_likelihoods(waveforms, self.codec.spec.sample_rate, named, progress)  # (n, phrases)
        return classes[found.argmax(dim=1)].where(found.isfinite().all(dim=1), -1)
