//! Calls that are allowed or refused as a whole.

/// Calls of one topic.
#[derive(Debug, Clone, Copy)]
pub(super) struct Group {
    pub(super) why: &'static str,
    pub(super) calls: &'static str,
}

/// Calls that need a capability.
#[derive(Debug, Clone, Copy)]
pub(super) struct Gate {
    /// Any of these opens the gate.
    pub(super) caps: &'static [&'static str],
    /// Further ones that open it in Docker, and so in the compatible profile.
    pub(super) docker_caps: &'static [&'static str],
    pub(super) why: &'static str,
    pub(super) calls: &'static str,
}

const fn group(why: &'static str, calls: &'static str) -> Group {
    Group { why, calls }
}

/// Calls every server image may use.
pub(super) const ALLOWED: &[Group] = &[
    group(
        "open files: read, write, size, sync",
        "read write readv writev pread64 pwrite64 preadv pwritev preadv2 pwritev2 open openat openat2
         creat close close_range lseek dup dup2 dup3 pipe pipe2 fcntl flock fsync fdatasync sync syncfs
         sync_file_range truncate ftruncate fallocate fadvise64 readahead copy_file_range cachestat",
    ),
    group(
        "metadata of files; name_to_handle_at only makes handles, opening them is gated",
        "stat fstat lstat newfstatat statx statfs fstatfs access faccessat faccessat2 chmod fchmod
         fchmodat fchmodat2 chown fchown lchown fchownat utime utimes futimesat utimensat umask
         file_getattr file_setattr name_to_handle_at",
    ),
    group(
        "directories and links",
        "getdents getdents64 getcwd chdir fchdir mkdir mkdirat rmdir rename renameat renameat2 link
         linkat symlink symlinkat readlink readlinkat unlink unlinkat",
    ),
    group(
        "extended attributes",
        "setxattr lsetxattr fsetxattr setxattrat getxattr lgetxattr fgetxattr getxattrat listxattr
         llistxattr flistxattr listxattrat removexattr lremovexattr fremovexattr removexattrat",
    ),
    group("view of the own mount table", "statmount listmount"),
    group(
        "memory",
        "mmap mremap munmap mprotect brk madvise mincore msync mlock mlock2 mlockall munlock
         munlockall mseal map_shadow_stack memfd_create memfd_secret pkey_alloc pkey_free
         pkey_mprotect membarrier",
    ),
    group(
        "processes; the kernel itself makes programs call uretprobe, uprobe and restart_syscall",
        "fork vfork execve execveat exit exit_group wait4 waitid kill tkill tgkill getpid getppid
         gettid getpgid setpgid getpgrp getsid setsid set_tid_address set_robust_list get_robust_list
         prctl arch_prctl set_thread_area get_thread_area restart_syscall pidfd_open
         pidfd_send_signal process_mrelease rseq getrandom uretprobe uprobe",
    ),
    group(
        "user and group ids; capabilities bound what they can do",
        "getuid geteuid getgid getegid getresuid getresgid getgroups setuid setgid setreuid setregid
         setresuid setresgid setfsuid setfsgid setgroups capget capset",
    ),
    group("confining oneself further", "seccomp landlock_create_ruleset landlock_add_rule landlock_restrict_self"),
    group(
        "limits, priorities, facts about the system",
        "getrlimit setrlimit prlimit64 getrusage times sysinfo uname getcpu getpriority setpriority
         ioprio_get ioprio_set sched_yield sched_getaffinity sched_setaffinity sched_getparam
         sched_setparam sched_getscheduler sched_setscheduler sched_getattr sched_setattr
         sched_get_priority_max sched_get_priority_min sched_rr_get_interval",
    ),
    group(
        "signals",
        "rt_sigaction rt_sigprocmask rt_sigreturn rt_sigpending rt_sigsuspend rt_sigtimedwait
         rt_sigqueueinfo rt_tgsigqueueinfo sigaltstack signalfd signalfd4 pause alarm",
    ),
    group(
        "clocks and timers; adjtimex and clock_adjtime read, setting needs rights on the host",
        "time gettimeofday clock_gettime clock_getres clock_nanosleep nanosleep adjtimex clock_adjtime
         getitimer setitimer timer_create timer_delete timer_settime timer_gettime timer_getoverrun
         timerfd_create timerfd_settime timerfd_gettime",
    ),
    group(
        "waiting: futexes, polling, events, asynchronous disk access",
        "futex futex_wait futex_wake futex_requeue futex_waitv poll ppoll select pselect6 epoll_create
         epoll_create1 epoll_ctl epoll_wait epoll_pwait epoll_pwait2 eventfd eventfd2 inotify_init
         inotify_init1 inotify_add_watch inotify_rm_watch io_setup io_destroy io_submit io_cancel
         io_getevents io_pgetevents",
    ),
    group(
        "System V and POSIX communication, in their own namespace",
        "shmget shmat shmdt shmctl semget semop semtimedop semctl msgget msgsnd msgrcv msgctl
         mq_open mq_unlink mq_timedsend mq_timedreceive mq_notify mq_getsetattr",
    ),
    group(
        "sockets that exist; making them is filtered by family",
        "bind connect listen accept accept4 shutdown getsockname getpeername getsockopt",
    ),
];

/// Not in the strict profile.
pub(super) const SPLICING: Group =
    group("pages moved between files and pipes: nginx and Go want it, page-cache bugs need it", "splice tee sendfile");

/// 32-bit spellings of allowed calls.
pub(super) const TWINS: &[Group] = &[
    group(
        "32-bit x86 and Arm: wider variants of allowed calls",
        "_llseek _newselect chown32 fchown32 lchown32 fcntl64 fadvise64_64 stat64 lstat64 fstat64
         fstatat64 statfs64 fstatfs64 truncate64 ftruncate64 getuid32 geteuid32 getgid32 getegid32
         getgroups32 getresuid32 getresgid32 setuid32 setgid32 setreuid32 setregid32 setresuid32
         setresgid32 setfsuid32 setfsgid32 setgroups32 mmap2 recv send sendfile64 sigprocmask sigreturn
         ugetrlimit waitpid",
    ),
    group(
        "32-bit x86 and Arm: 64-bit time",
        "clock_adjtime64 clock_getres_time64 clock_gettime64 clock_nanosleep_time64 futex_time64
         io_pgetevents_time64 mq_timedreceive_time64 mq_timedsend_time64 ppoll_time64 pselect6_time64
         recvmmsg_time64 rt_sigtimedwait_time64 sched_rr_get_interval_time64 semtimedop_time64
         timer_gettime64 timer_settime64 timerfd_gettime64 timerfd_settime64 utimensat_time64",
    ),
    group(
        "32-bit x86: one call for all of sockets and one for all of System V; arguments are hidden",
        "socketcall ipc",
    ),
    group(
        "32-bit Arm: machine-specific",
        "arm_fadvise64_64 arm_sync_file_range sync_file_range2 breakpoint cacheflush set_tls",
    ),
];

/// Refused by default, allowed by Docker.
pub(super) const TOLERATED: &[Group] = &[
    group("gifts pages to a pipe: the ingredient of page-cache bugs", "vmsplice"),
    group("unmaintained corners that only emulators use", "modify_ldt remap_file_pages"),
];

/// Refused for good.
pub(super) const REFUSED: &[Group] = &[
    group(
        "a second system call interface that filters cannot see into, and many bugs",
        "io_uring_setup io_uring_enter io_uring_register",
    ),
    group("stops the kernel at a chosen place, which makes races winnable", "userfaultfd"),
    group("keyrings are not part of a namespace", "add_key request_key keyctl"),
    group("replaces the kernel, or its swap", "kexec_load kexec_file_load swapon swapoff"),
];

/// Known to be gone; `ENOSYS` is what the kernel itself would say.
pub(super) const OBSOLETE: Group = group(
    "removed from the kernel, or kept only for programs of the 1990s",
    "_sysctl afs_syscall create_module get_kernel_syms getpmsg putpmsg nfsservctl query_module
     security tuxcall vserver uselib epoll_ctl_old epoll_wait_old ustat sysfs lookup_dcookie",
);

const fn gate(caps: &'static [&'static str], why: &'static str, calls: &'static str) -> Gate {
    Gate { caps, docker_caps: &[], why, calls }
}

/// Allowed only together with a capability.
pub(super) const GATED: &[Gate] = &[
    gate(
        &["CAP_SYS_ADMIN"],
        "mounting: most container escapes and many kernel bugs go through it",
        "mount umount umount2 pivot_root open_tree open_tree_attr move_mount fsopen fsconfig fsmount
         fspick mount_setattr",
    ),
    gate(
        &["CAP_SYS_ADMIN"],
        "new or other namespaces: two of three public kernel exploits begin with one",
        "unshare setns",
    ),
    gate(
        &["CAP_SYS_ADMIN"],
        "administration of the machine",
        "sethostname setdomainname quotactl quotactl_fd fanotify_init lsm_get_self_attr
         lsm_set_self_attr lsm_list_modules",
    ),
    gate(&["CAP_SYS_CHROOT"], "changing the root", "chroot"),
    gate(&["CAP_SYS_PTRACE"], "looking into other processes", "kcmp pidfd_getfd process_madvise"),
    gate(
        &["CAP_DAC_READ_SEARCH"],
        "opens files by number, past every directory (the Shocker escape)",
        "open_by_handle_at",
    ),
    Gate { docker_caps: &["CAP_SYS_ADMIN"], ..gate(&["CAP_BPF"], "programs inside the kernel", "bpf") },
    Gate {
        docker_caps: &["CAP_SYS_ADMIN"],
        ..gate(&["CAP_PERFMON"], "performance counters, a side channel with many bugs", "perf_event_open")
    },
    Gate { docker_caps: &["CAP_SYS_ADMIN"], ..gate(&["CAP_SYSLOG"], "the kernel's log with its addresses", "syslog") },
    gate(&["CAP_SYS_MODULE"], "code inside the kernel", "init_module finit_module delete_module"),
    gate(&["CAP_SYS_BOOT"], "restarting the machine", "reboot"),
    gate(&["CAP_SYS_PACCT"], "process accounting", "acct"),
    gate(&["CAP_SYS_RAWIO"], "input and output ports", "iopl ioperm"),
    gate(&["CAP_SYS_TTY_CONFIG"], "hanging up terminals", "vhangup"),
    gate(&["CAP_SYS_TIME"], "setting clocks", "settimeofday stime clock_settime clock_settime64"),
    gate(
        &["CAP_SYS_NICE"],
        "placing memory on nodes",
        "get_mempolicy set_mempolicy set_mempolicy_home_node mbind migrate_pages move_pages",
    ),
];
