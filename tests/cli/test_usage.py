"""Wrong options and missing arguments: one line and code 2, as every other mistake."""

from __future__ import annotations

import os
import signal

import pytest


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("train",), ("Missing argument 'RECIPE'", "synesthete train --help")),
        (("sample",), ("Missing argument 'MODEL'", "synesthete sample --help")),
        (("train", "x", "--bogus", "3"), ("--bogus", "synesthete train --help")),
        (("evaluate", "x", "--num", "three"), ("'--num'", "synesthete evaluate --help")),
        (("evaluate", "x", "--num", "3"), ("'--num'", "10", "synesthete evaluate --help")),
        (("traim", "x"), ("traim", "synesthete --help")),
        (("--bogus",), ("--bogus", "synesthete --help")),
        (("demo", "--device", "toaster"), ("device 'toaster'", "choose from auto, cpu")),
    ],
)
def test_a_wrong_call_is_one_line_and_code_2(arguments, words, command):
    code, out, err = command(*arguments)
    assert code == 2
    assert out == ""
    [line] = err.splitlines()
    assert line.startswith("synesthete: ")
    for word in words:
        assert word in line


def test_no_command_at_all_shows_the_help(command):
    code, out, err = command()
    assert code == 2
    assert "Usage: " in out + err


def test_version_and_help_succeed(command):
    assert command("--version")[0] == 0
    assert command("train", "--help")[0] == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("evaluate", "x", "--num", "1000000000"), ("--num: 1000000000", "give 100,000 at most")),
        (("draw", "--num", "9999999"), ("--num", "give 100,000 at most")),
        (("draw", "--steps", "1000000000"), ("num_inference_steps", "give 10,000 at most")),
        (("play", "--init", "x.wav", "--overlap", "nan"), ("--overlap: nan is no finite number",)),
        (("play", "--seconds", "inf"), ("--seconds: inf is no finite number",)),
        (("play", "--init", "x.wav", "--gap", "0", "inf"), ("--gap: inf",)),
        (("draw", "--guidance-scale", "nan"), ("--guidance-scale: nan",)),
        (("tune", "x", "--minutes", "inf"), ("--minutes: inf",)),
        (("diagnose", "x", "--reconstruct-from", "nan"), ("--reconstruct-from",)),
        (("sweep", "x", "--seeds", "9" * 40), ("--seeds", "at most")),
        (("draw", "--seed", "9" * 40), ("--seed", "at most")),
        (("draw", "--set", "eta=inf"), ("Sampling.eta: inf",)),
    ],
)
def test_a_number_that_nothing_can_be_made_of_is_one_line(arguments, words, command):
    code, _, err = command(*arguments)
    assert code == 2
    [line] = err.splitlines()
    assert all(word in line for word in words), line


@pytest.mark.parametrize(
    ("name", "said"),
    [("show", "begins anew"), ("prepare", "goes on where it stopped"), ("sweep", "goes on where it stopped")],
)
def test_a_command_that_is_interrupted_says_how_to_go_on(name, said, command, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("synesthete.cli.options.Command.invoke", interrupted)
    code, _, err = command(name, "images-digits")
    assert code == 130
    assert err.startswith("synesthete: stopped; the same command ")
    assert said in err


def test_a_scheduler_that_ends_a_command_is_heard_as_one_at_the_keyboard_is(command, monkeypatch):
    """As is whoever stops what a script started in the background, which hears no SIGINT."""
    before = [signal.getsignal(one) for one in (signal.SIGTERM, signal.SIGINT)]
    monkeypatch.setattr("synesthete.cli.options.Command.invoke", lambda *_: os.kill(os.getpid(), signal.SIGTERM))
    try:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # which is heard below all the same
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        code, _, err = command("prepare", "images-digits")
    finally:
        for one, handler in zip((signal.SIGTERM, signal.SIGINT), before, strict=True):
            signal.signal(one, handler)
    assert (code, "stopped; the same command goes on where it stopped" in err) == (130, True)


def test_a_disk_that_is_full_of_something_without_a_name_is_one_line(command, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("synesthete.cli.options.Command.invoke", full)
    code, _, err = command("export", "images-digits", "--out", "unwritten")
    assert (code, err) == (2, "synesthete: a file: No space left on device; free some space\n")
