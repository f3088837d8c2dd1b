"""The guest with a screen: greetd with a Wayland compositor, LightDM with an X11 session.

One base has both. Neither starts at boot; a test starts the one that it is about.
"""

from pathlib import Path

from tests.vm.image import CUSTOMIZE, HERE, PACKAGES, ROOT, TEXT, Recipe

LOCKER = ROOT / "examples/lockers/say-locked"
# The small kernel for clouds has no screen. Recommended packages are left out, as everywhere.
DESKTOP_PACKAGES = PACKAGES.replace("linux-image-cloud-amd64", "linux-image-amd64") + (
    ",greetd,sway,swaylock,swayidle,foot,lightdm,lightdm-gtk-greeter,xserver-xorg-core,"
    "xserver-xorg-input-libinput,openbox,xss-lock,i3lock,xterm,x11-xserver-utils,dbus-user-session"
)
DESKTOP_CUSTOMIZE = f"""{CUSTOMIZE}
cp -r --no-preserve=ownership "{HERE}/desktop_rootfs/." "$1/"
install -m 755 "{LOCKER}" "$1/usr/local/bin/say-locked"
rm -r "$1/etc/systemd/system/getty@tty1.service.d"
chroot "$1" systemctl disable --quiet greetd.service lightdm.service 2>/dev/null
"""
DESKTOP = Recipe(
    "desktop",
    DESKTOP_PACKAGES,
    DESKTOP_CUSTOMIZE,
    (*TEXT.reads, Path(__file__), HERE / "desktop_rootfs", LOCKER),
    2500,
)
