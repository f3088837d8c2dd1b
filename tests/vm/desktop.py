"""The guest with a screen: greetd with a Wayland compositor, LightDM or GDM with an X11 session.

One base has the first two, another has GDM, whose greeter is the whole of GNOME's shell. None
starts at boot; a test starts the one that it is about.
"""

from pathlib import Path

from tests.vm.image import CUSTOMIZE, HERE, PACKAGES, ROOT, TEXT, Recipe

LOCKER = ROOT / "examples/lockers/say-locked"
# The small kernel for clouds has no screen. Recommended packages are left out, as everywhere.
X11_PACKAGES = PACKAGES.replace("linux-image-cloud-amd64", "linux-image-amd64") + (
    ",xserver-xorg-core,xserver-xorg-input-libinput,openbox,xss-lock,i3lock,xterm,x11-xserver-utils,"
    "dbus-user-session"
)
DESKTOP_CUSTOMIZE = f"""{CUSTOMIZE}
cp -r --no-preserve=ownership "{HERE}/desktop_rootfs/." "$1/"
install -m 755 "{LOCKER}" "$1/usr/local/bin/say-locked"
rm -r "$1/etc/systemd/system/getty@tty1.service.d"
for manager in greetd lightdm gdm; do
    chroot "$1" systemctl disable --quiet $manager.service 2>/dev/null || true
done
"""
READ = (*TEXT.reads, Path(__file__), HERE / "desktop_rootfs", LOCKER)
DESKTOP = Recipe(
    "desktop",
    f"{X11_PACKAGES},greetd,sway,swaylock,swayidle,foot,lightdm,lightdm-gtk-greeter",
    DESKTOP_CUSTOMIZE,
    READ,
    2500,
)
GNOME = Recipe("gnome", f"{X11_PACKAGES},gdm3,libpam-python", DESKTOP_CUSTOMIZE, READ, 3500)
