#!/bin/sh
# Fetches, verifies and unpacks a stage by the steps of Gentoo's handbook, with its commands:
# pointer, tarball, DIGESTS, sha256, asc. Knows nothing but the mirror's address and the public key.
#
#   handbook.sh MIRROR ARCH VARIANT KEY FOLDER
set -eu
mirror=$1 arch=$2 variant=$3 key=$4
mkdir "$5"
cd "$5"

GNUPGHOME=$(mktemp -d /tmp/gpg-XXXXXX)
export GNUPGHOME
trap 'gpgconf --kill all; rm -rf "$GNUPGHOME"' EXIT
gpg --batch --import "$key"

autobuilds=$mirror/releases/$arch/autobuilds
pointer=latest-$variant.txt
wget --no-verbose "$autobuilds/$pointer"
gpg --batch --output "$pointer.verified" --verify "$pointer"
head -n 1 "$pointer.verified" | grep '^# Latest as of '
sed -n 2p "$pointer.verified" | grep '^# ts=[0-9]*$'
path=$(grep -v '^#' "$pointer.verified" | cut -d ' ' -f 1)
size=$(grep -v '^#' "$pointer.verified" | cut -d ' ' -f 2)
stage=${path##*/}

# Container builders take the sixth line of the signed file as it is.
test "$(sed -n 6p "$pointer")" = "$path $size"

for ending in '' .CONTENTS.gz .DIGESTS .sha256 .asc; do
  wget --no-verbose "$autobuilds/$path$ending"
done
test "$(stat --format %s "$stage")" = "$size"

gpg --batch --verify "$stage.asc" "$stage"

gpg --batch --output "$stage.DIGESTS.verified" --verify "$stage.DIGESTS"
grep -A 1 '^# SHA512 HASH' "$stage.DIGESTS.verified" | grep "  $stage" | sha512sum --check --strict
grep -A 1 '^# BLAKE2B HASH' "$stage.DIGESTS.verified" | grep "  $stage" | b2sum --check --strict
test "$(openssl dgst -r -sha512 "$stage" | cut -d ' ' -f 1)" = \
  "$(grep -A 1 '^# SHA512 HASH' "$stage.DIGESTS" | grep "  $stage\$" | cut -d ' ' -f 1)"

gpg --batch --output "$stage.sha256.verified" --verify "$stage.sha256"
sha256sum --check --strict "$stage.sha256.verified"

# Until 2021 the signed checksums had an extension of their own.
wget --no-verbose "$autobuilds/$path.DIGESTS.asc"
gpg --batch --verify "$stage.DIGESTS.asc"

# The same from current-*, whose pointer has no folder.
wget --no-verbose --directory-prefix current "$autobuilds/current-$variant/$pointer"
gpg --batch --output - --verify "current/$pointer" | grep -Fx "$stage $size"
wget --no-verbose --directory-prefix current "$autobuilds/current-$variant/$stage"
cmp "$stage" "current/$stage"

wget --no-verbose "$autobuilds/latest-stage3.txt"
gpg --batch --output - --verify latest-stage3.txt | grep -Fx "$path $size"

zcat "$stage.CONTENTS.gz" > contents
mkdir root
tar xpf "$stage" --xattrs-include='*.*' --numeric-owner -C root
