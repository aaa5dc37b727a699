# Boots the test machine: lab.py runs it as the first process of new namespaces, and it becomes their systemd.
#
#     sh boot.sh DIRECTORY PREFIX BASE SOURCE
#
# DIRECTORY holds the overlay of the environment under test in DIRECTORY/environment and the configuration of systemd in
# DIRECTORY/manager. PREFIX is that environment, BASE the installation of its interpreter, SOURCE the checkout of
# an editable installation. The last three may be empty; without PREFIX there is no /opt/echod.
set -eu
directory=$1 prefix=$2 base=$3 source=$4

# The machine's files are the host's; writes go to memory.
mount -t tmpfs -o mode=755 lab "$directory/memory"
mkdir "$directory/memory/written" "$directory/memory/work" "$directory/memory/root"
mount -t overlay -o "lowerdir=/,upperdir=$directory/memory/written,workdir=$directory/memory/work" lab \
    "$directory/memory/root"
cd "$directory/memory/root"

# The units name /opt/echod and /etc/echod, which may exist on the host.
rm -rf opt/echod etc/echod
mkdir -p opt/base opt/source
if [ -n "$prefix" ]; then
    mkdir opt/echod etc/echod
    mount -t overlay -o "ro,lowerdir=$directory/environment:$prefix" lab opt/echod
fi
[ -z "$base" ] || mount --bind "$base" opt/base
[ -z "$source" ] || mount --bind "$source" opt/source

mount -t proc -o nosuid,nodev,noexec proc proc
# The host's settings stay unchanged.
mount --bind proc/sys proc/sys
mount -o remount,bind,ro proc/sys
mount -t sysfs -o ro,nosuid,nodev,noexec sysfs sys
mount -t cgroup2 -o nosuid,nodev,noexec cgroup2 sys/fs/cgroup

mount -t tmpfs -o mode=755,nosuid devices dev
for device in null zero full random urandom tty; do
    : >"dev/$device"
    mount --bind "/dev/$device" "dev/$device"
done
mkdir dev/pts dev/shm
mount -t devpts -o newinstance,ptmxmode=0666 devpts dev/pts
mount -t tmpfs -o mode=1777,nosuid,nodev shm dev/shm
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
for stream in 0:stdin 1:stdout 2:stderr; do ln -s "fd/${stream%:*}" "dev/${stream#*:}"; done

for place in run tmp var/tmp var/log etc/systemd; do
    mkdir -p "$place"
    mount -t tmpfs -o mode=755,nosuid,nodev lab "$place"
done
chmod 1777 tmp var/tmp
cp -R "$directory/manager/." etc/systemd/
# A separate host name and machine id.
: >etc/machine-id

pivot_root . .
umount -l .
cd /
# LoadCredential= mounts its directory into the service.
mount --make-rshared /
# Only the units of /etc/systemd/system exist, none of the host's.
exec env -i container=lab LANG=C.UTF-8 PATH=/usr/sbin:/usr/bin:/sbin:/bin SYSTEMD_UNIT_PATH=/etc/systemd/system \
    "$(command -v /usr/lib/systemd/systemd || command -v /lib/systemd/systemd)" \
    --system --unit=multi-user.target --show-status=no --log-target=journal
