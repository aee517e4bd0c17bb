"""Ways out of a root filesystem, as lines of bash or Perl that a hostile seed's `bash` tries.

A way exits with 0 where it led out, or where the kernel was about to do what it asks for. The
`real` ones do so, without harm, with the host's privileges: that shows that they are ways. The
rest would hurt the host, or need something that a machine may lack.

`$CANARY` is a file of the host, outside of the root filesystem.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Way:
    name: str
    script: str
    real: bool = True


PRELUDE = """
sub call {  # a system call; it is refused where it gives EPERM, EACCES or ENOSYS
    my ($number, @arguments) = @_;
    my $got = syscall($number, @arguments);
    my $error = $! + 0;
    print "call $number gave $got: $!\\n";
    return $got >= 0 || !grep { $_ == $error } (1, 13, 38);
}
sub out { exit($_[0] ? 0 : 1) }
sub reads { open(my $file, "<", $_[0]) or return 0; return sysread($file, my $byte, 1) }
sub writable { open(my $file, ">>", $_[0]) }
sub node { my ($path, $type, $number) = @_; unlink $path; syscall(133, $path, $type, $number) }
"""


def perl(name: str, code: str, *, real: bool = True) -> Way:
    assert "'" not in code
    return Way(name, f"perl -e '{PRELUDE}{code}'", real)


def call(name: str, *arguments: object, real: bool = True) -> Way:
    """The system call of that number, on x86-64, with these arguments as Perl writes them."""
    return perl(name, f"out(call({', '.join(map(str, arguments))}));", real=real)


NODES = """
open(my $table, "<", "/proc/partitions");
my ($first) = grep { /\\b(?:[shv]d[a-z]|xvd[a-z]|nvme\\d+n\\d+|mmcblk\\d+)$/ } <$table>;
my ($major, $minor) = $first =~ /(\\d+)\\s+(\\d+)/;
my $disk = ($major << 8) | $minor; my ($block, $char) = (0060600, 0020600);
"""


def device(name: str, kind: str, number: object, path: str, *, real: bool = True) -> Way:
    """A node of that number is made at `path`, and read."""
    code = f'node("{path}", ${kind}, {number}); out(open(my $node, "<", "{path}"));'
    return perl(name, NODES + code, real=real)


FILES = (
    Way("the root of process 1", "cat /proc/1/root$CANARY"),
    Way("the roots of all processes", "cat /proc/*/root$CANARY"),
    Way("the working folders of all processes", "cat /proc/*/cwd/../../../../../../..$CANARY"),
    Way("open descriptors", "cat /proc/[0-9]*/fd/*/../../../../../../..$CANARY", real=False),
    Way("paths above the root", "cat ../../../../../../../../..$CANARY", real=False),
    perl(
        "a second chroot",
        'mkdir "/tmp/jail"; chroot "/tmp/jail"; chdir ".." for 1..99; chroot ".";'
        'print "$!\n"; out(reads($ENV{CANARY}));',
    ),
    perl("memory of process 1", 'out(open(my $memory, "+<", "/proc/1/mem"));'),
    perl("the program of process 1", 'out(reads("/proc/1/exe"));'),
    Way("environment of process 1", "cat /proc/1/environ"),
    call("ptrace of process 1", 101, "0x4206", 1, 0, 0),
    perl(
        "a descriptor of process 1",
        "my $process = syscall(434, 1, 0); out(syscall(438, $process, 0, 0) >= 0);",
    ),
    perl(
        "the namespaces of process 1",
        'open(my $ns, "<", "/proc/1/ns/mnt") or out(0); out(call(308, fileno($ns), 0));',
    ),
    call("open_by_handle_at", 304, -100, "my $handle = pack(q(IIx128), 8, 1)", 0),
    perl(
        "a capability of a file",
        'system("cp", "/bin/true", "/tmp/able"); my ($path, $name) = ("/tmp/able", '
        '"security.capability"); my $all = pack("I5", 0x02000001, 0x200000, 0, 0, 0);'
        "syscall(188, $path, $name, $all, 20, 0) and die; out(!system($path));",
    ),
)

DEVICES = (
    device("a disk", "block", "$disk", "/tmp/disk", real=False),
    device("a disk made in /dev/shm", "block", "$disk", "/dev/shm/disk", real=False),
    device("a device made in /tmp", "char", "259", "/tmp/null"),
    device("a device made in /dev", "char", "259", "/dev/other"),
    device("a device made in a bind", "char", "259", "/var/cache/packages/null"),
    device("/dev/kmsg", "char", "267", "/tmp/k"),
    device("/dev/mem", "char", "257", "/tmp/m", real=False),
    device("/dev/port", "char", "260", "/tmp/p", real=False),
    device("/dev/loop-control", "char", "(10 << 8) | 237", "/tmp/l", real=False),
    device("/dev/net/tun", "char", "(10 << 8) | 200", "/tmp/t", real=False),
    perl(
        "TIOCSTI", 'open(my $t, "+<", "/dev/ptmx") or die; my $c = "x"; out(ioctl($t, 0x5412, $c));'
    ),
)

MOUNTS = (
    perl(
        "mount of a disk",
        NODES + 'node("/tmp/d", $block, $disk); out(call(165, "/tmp/d", "/mnt", "ext4", 1, 0));',
        real=False,
    ),
    call("mount of /proc", 165, '"proc"', '"/mnt"', '"proc"', 0, 0),
    call("mount of a tmpfs", 165, '"t"', '"/mnt"', '"tmpfs"', 0, 0),
    call("mount of the host's /dev", 165, '"d"', '"/mnt"', '"devtmpfs"', 0, 0),
    call("mount of /sys", 165, '"s"', '"/mnt"', '"sysfs"', 0, 0),
    call("mount of control groups", 165, '"c"', '"/mnt"', '"cgroup2"', 0, 0),
    call("mount of binfmt_misc", 165, '"b"', '"/mnt"', '"binfmt_misc"', 0, 0),
    call("an overlay", 165, '"o"', '"/mnt"', '"overlay"', 0, '"lowerdir=/etc:/bin"'),
    call("a bind", 165, '"/etc"', '"/mnt"', '""', 4096, 0),
    call("devices by a remount", 165, '""', '"/"', '""', 4128, 0),
    call("writing to /proc/sys by a remount", 165, '""', '"/proc/sys"', '""', 4128, 0, real=False),
    perl(
        "unmounting what guards /proc",
        'my $p = "/proc/sys"; out(!syscall(166, $p, 2));',
        real=False,
    ),
    call("devices by mount_setattr", 442, -100, '"/"', 0, 'pack("Q4", 0, 4, 0, 0)', 32),
    call("fsopen", 430, '"tmpfs"', 0),
    call("open_tree", 428, -100, '"/"', 1),
    call("pivot_root", 155, '"/tmp"', '"/tmp"'),
    call(
        "a system call of the x32 kind",
        "0x40000000 + 165",
        '"t"',
        '"/mnt"',
        '"tmpfs"',
        0,
        0,
        real=False,
    ),
)

KNOBS = (
    perl("core_pattern", 'out(writable("/proc/sys/kernel/core_pattern"));'),
    perl(
        "the program that loads modules", 'out(writable("/proc/sys/kernel/modprobe"));', real=False
    ),
    perl("sysrq-trigger", 'out(writable("/proc/sysrq-trigger"));', real=False),
    perl("sysrq", 'out(writable("/proc/sys/kernel/sysrq"));', real=False),
    perl("uevent_helper", 'out(writable("/sys/kernel/uevent_helper"));', real=False),
    perl(
        "release_agent",
        'out(grep { writable("/sys/fs/cgroup/$_/release_agent") } (".", "memory"));',
        real=False,
    ),
    perl("a setting of memory", 'out(writable("/proc/sys/vm/drop_caches"));'),
    perl("power states", 'out(writable("/sys/power/state"));', real=False),
    perl("interrupts", 'out(writable("/proc/irq/default_smp_affinity"));'),
    perl("/proc/kcore", 'out(reads("/proc/kcore") && -s "/proc/kcore");', real=False),
    perl(
        "addresses of the kernel",
        'open(my $f, "<", "/proc/kallsyms"); out(grep { /^0*[1-9a-f]/ } <$f>);',
        real=False,
    ),
    perl("the keys of the host", 'open(my $f, "<", "/proc/keys"); out(scalar(<$f>));', real=False),
    perl("the kernel's log", 'out(!-c "/proc/kmsg" && open(my $f, "<", "/proc/kmsg"));'),
    Way("sparing itself", "echo -1000 > /proc/self/oom_score_adj", real=False),
    call("another clock", 227, 0, "my $t = pack(q(qq), 1, -1)"),
    call("another clock, the old way", 164, "my $t = pack(q(qq), 1, -1)", 0),
    call("another host name", 170, '"owned"', 5, real=False),
    call("real-time scheduling", 144, 0, 1, "my $p = pack(q(i), 1)"),
    call(
        "more files than allowed", 302, 0, 7, "my $r = pack(q(QQ), 1048570, 1048570)", 0, real=False
    ),
)

KERNEL = (
    call("init_module", 175, 0, 0, '""'),
    call("finit_module", 313, 0, '""', 0),
    call("delete_module", 176, '"no_such"', 0),
    call("kexec_load", 246, 0, 0, 0, "0xdead"),
    call("kexec_file_load", 320, 0, 0, 0, '""', "0xdead"),
    call("reboot", 169, 1, 2, 3, 0),
    call("swapon", 167, '"/no/such"', 0),
    call("swapoff", 168, '"/no/such"'),
    call("iopl", 172, 3),
    call("ioperm", 173, "0x70", 1, 1),
    call("acct", 163, '"/no/such"'),
    call("syslog", 103, 10, 0, 0),
    call("quotactl", 179, 0, 0, 0, 0, real=False),
    call("bpf", 321, 5, 'my $a = "\\0" x 128', 128),
    call("keyctl", 250, 0, -3, 0),
    call("add_key", 248, '"user"', '"x"', '"y"', 1, -2),
    call("request_key", 249, '"user"', '"x"', 0, -3),
    call("perf_event_open", 298, 'my $a = pack("IIx120", 1, 128)', 0, -1, -1, 0, real=False),
    call("userfaultfd", 323, 0),
    call("io_uring_setup", 425, 1, 'my $p = "\\0" x 120'),
    call("fanotify_init", 300, 0, 0),
    call("a user namespace", 272, "0x10000000", real=False),
    call("a mount namespace", 272, "0x20000"),
    call("a network namespace", 272, "0x40000000"),
    call("a time namespace", 272, "0x80", real=False),
    call("a user namespace by clone", 56, "0x10000011", 0, 0, 0, 0, real=False),
    call(
        "a user namespace by clone3",
        435,
        'my $c = pack("Qx24Qx48", 0x10000000, 17)',
        88,
        real=False,
    ),
    perl("raw packets", "out(socket(my $s, 17, 3, 0x0300));"),
    perl("raw ICMP", "out(socket(my $s, 2, 3, 1));"),
    perl("sockets to the hypervisor", "socket(my $s, 40, 1, 0) or out($! != 1); out(1);"),
    perl(
        "buffers above the limit",
        "socket(my $s, 2, 2, 0) or die; out(setsockopt($s, 1, 32, 1 << 26));",
    ),
)

SHARED_MEMORY_KEY = 0x57A6E
HOST_IPC = (perl("shared memory of the host", f"out(defined(shmget({SHARED_MEMORY_KEY}, 1, 0)));"),)

HOST_NETWORK = (
    perl(
        "abstract sockets",
        'socket(my $s, 1, 1, 0) or die;out(connect($s, pack("Sa*", 1, "\\0" . $ENV{ABSTRACT})));',
    ),
    Way("Redis on loopback", "exec 3<> /dev/tcp/127.0.0.1/$REDIS_PORT"),
    Way("Redis by the host's address", "exec 3<> /dev/tcp/$HOST_ADDRESS/$REDIS_PORT"),
)
"""Open with `network: host`, as it is said; closed with `none` and `isolated`."""

SANDBOX_MAY = frozenset(
    {
        "a capability of a file",
        *("mount of a tmpfs", "mount of binfmt_misc", "an overlay", "a bind", "fsopen"),
        *("open_tree", "pivot_root", "a user namespace", "a mount namespace"),
        *("a network namespace", "a time namespace", "a user namespace by clone"),
        "a user namespace by clone3",
    }
)
"""Open with `privileges: sandbox`, in a user namespace."""

INIT_MAY = frozenset(
    {
        *("memory of process 1", "the program of process 1", "environment of process 1"),
        *("ptrace of process 1", "a descriptor of process 1", "the namespaces of process 1"),
        "another host name",
    }
)
"""Open as well where a stage boots: process 1 is its own, and so is the host name."""

WAYS = (*FILES, *DEVICES, *MOUNTS, *KNOBS, *KERNEL, *HOST_IPC)
