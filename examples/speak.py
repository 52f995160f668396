"""From Python: a seven is drawn, it speaks in two voices, and what was said is painted again."""

from pathlib import Path

import synesthete

OUT = Path("out/speak")


def main() -> None:
    """Draw, speak, paint; what is made lies in OUT."""
    seven = synesthete.load("images-digits")("seven", num_inference_steps=8).save(OUT / "seven.png")

    speaker = synesthete.load("image-to-speech-voices")  # or a run folder, a model folder, a Hub id
    voices = speaker.pipeline.conditioner.voices
    for voice in (voices[0], voices[-1]):
        sound = speaker(seven, voice=voice, seed=1)
        wav = sound.save(OUT / f"{voice}.wav")
        print(f"{wav}: {sound.seconds:.2f} s at {sound.sample_rate} Hz; its classifier hears {sound.words!r}")

    painter = synesthete.load("audio-to-image-digits")
    pictures = painter(wav, num=2, num_inference_steps=4)  # `num` gives a list; in a notebook it shows itself
    print([str(path) for path in pictures.save(OUT / "painted")])
    print(pictures[0].how)  # how it was made: seed, sound, settings; the file tells it, too


if __name__ == "__main__":
    main()
