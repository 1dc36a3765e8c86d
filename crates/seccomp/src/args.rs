//! C signatures of calls whose arguments profiles compare.
//!
//! A register is 64 bits wide, but the kernel takes only the low 32 bits of an argument declared
//! `int`, `unsigned int`, `mode_t`, `pid_t` and the like. A filter that compares the whole register
//! can be passed by setting one of the upper bits: the filter sees another value, the kernel the
//! same one (the mechanism of CVE-2019-10063 in Flatpak, and of CVE-2026-123876 in podman as far
//! as can be seen). Arguments marked `:i` below are therefore always compared on 32 bits, also in
//! profiles written by others. Only arguments that the kernel certainly truncates are marked;
//! comparing a `long` on 32 bits would open the opposite hole.

use crate::arch::Arch;
use crate::index::{Hash, Index, word_end};

/// One line per call: its name, then its arguments in order.
const SIGNATURES: &str = "
read fd:i buf count
write fd:i buf count
open path flags:i mode:i
close fd:i
poll fds nfds:i timeout:i
lseek fd:i offset whence:i
ioctl fd:i cmd:i arg
access path mode:i
dup fd:i
dup2 oldfd:i newfd:i
dup3 oldfd:i newfd:i flags:i
pipe2 fds flags:i
fcntl fd:i cmd:i arg
fcntl64 fd:i cmd:i arg
flock fd:i cmd:i
socket domain:i type:i protocol:i
socketpair domain:i type:i protocol:i fds
bind fd:i addr addrlen:i
connect fd:i addr addrlen:i
listen fd:i backlog:i
accept fd:i addr addrlen
accept4 fd:i addr addrlen flags:i
shutdown fd:i how:i
setsockopt fd:i level:i optname:i optval optlen:i
getsockopt fd:i level:i optname:i optval optlen
send fd:i buf len flags:i
sendto fd:i buf len flags:i addr addrlen:i
sendmsg fd:i msg flags:i
sendmmsg fd:i msgs vlen:i flags:i
recv fd:i buf len flags:i
recvfrom fd:i buf len flags:i addr addrlen
recvmsg fd:i msg flags:i
recvmmsg fd:i msgs vlen:i flags:i timeout
recvmmsg_time64 fd:i msgs vlen:i flags:i timeout
socketcall call:i args
ipc call:i first:i second third ptr fifth
clone flags stack parent_tid
unshare flags
setns fd:i nstype:i
mount source target type flags data
umount2 target flags:i
fsopen name flags:i
fsconfig fd:i cmd:i key value aux:i
fsmount fd:i flags:i attr_flags:i
fspick dirfd:i path flags:i
open_tree dirfd:i path flags:i
open_tree_attr dirfd:i path flags:i
move_mount from_dirfd:i from_path to_dirfd:i to_path flags:i
mount_setattr dirfd:i path flags:i
prctl option:i arg2 arg3 arg4 arg5
arch_prctl option:i arg2
personality persona:i
seccomp op:i flags:i args
ptrace request pid addr data
bpf cmd:i attr size:i
perf_event_open attr pid:i cpu:i group_fd:i flags
keyctl option:i arg2 arg3 arg4 arg5
add_key type desc payload len keyring:i
request_key type desc info keyring:i
userfaultfd flags:i
io_uring_setup entries:i params
io_uring_enter fd:i to_submit:i min_complete:i flags:i
io_uring_register fd:i opcode:i arg nr_args:i
fanotify_init flags:i event_flags:i
fanotify_mark fd:i flags:i mask dirfd:i path
modify_ldt func:i ptr bytecount
iopl level:i
ioperm from num turn_on:i
quotactl cmd:i special id:i addr
quotactl_fd fd:i cmd:i id:i addr
syslog type:i buf len:i
reboot magic1:i magic2:i cmd:i arg
swapon path flags:i
delete_module name flags:i
finit_module fd:i args flags:i
kcmp pid1:i pid2:i type:i idx1 idx2
mknod path mode:i dev:i
mknodat dirfd:i path mode:i dev:i
openat dirfd:i path flags:i mode:i
openat2 dirfd:i path how size
name_to_handle_at dirfd:i path handle mount_id flags:i
open_by_handle_at mount_fd:i handle flags:i
mkdir path mode:i
mkdirat dirfd:i path mode:i
chmod path mode:i
fchmod fd:i mode:i
fchmodat dirfd:i path mode:i
fchmodat2 dirfd:i path mode:i flags:i
fchownat dirfd:i path uid:i gid:i flags:i
faccessat dirfd:i path mode:i
faccessat2 dirfd:i path mode:i flags:i
unlinkat dirfd:i path flags:i
linkat olddirfd:i oldpath newdirfd:i newpath flags:i
renameat2 olddirfd:i oldpath newdirfd:i newpath flags:i
utimensat dirfd:i path times flags:i
newfstatat dirfd:i path buf flags:i
statx dirfd:i path flags:i mask:i buf
execveat dirfd:i path argv envp flags:i
umask mask:i
fallocate fd:i mode:i offset len
copy_file_range fd_in:i off_in fd_out:i off_out len flags:i
splice fd_in:i off_in fd_out:i off_out len flags:i
tee fd_in:i fd_out:i len flags:i
vmsplice fd:i iov nr flags:i
sendfile out_fd:i in_fd:i offset count
madvise addr len advice:i
process_madvise pidfd:i vec vlen advice:i flags:i
msync addr len flags:i
mlock2 addr len flags:i
mlockall flags:i
pkey_mprotect addr len prot pkey:i
memfd_create name flags:i
memfd_secret flags:i
map_shadow_stack addr size flags:i
membarrier cmd:i flags:i cpu:i
futex uaddr op:i val:i timeout uaddr2 val3:i
kill pid:i sig:i
tkill tid:i sig:i
tgkill tgid:i tid:i sig:i
wait4 pid:i status options:i rusage
waitid which:i id:i info options:i rusage
setpriority which:i who:i prio:i
getpriority which:i who:i
ioprio_set which:i who:i ioprio:i
ioprio_get which:i who:i
getrlimit resource:i rlim
setrlimit resource:i rlim
prlimit64 pid:i resource:i new old
getrusage who:i usage
sched_setscheduler pid:i policy:i param
sched_setattr pid:i attr flags:i
sched_setparam pid:i param
set_mempolicy mode:i mask maxnode
setuid uid:i
setgid gid:i
setreuid ruid:i euid:i
setregid rgid:i egid:i
setresuid ruid:i euid:i suid:i
setresgid rgid:i egid:i sgid:i
setgroups size:i list
shmget key:i size flags:i
shmat id:i addr flags:i
shmctl id:i cmd:i buf
semget key:i nsems:i flags:i
semctl id:i num:i cmd:i arg
msgget key:i flags:i
msgsnd id:i msg size flags:i
msgrcv id:i msg size type flags:i
msgctl id:i cmd:i buf
mq_open name flags:i mode:i attr
epoll_create1 flags:i
epoll_ctl epfd:i op:i fd:i event
eventfd2 count:i flags:i
signalfd4 fd:i mask size flags:i
inotify_init1 flags:i
timerfd_create clock:i flags:i
timerfd_settime fd:i flags:i new old
clock_settime clock:i time
clock_gettime clock:i time
clock_adjtime clock:i timex
clock_nanosleep clock:i flags:i request remain
timer_create clock:i event id
getrandom buf len flags:i
pidfd_open pid:i flags:i
pidfd_getfd pidfd:i fd:i flags:i
pidfd_send_signal pidfd:i sig:i info flags:i
close_range first:i last:i flags:i
landlock_create_ruleset attr size flags:i
landlock_add_rule fd:i type:i attr flags:i
landlock_restrict_self fd:i flags:i
rseq area len:i flags:i sig:i
";

/// The calls of the table; the value is the offset behind the name.
static INDEX: Index<512> = index(SIGNATURES.as_bytes());

const fn index(text: &[u8]) -> Index<512> {
    let mut index = Index::new();
    let mut at = 0;
    while at < text.len() {
        if text[at] == b'\n' {
            at += 1;
            continue;
        }
        let end = word_end(text, at);
        index.insert(text, at, end, offset(end));
        at = end;
        while at < text.len() && text[at] != b'\n' {
            at += 1;
        }
    }
    index
}

#[allow(clippy::as_conversions, reason = "the text is far shorter than four GiB")]
const fn offset(at: usize) -> u32 {
    at as u32
}

/// The arguments of a call: names, and whether they are truncated.
fn arguments(call: &str) -> Option<impl Iterator<Item = (&'static str, bool)>> {
    let (_, end) = INDEX.get(SIGNATURES, call, Hash::of(call))?;
    let rest = SIGNATURES.get(usize::try_from(end).ok()?..)?;
    let line = rest.split('\n').next()?;
    Some(line.split_ascii_whitespace().map(|word| match word.strip_suffix(":i") {
        Some(name) => (name, true),
        None => (word, false),
    }))
}

fn argument(call: &str, index: u8) -> Option<(&'static str, bool)> {
    arguments(call)?.nth(usize::from(index))
}

/// Whether the kernel uses only the low 32 bits of this argument.
#[must_use]
pub fn argument_is_int(arch: Arch, call: &str, index: u8) -> bool {
    arch.is_32bit() || argument(call, index).is_some_and(|(_, int)| int)
}

/// The name of an argument as in the manual pages.
#[must_use]
pub fn argument_name(call: &str, index: u8) -> Option<&'static str> {
    argument(call, index).map(|(name, _)| name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::syscalls::is_known_anywhere;

    #[test]
    fn every_line_names_a_call_and_at_most_six_arguments() {
        let mut calls = std::collections::BTreeSet::new();
        for line in SIGNATURES.trim().lines() {
            let (call, words) = line.split_once(' ').unwrap();
            assert!(is_known_anywhere(call), "{call}");
            assert!(calls.insert(call), "{call} is there twice");
            let found: Vec<_> = arguments(call)
                .unwrap()
                .map(|(name, int)| if int { format!("{name}:i") } else { name.to_owned() })
                .collect();
            assert_eq!(found.join(" "), words, "{call}");
            assert!((1..=6).contains(&found.len()), "{call}");
        }
        assert!(arguments("no_such_call").is_none());
    }

    #[test]
    fn widths() {
        assert!(argument_is_int(Arch::X86_64, "socket", 0));
        assert!(argument_is_int(Arch::X86_64, "ioctl", 1));
        assert!(!argument_is_int(Arch::X86_64, "ioctl", 2));
        assert!(!argument_is_int(Arch::X86_64, "clone", 0));
        assert!(argument_is_int(Arch::X86, "clone", 0), "registers are 32 bits");
    }
}
