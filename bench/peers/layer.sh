#!/bin/sh
# layer.sh ARCHIVE PACKAGE…: what apt adds to this host's root for these packages, as an archive for an overlay.
# Run it in a mount namespace of its own: everything is mounted over /mnt there and goes with the namespace.
set -eu
archive=$1
shift
mount -t tmpfs -o mode=0755,size=50% layer /mnt
mkdir /mnt/upper /mnt/work /mnt/root
mount -t overlay -o lowerdir=/,upperdir=/mnt/upper,workdir=/mnt/work layer /mnt/root
cd /mnt/root
names=$(cat /etc/resolv.conf)
rm -f etc/resolv.conf
echo "$names" >etc/resolv.conf
mount -t proc proc proc
mount --rbind /dev dev
mount -t tmpfs tmpfs run
printf '#!/bin/sh\nexit 101\n' >usr/sbin/policy-rc.d # asked by every package before it starts a service
chmod 755 usr/sbin/policy-rc.d
export DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8
chroot . apt-get update -qq
chroot . apt-get install -qq --yes --no-install-recommends "$@"
cd /mnt/upper
rm -rf usr/sbin/policy-rc.d etc/resolv.conf var/cache var/lib/apt var/lib/dpkg usr/share/doc usr/share/man
tar --xattrs --xattrs-include=trusted.overlay.opaque -cf "$archive.new" .
mv "$archive.new" "$archive"
