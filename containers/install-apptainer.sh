#!/usr/bin/env bash
# Install Apptainer: on RHEL-likes from EPEL, on Ubuntu from its PPA, on Debian from unstable.
#
# Debian's stable releases have no package. Where the C library is new enough (2.38: Debian 13 and later), unstable's
# package is installed as it is. On Debian 12 it is unpacked beside a copy of the libraries that it was built for,
# under /usr/lib/<architecture>/apptainer/glibc, which nothing else uses. The machine's own packages and sources stay.
# Only packages with a signature that this machine's keyring knows are taken; their digests are printed.
#
# Images are run by anyone. They are built by an ordinary user with subordinate ids: where this machine's root lacks a
# capability, as in most virtual machines, a build as root ends in "Requesting capability set". BUILD_USER is made for it.
set -euo pipefail

BUILD_USER=${BUILD_USER:-apptainer-build}
NEEDED_GLIBC=2.38
OLD_LIBRARIES=(libc6 libseccomp2 libsqlite3-0 zlib1g)
HELPERS=(squashfs-tools squashfuse fuse-overlayfs uidmap ca-certificates)

die() {
    echo "install-apptainer: $*" >&2
    exit 1
}

# The archive that this machine's own packages come from; apt's options for a second, private view of it.
debian_unstable() {
    local work=$1 mirror
    mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Origin: Debian' 'Label: Debian' | sort -u | head -n 1)
    [ -n "$mirror" ] || die "apt knows no Debian archive: run apt-get update first"
    mkdir -p "$work/lists/partial" "$work/cache/archives/partial"
    echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror sid main" >"$work/sources.list"
    # A mirror may be a copy of some day, whose Release file is past its date: its signature still counts.
    OPTIONS=(-o "Dir::Etc::sourcelist=$work/sources.list" -o Dir::Etc::sourceparts=- -o "Dir::State::lists=$work/lists"
        -o "Dir::Cache=$work/cache" -o Acquire::Check-Valid-Until=false -o APT::Sandbox::User=root)
    apt-get "${OPTIONS[@]}" update -qq
}

download() {
    (cd "$1" && shift && apt-get "${OPTIONS[@]}" download -qq "$@" && sha256sum ./*.deb)
}

# Unpack for a C library that is older than the one Apptainer was built for.
unpack_beside() {
    local work=$1 triplet libraries name
    triplet=$(dpkg-architecture -qDEB_HOST_MULTIARCH 2>/dev/null || echo "$(uname -m)-linux-gnu")
    libraries=/usr/lib/$triplet/apptainer/glibc
    apt-get install -y -qq --no-install-recommends patchelf >/dev/null
    mkdir "$work/root"
    for name in "$work"/*.deb; do
        case ${name##*/} in
        apptainer_*) dpkg-deb -x "$name" / ;;
        *) dpkg-deb -x "$name" "$work/root" ;;
        esac
    done
    mkdir -p "$libraries"
    find "$work/root" \( -name 'ld-linux*.so.*' -o -name 'libc.so.6' -o -name 'libm.so.6' -o -name 'libpthread.so.0' \
        -o -name 'libresolv.so.2' -o -name 'libseccomp.so.2*' -o -name 'libsqlite3.so.0*' -o -name 'libz.so.1*' \) \
        \( -type f -o -type l \) ! -path '*/usr/lib64/*' -exec cp -L {} "$libraries/" \;
    for name in "$libraries"/lib{seccomp,sqlite3,z,m,resolv,pthread}.so.*; do
        patchelf --set-rpath "$libraries" "$name"
    done
    for name in /usr/bin/apptainer "/usr/lib/$triplet/apptainer/bin/starter"; do
        patchelf --set-interpreter "$(ls "$libraries"/ld-linux*)" --set-rpath "$libraries" "$name"
    done
}

on_debian() {
    local glibc
    apt-get install -y -qq --no-install-recommends "${HELPERS[@]}" >/dev/null
    WORK=$(mktemp -d)
    trap 'rm -rf "$WORK"' EXIT
    debian_unstable "$WORK"
    glibc=$(getconf GNU_LIBC_VERSION | cut -d' ' -f2)
    if dpkg --compare-versions "$glibc" ge "$NEEDED_GLIBC"; then
        download "$WORK" apptainer
        apt-get install -y -qq --no-install-recommends "$WORK"/apptainer_*.deb
    else
        download "$WORK" apptainer "${OLD_LIBRARIES[@]}"
        unpack_beside "$WORK"
    fi
}

on_ubuntu() {
    apt-get install -y -qq --no-install-recommends software-properties-common "${HELPERS[@]}"
    add-apt-repository -y ppa:apptainer/ppa
    apt-get update -qq
    apt-get install -y -qq apptainer
}

on_red_hat() {
    dnf install -y -q epel-release
    dnf install -y -q apptainer squashfuse fuse-overlayfs
}

# A user who may build: ids of its own to be root with, and a home for Apptainer's cache.
make_build_user() {
    id "$BUILD_USER" >/dev/null 2>&1 || useradd --create-home --shell /usr/sbin/nologin "$BUILD_USER"
    for file in /etc/subuid /etc/subgid; do
        grep -qs "^$BUILD_USER:" "$file" || echo "$BUILD_USER:$(next_range "$file"):65536" >>"$file"
    done
}

# The first range above every one that is given away.
next_range() {
    awk -F: 'BEGIN { next_id = 200000 } $2 + $3 > next_id { next_id = $2 + $3 } END { print next_id }' "$1" 2>/dev/null || echo 200000
}

[ "$(id -u)" = 0 ] || die "run it as root: sudo $0"
if command -v apptainer >/dev/null; then
    echo "$(apptainer --version) is here"
else
    . /etc/os-release
    case " $ID ${ID_LIKE:-} " in
    *" ubuntu "*) on_ubuntu ;;
    *" debian "*) on_debian ;;
    *" rhel "* | *" fedora "*) on_red_hat ;;
    *) die "no recipe for $ID: install Apptainer 1.2 or later by hand" ;;
    esac
fi
make_build_user
apptainer --version
