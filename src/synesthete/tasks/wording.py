"""What can be asked of the systems, in words: one line for each field of a request and each sampling setting."""

from __future__ import annotations

HELP: dict[str, str] = {
    "labels": "A class by name or number; several by commas or given again; or all.",
    "prompts": "Words of your own, for a model that reads text; again for more.",
    "num": "How many of each.",
    "loudness": "In dB, such as -20; or drawn.",
    "seconds": "Length of each sound; the model's own by default.",
    "bars": "Length of each piece; 8 by default.",
    "key": "Such as 'D minor'; else drawn, or found in --init.",
    "tempo": "Quarter notes a minute; 84, or those of --init.",
    "init": "A sound or a score to vary, mend or go on from.",
    "harmonise": "Hold the melody of --init and make the other voices.",
    "fill": "Bars of --init to be made anew, such as 3-4.",
    "remake": "Voices of --init to be made anew: soprano, alto, tenor, bass.",
    "strength": "How far --init is varied, above 0 to 1, which keeps nothing; 0.6 by default.",
    "gap": "Seconds of --init to be made anew; the rest stays as it is.",
    "goes_on": "Go on after --init, up to --seconds or --bars in all.",
    "is_loop": "Music whose end meets its beginning.",
    "upsampler": "A second model, which adds highs to the music of the first.",
    "overlap": "Seconds that a window of long music shares with the one before; a quarter.",
    "num_corrections": "Backward passes a step that fit what is made to what is held; 2.",
    "num_resamplings": "Rounds that blend what is made with what was given.",
    "negative_prompt": "What a picture is to be led away from.",
    "audio_guidance_scale": "How far the sound leads, beside --guidance-scale for the text, which else is for both.",
    "adapter_scale": "How much is heard: 0 is deaf, 1 as it was trained, at most 2.",
    "between": "A strip of pictures from one sound to another.",
    "frames": "Pictures of that strip; 7 by default.",
    "strengths": "A strip of each sound, a picture for each strength.",
    "is_gif": "The strip as a GIF, too.",
    "voice": (
        "Who speaks: a voice of the model or a clip, several by commas, or all; else chance. Or who sings a melody."
    ),
    "instrument": (
        "What a score is played on; of music-score also several by commas, or all. An unknown one lists them."
    ),
    "player": "What plays it in place of plain tones: music-score or another such model, or a SoundFont (.sf2).",
    "pitch": "How high, 0 to 99; 50 is the voice's own.",
    "rate": "How fast, in words a minute.",
    "max_pixels": "Pixels of a picture from which on it is not decoded; 100 million.",
    "out": "Folder for what is made.",
    "seed": "Other seeds give others.",
    "sampler": "Such as ddim or flow-heun; an unknown name lists them all.",
    "steps": "Number of sampling steps.",
    "guidance_scale": "1.0 is off; higher follows the condition more; 0.0 does without it.",
    "assignments": "Any other sampling setting, such as eta=0.5.",
}
