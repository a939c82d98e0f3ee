/** The first program of a lab host: loads modules, mounts the images, runs the switchboard, and ends the host with it. */

import { bundlePath } from './bundle-path.js';

/** Name of the virtio port that the runner speaks over. */
export const PORT_NAME = 'guest-abi';

/** Where the package image stands in a lab host. */
export const PACKAGE_FOLDER = '/opt/guest-abi';

/** Where an agent in a lab host looks for package trees (`cacheRoot` with the HOME that it is given): QEMUs under test stand there. */
const CACHE_FOLDER = '/tmp/.cache/guest-abi';

/**
 * A failure prints one line to the console and reboots, which ends QEMU (`-no-reboot`). The port is read in a loop since
 * a read ends at once as long as the kernel has not heard that the other side is connected.
 */
export const INIT_SCRIPT = `#!/bin/busybox sh
b=/bin/busybox
$b mkdir -p /proc /sys /dev /host
$b mount -t proc proc /proc
$b mount -t sysfs sysfs /sys
$b mount -t devtmpfs dev /dev
fail() { echo "guest-abi lab: $*"; $b sleep 0.2; $b reboot -f; }
for module in /modules/*; do $b insmod $module || fail "module $module does not load"; done
[ -c /dev/kvm ] || fail 'this kernel offers no /dev/kvm'
$b mount -t ext4 -o ro /dev/vda /host || fail 'no system image'
$b mount -t ext4 -o ro /dev/vdb /host${PACKAGE_FOLDER} || fail 'no package image'
$b mount --move /proc /host/proc
$b mount --move /sys /host/sys
$b mount --move /dev /host/dev
$b mount -t tmpfs -o size=50% tmp /host/tmp
$b cp $b /host/tmp/busybox
if [ -b /host/dev/vdc ]; then
  $b mkdir -p /host${CACHE_FOLDER}
  $b mount -t ext4 -o ro /host/dev/vdc /host${CACHE_FOLDER} || fail 'no image of QEMUs'
fi
port=
for folder in /host/sys/class/virtio-ports/*; do
  [ "$($b cat $folder/name)" = ${PORT_NAME} ] && port=/host/dev/$($b basename $folder)
done
[ -n "$port" ] || fail 'no virtio port'
exec 3<>$port
input() { left=50; while [ $left -gt 0 ]; do $b cat <&3; $b sleep 0.1; left=$((left - 1)); done; }
input | $b chroot /host /tmp/busybox env -i PATH=/usr/bin HOME=/tmp TMPDIR=/tmp /usr/bin/node ${PACKAGE_FOLDER}/${bundlePath('switchboard')} | $b cat >&3
fail 'the switchboard ended'
`;
