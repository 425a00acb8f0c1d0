#!/bin/bash
# Starts examples/plugin/password-sender-vault-agent.service under a systemd of its own, beside whatever runs the machine:
#   unit-under-systemd.sh OPERATOR ADDRESS TOKEN_FILE    (as root; systemd, util-linux and a cgroup2 are needed)
# It waits until the agent has run for a while, kills it, waits for the next, stops that, and prints what systemd says.
# The root is a tmpfs of its own: a systemd that sees the machine's would empty its /tmp and set its sysctls.
set -eu

if [ "${1:-}" = inside ]; then
    console=$(tty)
    mount --make-rprivate /
    root=/mnt
    mount -t tmpfs -o mode=755 private $root
    cd $root
    mkdir -p usr etc/password-sender proc sys dev run tmp var/tmp root units/password-sender-vault-agent.service.d old
    for link in bin sbin lib lib64; do
        if [ -L /$link ]; then cp -a /$link $link; else mkdir $link && mount --bind /$link $link && mount -o remount,bind,ro $link; fi
    done
    mount --bind /usr usr && mount -o remount,bind,ro usr
    # Nothing of the distribution's is started.
    for folder in system system-generators; do mount -t tmpfs none usr/lib/systemd/$folder; done
    mount -t tmpfs none usr/local/bin && cp "$OPERATOR" usr/local/bin/password-sender-operator
    cp -a /etc/ld.so.cache /etc/nsswitch.conf /etc/passwd /etc/group etc/
    echo 'password-sender:x:987:987::/var/lib/password-sender:/usr/sbin/nologin' >> etc/passwd
    echo 'password-sender:x:987:' >> etc/group
    echo 0123456789abcdef0123456789abcdef > etc/machine-id
    install -o 987 -g 987 -m 600 "$TOKEN" etc/password-sender/vault-agent.token && chown 987:987 etc/password-sender
    sed "s|https://vault.example.com:8200|$ADDRESS|" "$UNIT" > units/password-sender-vault-agent.service
    printf '[Service]\nStandardError=append:/agent.log\n' > units/password-sender-vault-agent.service.d/log.conf
    for target in sysinit basic shutdown network-online multi-user; do printf '[Unit]\nDefaultDependencies=no\n' > units/$target.target; done
    printf '[Unit]\nDefaultDependencies=no\nRequires=password-sender-vault-agent.service check.service\n' > units/trial.target
    printf '[Unit]\nDefaultDependencies=no\nAfter=password-sender-vault-agent.service\nSuccessAction=exit-force\nFailureAction=exit-force\n[Service]\nType=oneshot\nStandardOutput=append:/out\nStandardError=append:/out\nExecStart=/bin/bash /check.sh\n' > units/check.service
    cp "$SELF" check.sh; touch out && mount --bind "$OUT" out
    mount -t proc proc proc && mount --bind -o ro proc/sys proc/sys && mount -o remount,bind,ro proc/sys
    mount -t sysfs -o ro sysfs sys && mount -t cgroup2 cgroup2 sys/fs/cgroup
    mount -t tmpfs -o mode=755 none dev
    for node in null zero full random urandom tty; do touch dev/$node && mount --bind /dev/$node dev/$node; done
    mkdir dev/shm dev/pts dev/mqueue dev/hugepages
    touch dev/console && mount --bind "$console" dev/console
    mount -t devpts -o newinstance,ptmxmode=0666,mode=620 devpts dev/pts && ln -s pts/ptmx dev/ptmx
    mount -t tmpfs none run
    pivot_root . old && cd / && umount -l /old
    export container=private SYSTEMD_UNIT_PATH=/units
    exec setpriv --bounding-set -sys_time,-sys_module,-sys_rawio,-sys_boot \
        /lib/systemd/systemd --system --unit=trial.target --log-target=console --log-level=info
elif [ "$0" = /check.sh ]; then
    unit=password-sender-vault-agent.service
    value() { systemctl show $unit -p "$1" --value; }
    show() { echo "$1: $(value ActiveState) $(value SubState), restarts $(value NRestarts), result $(value Result), status $(value ExecMainStatus)"; }
    said() { for _ in $(seq 150); do [ "$(grep -c "$1" /agent.log)" -ge "$2" ] && return; sleep 0.2; done; echo "never said: $1"; cat /agent.log; exit 1; }
    echo "pid 1: $(cat /proc/1/comm), $(systemctl --version | head -1)"
    said 'logged in to Vault' 1
    show started
    first=$(value MainPID)
    grep -E '^(Uid|CapBnd|NoNewPrivs|Seccomp):' /proc/"$first"/status
    kill -9 "$first"
    said 'logged in to Vault' 2
    show "killed"
    systemctl stop $unit
    show stopped
    cat /agent.log
    [ "$(value Result)" = success ] && [ "$(value NRestarts)" = 1 ] && [ "$(value ExecMainStatus)" = 0 ] && echo passed
else
    OPERATOR=$(realpath "$1") ADDRESS=$2 TOKEN=$(realpath "$3") OUT=$(mktemp) SELF=$(realpath "$0")
    UNIT=$(realpath "$(dirname "$0")/../../examples/plugin/password-sender-vault-agent.service")
    export OPERATOR ADDRESS TOKEN OUT UNIT SELF
    # Its own control group, and nothing else's.
    groups=$(findmnt -n -t cgroup2 -o TARGET | head -1)
    was=$(sed -n 's/^0:://p' /proc/self/cgroup)
    group=$groups/unit-trial-$$
    mkdir "$group" && echo $$ > "$group/cgroup.procs"
    timeout -k 2 90 script -q -e -c "unshare --fork --pid --mount --cgroup --uts --ipc --kill-child $SELF inside" /dev/null < /dev/null > "$OUT.log" 2>&1 || true
    echo $$ > "$groups$was/cgroup.procs"
    find "$group" -depth -type d -exec rmdir {} \;
    cat "$OUT"
    tail -1 "$OUT" | grep -qx passed || { tail -20 "$OUT.log"; exit 1; }
    rm "$OUT" "$OUT.log"
fi
