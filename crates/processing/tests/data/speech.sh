#!/bin/sh
# Makes the M4A, Ogg and WebM fixtures in this folder from the bundled recording. Needs ffmpeg 5.1 and opus-tools 0.2.
set -e
cd "$(dirname "$0")"
speech=../../../../examples/data/sense-and-sensibility.flac
# No perceptual noise: decoders make it up anew each time.
aac="-c:a aac -aac_pns 0 -map_metadata -1 -bitexact"
make() { ffmpeg -v error -y "$@"; }
make -i $speech -t 6 -ar 44100 $aac -b:a 32k aac_44k_moov_last.m4a
make -i $speech -t 4 -ar 16000 $aac -b:a 24k -movflags +faststart aac_16k_moov_first.m4a
make -i $speech -t 5 -ar 44100 $aac -b:a 32k -movflags +empty_moov+default_base_moof -frag_duration 1200000 \
    aac_44k_fragmented.m4a
make -f lavfi -i testsrc=size=32x32:rate=5:duration=4 -i $speech -map 0:v -map 1:a -t 4 -c:v libx264 -crf 45 \
    -ac 2 -ar 24000 $aac -b:a 24k video_aac_24k_stereo.mp4
make -i $speech -t 12 -c:a libopus -b:a 14k -application voip -bitexact opus_ffmpeg.ogg
make -i $speech -t 3 -c:a libopus -b:a 64k -application lowdelay -bitexact opus_celt.ogg
make -i $speech -t 5 -c:a libopus -b:a 20k -ac 2 -frame_duration 60 -bitexact opus_60ms_stereo.webm
make -i $speech -t 5 -f wav - | opusenc --quiet --bitrate 48 --framesize 40 --padding 0 --max-delay 120 - opus_opusenc.opus
