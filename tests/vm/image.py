"""Builds the Debian guest: a root disk with the product installed, and disks beside it.

1. A base is made by mmdebstrap out of the package sources that this machine's own apt
   is set up with, and kept under build/vm under a digest of its recipe.
2. The product is put into a copy of the base by `make install`, kept under a digest of
   the code; so a change of the code costs seconds.
"""

import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
BUILD = ROOT / "build/vm"
SUITE = "bookworm"
PACKAGES = (
    "systemd,systemd-sysv,dbus,udev,libpam-systemd,linux-image-cloud-amd64,"
    "python3,python3-jeepney,python3-yaml,python3-cerberus,python3-psutil,python3-serial,"
    "iproute2,kmod,procps,xfsprogs,e2fsprogs,dosfstools,lvm2,mdadm,cryptsetup-bin,"
    "collectd-core,rpm,systemd-timesyncd,polkitd,tzdata,kbd,openssh-server"
)
MASKED = (
    "e2scrub_reap.service e2scrub_all.timer fstrim.timer dpkg-db-backup.timer "
    "apt-daily.timer apt-daily-upgrade.timer"
)
# A small initrd: only what finds the root disk, as decompressing takes its time in an emulator.
INITRD = r"""
mkdir -p "$1/etc/initramfs-tools/conf.d"
echo MODULES=list >"$1/etc/initramfs-tools/conf.d/small"
printf 'virtio_pci\nvirtio_blk\next4\n' >"$1/etc/initramfs-tools/modules"
"""
CUSTOMIZE = f"""
set -e
cp -r --no-preserve=ownership "{HERE}/rootfs/." "$1/"
mkdir "$1/opt/tests" "$1/data" "$1/boot/efi"
cp --no-preserve=ownership "{HERE}"/in_guest/*.py "$1/opt/tests/"
chroot "$1" useradd --create-home --shell /bin/bash alice
chroot "$1" useradd --create-home --shell /bin/bash bob
chroot "$1" systemctl enable --quiet test-control.service systemd-networkd.service getty@tty1.service
chroot "$1" systemctl mask --quiet {MASKED}
chroot "$1" systemctl disable --quiet collectd.service ssh.service 2>/dev/null || true
"""
KEPT = 3  # products of each recipe; each holds half a gigabyte or more


@dataclass(frozen=True)
class Recipe:
    """What a base is made of: its packages, a shell script that ends it, and what that script reads."""

    name: str
    packages: str
    customize: str
    reads: tuple[Path, ...]
    root_mib: int


TEXT = Recipe("base", PACKAGES, CUSTOMIZE, (Path(__file__), HERE / "rootfs", HERE / "in_guest"), 1500)


@dataclass(frozen=True)
class Image:
    """What a guest boots from. The disks are raw and never written: guests write to overlays."""

    folder: Path
    kernel: Path
    initrd: Path
    disks: tuple[Path, ...]


def base(recipe: Recipe = TEXT) -> Image:
    read = [path for part in recipe.reads for path in ([part] if part.is_file() else tree(part))]
    folder = cached(BUILD / f"{recipe.name}-{digest(read)}", lambda folder: build_base(folder, recipe))
    disks = tuple(folder / f"{name}.img" for name in ("root", "data", "parts", "spare"))
    return Image(folder, folder / "vmlinuz", folder / "initrd.img", disks)


def product(recipe: Recipe = TEXT) -> Image:
    """The base with this work tree's code installed."""
    bare = base(recipe)
    code = [
        *tree(ROOT / "reconciler"),
        *tree(ROOT / "guest_runtime"),
        ROOT / "Makefile",
        ROOT / "pyproject.toml",
    ]

    def install(folder: Path) -> None:
        copy = folder / "root.img"
        command("cp", "--sparse=always", bare.disks[0], copy)
        mount_point = folder / "mnt"
        mount_point.mkdir()
        # In a mount namespace of its own, so that nothing stays mounted whatever happens.
        as_root("unshare", "--mount", "sh", "-ec", INSTALL, "sh", copy, mount_point, ROOT)
        mount_point.rmdir()

    kind = "product" if recipe is TEXT else f"product-{recipe.name}"
    folder = cached(BUILD / f"{kind}-{digest([bare.folder, *code])}", install)
    prune(folder)
    return Image(folder, bare.kernel, bare.initrd, (folder / "root.img", *bare.disks[1:]))


INSTALL = """
mount -o loop "$1" "$2"
make --silent -C "$3" install DESTDIR="$2"
umount "$2"
"""


def build_base(folder: Path, recipe: Recipe) -> None:
    rootfs = folder / "rootfs"
    as_root(
        "mmdebstrap",
        "--variant=minbase",
        f"--include={recipe.packages}",
        f"--essential-hook={INITRD}",
        f"--customize-hook={recipe.customize}",
        SUITE,
        rootfs,
        "-",
        stdin="\n".join(sources()),
    )
    for name in ("vmlinuz", "initrd.img"):
        (found,) = (rootfs / "boot").glob(f"{name}-*")
        command("cp", found, folder / name)
    root = folder / "root.img"
    as_root("mke2fs", "-q", "-t", "ext4", "-L", "root", "-d", rootfs, root, f"{recipe.root_mib}M")
    as_root("chmod", "a+rw", root)
    as_root("rm", "-rf", rootfs)
    data, parts = folder / "data.img", folder / "parts.img"
    sized(data, 320)  # mkfs.xfs takes no less than 300
    command("mkfs.xfs", "-q", "-L", "data", data)
    sized(parts, 65)
    command("sfdisk", "-q", parts, stdin="label: gpt\n1MiB 16MiB U\n17MiB 47MiB L\n")
    command("mkfs.vfat", "--offset", 2048, parts, 16 * 1024)
    command("mke2fs", "-q", "-t", "ext4", "-L", "srv", "-E", f"offset={17 << 20}", parts, "47M")
    sized(folder / "spare.img", 256)  # blank, for volumes that a test makes


def sources() -> Iterator[str]:
    """Lines of a sources.list: what this machine's apt knows of the suite."""
    form = "$(REPO_URI) $(RELEASE) $(COMPONENT)"
    listed = subprocess.run(
        ["apt-get", "indextargets", "--format", form, "Identifier: Packages", "Origin: Debian"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split("\n")
    lines = [f"deb {line}" for line in dict.fromkeys(listed) if f" {SUITE}" in line]
    if not lines:
        raise SystemExit(f"cannot build the guest: this machine's apt knows no Debian {SUITE}")
    yield from lines


def tree(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)


def digest(parts: Iterable[Path]) -> str:
    """Of names and contents; of the name alone where a part is a folder, already named by a digest."""
    total = sha256()
    for part in parts:
        total.update(f"{part.relative_to(ROOT)}\0".encode())
        if part.is_file():
            total.update(part.read_bytes())
    return total.hexdigest()[:16]


def cached(folder: Path, build: Callable[[Path], None]) -> Path:
    """`folder` as `build` fills it: at most once, by one process, and whole or not at all."""
    with locked():
        if not folder.exists():
            print(f"building {folder.relative_to(ROOT)}", file=sys.stderr, flush=True)
            part = folder.with_suffix(".part")
            as_root("rm", "-rf", "--one-file-system", part)
            part.mkdir(parents=True)
            build(part)
            part.rename(folder)
        os.utime(folder)
    return folder


@contextmanager
def locked() -> Iterator[None]:
    BUILD.mkdir(parents=True, exist_ok=True)
    with open(BUILD / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def prune(newest: Path) -> None:
    """Only the products of the last few states of the code are kept."""
    kind = newest.name.rpartition("-")[0]
    products = sorted(BUILD.glob(f"{kind}-{'?' * 16}"), key=lambda path: path.stat().st_mtime, reverse=True)
    for old in [path for path in products if path != newest][KEPT - 1 :]:
        shutil.rmtree(old, ignore_errors=True)


def sized(path: Path, mebibytes: int) -> None:
    with open(path, "wb") as file:
        file.truncate(mebibytes << 20)


def command(*argv: object, stdin: str = "") -> None:
    done = subprocess.run([str(arg) for arg in argv], input=stdin, text=True, capture_output=True)
    if done.returncode:
        raise SystemExit(f"cannot build the guest: {argv[0]}: {done.stdout}{done.stderr}")


def as_root(*argv: object, stdin: str = "") -> None:
    command(*(() if os.geteuid() == 0 else ("sudo", "-n")), *argv, stdin=stdin)


if __name__ == "__main__":
    print(product().folder)
