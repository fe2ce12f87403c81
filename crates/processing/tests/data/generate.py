#!/usr/bin/env python3
"""Makes the MP3 fixtures in this folder from a synthetic signal. Needs LAME 3.100."""
import math, os, random, struct, subprocess, sys, tempfile, wave, zlib

HERE = os.path.dirname(os.path.abspath(__file__))


def synth(path, rate, channels, seconds):
    """A gliding tone with harmonics in syllables, pauses, clicks and soft noise: it makes an encoder use its
    bit reservoir and its short blocks."""
    random.seed(7)
    frames, phase = bytearray(), [0.0] * 12
    for i in range(int(rate * seconds)):
        t = i / rate
        talk = 1.0 if (t % 1.9) < 1.4 else 0.0
        syllable = max(0.0, math.sin(2 * math.pi * 2.7 * t)) ** 2
        f0 = 120 + 35 * math.sin(2 * math.pi * 0.43 * t)
        voice = 0.0
        for h in range(1, 12):
            phase[h] += 2 * math.pi * f0 * h / rate
            formant = math.exp(-((f0 * h - 600 - 300 * math.sin(2.2 * t)) / 250) ** 2)
            voice += (formant + 0.5 * math.exp(-((f0 * h - 1500) / 400) ** 2)) * math.sin(phase[h])
        click = (random.random() - 0.5) * 0.6 if (t % 0.9) < 0.02 else 0.0
        left = talk * (syllable * voice * 0.35 + click) + (random.random() - 0.5) * 0.01
        right = 0.7 * left + 0.06 * talk * math.sin(2 * math.pi * 440 * t)
        for value in (left, right)[:channels]:
            frames += struct.pack("<h", int(max(-1, min(1, value)) * 30000))
    with wave.open(path, "wb") as out:
        out.setnchannels(channels)
        out.setsampwidth(2)
        out.setframerate(rate)
        out.writeframes(bytes(frames))


def cover(path):
    """A picture for the ID3v2 tag."""
    rows = b"".join(b"\0" + bytes((x * y) % 256 for x in range(64)) for y in range(64))
    chunk = lambda kind, data: struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    head = struct.pack(">IIBBBBB", 64, 64, 8, 0, 0, 0, 0)
    with open(path, "wb") as out:
        out.write(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))


def main():
    with tempfile.TemporaryDirectory() as tmp:
        stereo, half, quarter = (os.path.join(tmp, name) for name in ("44.wav", "22.wav", "11.wav"))
        picture = os.path.join(tmp, "cover.png")
        synth(stereo, 44100, 2, 2.4)
        synth(half, 22050, 1, 5.0)
        synth(quarter, 11025, 1, 8.0)
        cover(picture)
        tags = ["--id3v2-only", "--tt", "Synthetic", "--ta", "wavequill", "--ti", picture]
        for name, source, options in [
            ("cbr128_44k_stereo_id3v2_cover", stereo, ["-b", "128", *tags]),
            ("vbr_44k_stereo_lame_tag", stereo, ["-V", "5"]),
            ("vbr_44k_stereo_no_xing", stereo, ["-V", "6", "-t"]),
            ("cbr64_22k_mono", half, ["-b", "64"]),
            ("vbr_22k_mono_crc_no_xing", half, ["-V", "6", "-t", "-p"]),
            ("cbr16_11k_mono_mpeg25", quarter, ["-b", "16", "--resample", "11.025"]),
            ("free_format_22k_mono", half, ["--freeformat", "-b", "90", "-t"]),
        ]:
            target = os.path.join(HERE, name + ".mp3")
            subprocess.run(["lame", "--quiet", *options, source, target], check=True)


if __name__ == "__main__":
    sys.exit(main())
