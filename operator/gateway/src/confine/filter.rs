//! The seccomp filter: system calls that serving needs, with everything else answered by `ENOSYS`.
//!
//! An allow-list, because a deny-list would miss what later kernels add and, on x86-64, the x32 numbers. `ENOSYS`
//! instead of death, because libraries try newer calls first and fall back when told that there is no such call. Not on the list,
//! and so refused from the first request on: running programs, new processes, new sockets and connections, tracing, mounts,
//! namespaces, BPF, io_uring, executable memory, signals to others. `clone3` neither: its flags lie in memory, where no
//! filter sees them; the C library then uses `clone`, whose flags it does.
//!
//! A gateway that talks to an API server may also make TCP sockets over IP and connect them (Landlock decides to which
//! port), and UDP sockets if the server's name must be looked up. It still may not bind, listen or make any other socket.

use std::collections::BTreeMap;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule, TargetArch,
};

use super::Network;

/// Allowed whatever the arguments.
const PLAIN: &[i64] = &[
    // files that are open, and names (Landlock decides which)
    libc::SYS_openat,
    libc::SYS_close,
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_readv,
    libc::SYS_writev,
    libc::SYS_pread64,
    libc::SYS_pwrite64,
    libc::SYS_preadv,
    libc::SYS_pwritev,
    libc::SYS_lseek,
    libc::SYS_fsync,
    libc::SYS_fdatasync,
    libc::SYS_ftruncate,
    libc::SYS_fallocate,
    libc::SYS_fstat,
    libc::SYS_statx,
    libc::SYS_newfstatat,
    libc::SYS_statfs,
    libc::SYS_fstatfs,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_unlinkat,
    libc::SYS_mkdirat,
    libc::SYS_readlinkat,
    libc::SYS_getdents64,
    libc::SYS_getcwd,
    libc::SYS_flock,
    libc::SYS_fcntl,
    libc::SYS_fchmod,
    libc::SYS_fchown,
    libc::SYS_utimensat,
    libc::SYS_umask,
    libc::SYS_dup,
    libc::SYS_dup3,
    libc::SYS_pipe2,
    libc::SYS_fadvise64,
    // waiting
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_pwait2,
    libc::SYS_eventfd2,
    libc::SYS_ppoll,
    libc::SYS_pselect6,
    libc::SYS_nanosleep,
    libc::SYS_clock_nanosleep,
    libc::SYS_futex,
    libc::SYS_timerfd_create,
    libc::SYS_timerfd_settime,
    // sockets that are there already, and pairs that lead nowhere
    libc::SYS_accept4,
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_sendto,
    libc::SYS_sendmsg,
    libc::SYS_shutdown,
    libc::SYS_getsockopt,
    libc::SYS_setsockopt,
    libc::SYS_getsockname,
    libc::SYS_getpeername,
    libc::SYS_socketpair,
    // memory
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_brk,
    libc::SYS_mlock,
    libc::SYS_munlock,
    libc::SYS_membarrier,
    // threads and this process
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_set_robust_list,
    libc::SYS_rseq,
    libc::SYS_set_tid_address,
    libc::SYS_gettid,
    libc::SYS_getpid,
    libc::SYS_getppid,
    libc::SYS_getuid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getegid,
    libc::SYS_sched_yield,
    libc::SYS_sched_getaffinity,
    libc::SYS_getrusage,
    libc::SYS_uname,
    libc::SYS_sysinfo,
    libc::SYS_getrandom,
    libc::SYS_clock_gettime,
    libc::SYS_clock_getres,
    libc::SYS_gettimeofday,
    libc::SYS_getcpu,
    // signals to oneself
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    libc::SYS_restart_syscall,
];

/// Calls that newer architectures have dropped, and that libraries still make where they are.
#[cfg(target_arch = "x86_64")]
const OLD: &[i64] = &[
    libc::SYS_open,
    libc::SYS_stat,
    libc::SYS_lstat,
    libc::SYS_access,
    libc::SYS_unlink,
    libc::SYS_mkdir,
    libc::SYS_readlink,
    libc::SYS_poll,
    libc::SYS_select,
    libc::SYS_epoll_wait,
    libc::SYS_dup2,
    libc::SYS_time,
    libc::SYS_arch_prctl,
];
#[cfg(not(target_arch = "x86_64"))]
const OLD: &[i64] = &[];

/// Installs the filter on this thread and on all that it will start.
pub(super) fn apply(network: Option<Network>) -> Result<(), String> {
    let program = program(network).map_err(|error| error.to_string())?;
    seccompiler::apply_filter(&program).map_err(|error| error.to_string())
}

fn program(network: Option<Network>) -> Result<BpfProgram, seccompiler::BackendError> {
    let arch = TargetArch::try_from(std::env::consts::ARCH)?;
    let no_such_call = SeccompAction::Errno(libc::ENOSYS.unsigned_abs());
    SeccompFilter::new(rules(network)?, no_such_call, SeccompAction::Allow, arch)?.try_into()
}

/// Sockets of a client: which may be made, and that they may be connected.
fn client(rules: &mut BTreeMap<i64, Vec<SeccompRule>>, network: Network) -> Result<(), seccompiler::BackendError> {
    // The type's upper bits are flags.
    const KIND: u64 = 0xf;
    let kinds = [Some(libc::SOCK_STREAM), network.names.then_some(libc::SOCK_DGRAM)];
    let mut sockets = Vec::new();
    for domain in [libc::AF_INET, libc::AF_INET6] {
        for kind in kinds.into_iter().flatten() {
            let dword = SeccompCmpArgLen::Dword;
            sockets.push(SeccompRule::new(vec![
                SeccompCondition::new(0, dword.clone(), SeccompCmpOp::Eq, bits(domain))?,
                SeccompCondition::new(1, dword, SeccompCmpOp::MaskedEq(KIND), bits(kind))?,
            ])?);
        }
    }
    rules.insert(libc::SYS_socket, sockets);
    rules.insert(libc::SYS_connect, Vec::new());
    if network.names {
        // What the C library's resolver sends its questions with.
        rules.insert(libc::SYS_sendmmsg, Vec::new());
    }
    Ok(())
}

fn rules(network: Option<Network>) -> Result<BTreeMap<i64, Vec<SeccompRule>>, seccompiler::BackendError> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> =
        PLAIN.iter().chain(OLD).map(|number| (*number, Vec::new())).collect();
    let only = |index, op, value: u64| {
        SeccompRule::new(vec![SeccompCondition::new(index, SeccompCmpArgLen::Dword, op, value)?])
    };
    let exactly = |index, value: u64| only(index, SeccompCmpOp::Eq, value);
    let has_not = |index, bit: i32| only(index, SeccompCmpOp::MaskedEq(bits(bit)), 0);
    // No memory that is both ours and executable.
    rules.insert(libc::SYS_mmap, vec![has_not(2, libc::PROT_EXEC)?]);
    rules.insert(libc::SYS_mprotect, vec![has_not(2, libc::PROT_EXEC)?]);
    // Threads, not processes.
    let thread = bits(libc::CLONE_THREAD);
    rules.insert(libc::SYS_clone, vec![only(0, SeccompCmpOp::MaskedEq(thread), thread)?]);
    // Signals to ourselves, for an abort.
    rules.insert(libc::SYS_tgkill, vec![exactly(0, u64::from(std::process::id()))?]);
    // Reading limits, not setting them (a null pointer as the new limit).
    let null = SeccompCondition::new(2, SeccompCmpArgLen::Qword, SeccompCmpOp::Eq, 0)?;
    rules.insert(libc::SYS_prlimit64, vec![SeccompRule::new(vec![null])?]);
    // Names of threads and of memory areas.
    let names = [libc::PR_SET_NAME, libc::PR_GET_NAME, libc::PR_SET_VMA];
    rules.insert(libc::SYS_prctl, names.into_iter().map(|name| exactly(0, bits(name))).collect::<Result<_, _>>()?);
    // What a library asks of a descriptor: non-blocking, close-on-exec, is it a terminal, how much is there.
    let questions = [libc::FIONBIO, libc::FIOCLEX, libc::TCGETS, libc::FIONREAD];
    let questions = questions.into_iter().map(|question| exactly(1, question & u64::from(u32::MAX)));
    rules.insert(libc::SYS_ioctl, questions.collect::<Result<_, _>>()?);
    if let Some(network) = network {
        client(&mut rules, network)?;
    }
    Ok(rules)
}

const fn bits(flag: i32) -> u64 {
    flag.cast_unsigned() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_filter_compiles_and_leaves_out_what_matters() {
        assert!(!program(None).expect("compiles").is_empty());
        let rules = rules(None).expect("builds");
        for number in [
            libc::SYS_execve,
            libc::SYS_execveat,
            libc::SYS_ptrace,
            libc::SYS_process_vm_readv,
            libc::SYS_socket,
            libc::SYS_connect,
            libc::SYS_bind,
            libc::SYS_listen,
            libc::SYS_kill,
            libc::SYS_bpf,
            libc::SYS_mount,
            libc::SYS_unshare,
            libc::SYS_setns,
            libc::SYS_io_uring_setup,
            libc::SYS_memfd_create,
            libc::SYS_open_by_handle_at,
            libc::SYS_clone3,
            libc::SYS_pidfd_getfd,
            libc::SYS_chroot,
            libc::SYS_init_module,
        ] {
            assert!(!rules.contains_key(&number), "{number}");
        }
    }
    #[test]
    fn a_client_of_the_api_server_gets_tcp_and_no_more() {
        let with = |names| {
            let network = Some(Network { port: 443, names });
            assert!(!program(network).expect("compiles").is_empty());
            rules(network).expect("builds")
        };
        let (without, with) = (with(false), with(true));
        assert_eq!((without[&libc::SYS_socket].len(), with[&libc::SYS_socket].len()), (2, 4));
        for number in [libc::SYS_bind, libc::SYS_listen, libc::SYS_execve, libc::SYS_kill, libc::SYS_sendmmsg] {
            assert!(!without.contains_key(&number), "{number}");
            assert!(number == libc::SYS_sendmmsg || !with.contains_key(&number), "{number}");
        }
    }
}
