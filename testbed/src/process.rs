//! Child processes that die with this one.
//!
//! The kernel sends the death signal when the *thread* that forked ends, and a test's thread ends with the test; so
//! one thread that lives as long as the process does all the forking.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
pub use nix::sys::signal::Signal;
use nix::unistd::{Pid, getppid};

use crate::dirs::new_log;

const PAUSE: Duration = Duration::from_millis(5);
/// How long a process may take to end after it was told to on drop, before it is killed.
const GRACE: Duration = Duration::from_secs(5);

/// SIGSTOP takes effect within microseconds; on a machine that is busy, later, and thread by thread.
const STOPPED: Duration = Duration::from_secs(10);

/// Whether SIGSTOP has stopped all of a process: no thread of it runs any more.
#[must_use]
pub fn is_stopped(pid: u32) -> bool {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else { return false };
    threads.flatten().all(|thread| {
        let stat = fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
        // The state is the first field behind the program's name, which stands in brackets. A thread may end meanwhile.
        stat.is_empty() || stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('T'))
    })
}

/// The ids of all processes whose parent is `parent`; none if it is gone.
#[must_use]
pub fn children(parent: u32) -> Vec<u32> {
    let stat = |pid: u32| fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let parent_of = |pid: u32| stat(pid).rsplit(')').next()?.split_whitespace().nth(1)?.parse::<u32>().ok();
    let names = fs::read_dir("/proc").into_iter().flatten().flatten().filter_map(|e| e.file_name().into_string().ok());
    names.filter_map(|name| name.parse().ok()).filter(|pid| parent_of(*pid) == Some(parent)).collect()
}

/// A running child with its log. Dropped, it is ended with its stop signal (SIGKILL unless said otherwise).
#[derive(Debug)]
pub struct Process {
    name: String,
    pid: Pid,
    child: Mutex<Child>,
    stop_signal: Signal,
    log: PathBuf,
}

impl Process {
    /// Starts `command`; stdout and stderr go to a log file unless the command says otherwise
    /// (see [`Process::spawn_piped`]).
    ///
    /// # Errors
    /// If the program can't be started.
    pub fn spawn(name: &str, command: Command) -> Result<Self> {
        Self::start(name, command, Signal::SIGKILL, false)
    }

    /// As [`Process::spawn`], with the signal that ends it: on drop, and when this process dies.
    ///
    /// # Errors
    /// If the program can't be started.
    pub fn spawn_with_stop_signal(name: &str, command: Command, stop: Signal) -> Result<Self> {
        Self::start(name, command, stop, false)
    }

    /// As [`Process::spawn`], with pipes for stdin and stdout, to be taken by
    /// [`Process::take_stdin`] and [`Process::take_stdout`]; stderr is the log.
    ///
    /// # Errors
    /// If the program can't be started.
    pub fn spawn_piped(name: &str, command: Command) -> Result<Self> {
        Self::start(name, command, Signal::SIGKILL, true)
    }

    fn start(name: &str, mut command: Command, stop: Signal, piped: bool) -> Result<Self> {
        let log = new_log(name)?;
        let file = File::create(&log).with_context(|| format!("making {}", log.display()))?;
        command.stderr(file.try_clone()?);
        if piped {
            command.stdin(Stdio::piped()).stdout(Stdio::piped());
        } else {
            command.stdin(Stdio::null()).stdout(file);
        }
        let program = command.get_program().to_string_lossy().into_owned();
        let child = fork(command, stop).with_context(|| format!("starting {program} for {name}"))?;
        let pid = Pid::from_raw(i32::try_from(child.id())?);
        let child = Mutex::new(child);
        Ok(Self { name: name.to_owned(), pid, child, stop_signal: stop, log })
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid.as_raw().unsigned_abs()
    }

    /// Its log file.
    #[must_use]
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// All that it has logged so far.
    ///
    /// # Errors
    /// If the file can't be read.
    pub fn log_text(&self) -> Result<String> {
        Ok(String::from_utf8_lossy(&fs::read(&self.log)?).into_owned())
    }

    /// The writing end of its stdin, once, if it was started with pipes. Dropping it closes stdin.
    #[must_use]
    pub fn take_stdin(&self) -> Option<ChildStdin> {
        self.lock().stdin.take()
    }

    /// The reading end of its stdout, once, if it was started with pipes.
    #[must_use]
    pub fn take_stdout(&self) -> Option<ChildStdout> {
        self.lock().stdout.take()
    }

    /// Sends a signal; SIGSTOP and SIGCONT too. After SIGSTOP it returns when nothing of the process runs any more.
    ///
    /// # Errors
    /// If the process is gone, or does not stop.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let mut child = self.lock(); // held, so that the id can't be reaped and reused meanwhile
        if let Some(status) = child.try_wait()? {
            bail!("{} has ended: {status}", self.name);
        }
        nix::sys::signal::kill(self.pid, signal).with_context(|| format!("signalling {}", self.name))?;
        let start = Instant::now();
        while signal == Signal::SIGSTOP && !is_stopped(self.pid()) {
            if start.elapsed() > STOPPED {
                bail!("{} still runs {STOPPED:?} after SIGSTOP", self.name);
            }
            thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    /// SIGKILL, then waits for the end. An ended process is left as it is.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn kill(&self) -> Result<ExitStatus> {
        let mut child = self.lock();
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        child.kill()?;
        Ok(child.wait()?)
    }

    /// Its exit status, if it has ended.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn ended(&self) -> Result<Option<ExitStatus>> {
        Ok(self.lock().try_wait()?)
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// If it is still running when `deadline` is over; it is left running.
    pub fn wait(&self, deadline: Duration) -> Result<ExitStatus> {
        let start = Instant::now();
        loop {
            if let Some(status) = self.ended()? {
                return Ok(status);
            }
            if start.elapsed() > deadline {
                bail!("{} is still running after {deadline:?}; log: {}", self.name, self.log.display());
            }
            thread::sleep(PAUSE);
        }
    }

    /// Fails with the end of the log if the process is gone.
    pub(crate) fn must_live(&self) -> Result<()> {
        match self.ended()? {
            None => Ok(()),
            Some(status) => bail!("{} ended early ({status}):\n{}", self.name, self.log_tail()),
        }
    }

    pub(crate) fn log_tail(&self) -> String {
        let text = self.log_text().unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        let from = lines.len().saturating_sub(25);
        format!("{}\n(log: {})", lines.get(from..).unwrap_or_default().join("\n"), self.log.display())
    }

    fn lock(&self) -> MutexGuard<'_, Child> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Best effort: a process that can't be signalled is gone already.
        if self.stop_signal != Signal::SIGKILL && self.signal(self.stop_signal).is_ok() {
            drop(self.wait(GRACE));
        }
        drop(self.kill());
    }
}

/// Runs a command to its end, with `input` on its stdin, and gives its stdout.
///
/// # Errors
/// If it can't be started, fails (with its stderr), or is not done within `deadline` (it is killed then).
pub fn run(name: &str, command: Command, input: &[u8], deadline: Duration) -> Result<String> {
    let (status, output, process) = run_unchecked(name, command, input, deadline)?;
    if !status.success() {
        bail!("{name} failed ({status}):\n{}", process.log_tail());
    }
    // The log of a command that went well is of no use to anybody; that it stays is harmless.
    drop(fs::remove_file(process.log()));
    Ok(output)
}

/// As [`run`], with the exit status left to the caller; stderr is the process' log.
///
/// # Errors
/// If it can't be started or is not done within `deadline`.
pub fn run_unchecked(
    name: &str,
    command: Command,
    input: &[u8],
    deadline: Duration,
) -> Result<(ExitStatus, String, Process)> {
    let process = Process::spawn_piped(name, command)?;
    let (mut stdin, stdout) = process.take_stdin().zip(process.take_stdout()).context("no pipes")?;
    let input = input.to_vec();
    thread::spawn(move || stdin.write_all(&input)); // a command that ends without reading all is fine
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || sender.send(std::io::read_to_string(stdout)));
    let Ok(output) = receiver.recv_timeout(deadline) else {
        process.kill()?;
        bail!("{name} was not done after {deadline:?}:\n{}", process.log_tail());
    };
    let status = process.wait(deadline)?;
    Ok((status, output?, process))
}

type Job = Box<dyn FnOnce() + Send>;

/// Forks on the long-lived thread, with the death signal set in the child.
fn fork(mut command: Command, death: Signal) -> Result<Child> {
    static FORKER: OnceLock<mpsc::Sender<Job>> = OnceLock::new();
    let forker = FORKER.get_or_init(|| {
        let (sender, jobs) = mpsc::channel::<Job>();
        thread::spawn(move || jobs.iter().for_each(|job| job()));
        sender
    });
    command.process_group(0); // Ctrl-C at the terminal reaches us, and we end the servers
    die_with_parent(&mut command, death);
    let (sender, answer) = mpsc::channel();
    forker.send(Box::new(move || drop(sender.send(command.spawn())))).ok().context("the forking thread is gone")?;
    Ok(answer.recv().context("the forking thread is gone")??)
}

#[allow(unsafe_code, reason = "pre_exec is the only place between fork and exec")]
fn die_with_parent(command: &mut Command, death: Signal) {
    let parent = Pid::this();
    let hook = move || {
        nix::sys::prctl::set_pdeathsig(death)?;
        if getppid() != parent {
            return Err(std::io::Error::other("the parent died first"));
        }
        Ok(())
    };
    // SAFETY: the hook runs in the forked child, where only async-signal-safe calls are allowed: it makes two
    // system calls (prctl, getppid) and, on failure only, returns an error that std reports and exits with.
    // It runs after std changed the user, which would clear the death signal.
    unsafe { command.pre_exec(hook) };
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn a_command_gets_its_input_and_gives_its_output() {
        let output = run("cat", sh("cat; echo done"), b"hello ", Duration::from_secs(10)).unwrap();
        assert_eq!(output, "hello done\n");
    }

    #[test]
    fn a_failing_command_shows_its_stderr() {
        let error = run("fails", sh("echo why >&2; exit 3"), b"", Duration::from_secs(10)).unwrap_err();
        assert!(error.to_string().contains("why"), "{error}");
    }

    #[test]
    fn a_command_that_hangs_is_killed() {
        let error = run("hangs", sh("exec sleep 600"), b"", Duration::from_millis(50)).unwrap_err();
        assert!(error.to_string().contains("not done"), "{error}");
    }

    #[test]
    fn dropping_ends_the_child() {
        let process = Process::spawn("sleep", sh("exec sleep 600")).unwrap();
        let proc_dir = format!("/proc/{}", process.pid());
        assert!(Path::new(&proc_dir).exists());
        drop(process);
        assert!(!Path::new(&proc_dir).exists());
    }

    #[test]
    fn a_child_outlives_the_thread_that_asked_for_it() {
        let process = thread::spawn(|| Process::spawn("sleep", sh("exec sleep 600"))).join().unwrap().unwrap();
        process.signal(Signal::SIGSTOP).unwrap();
        process.signal(Signal::SIGCONT).unwrap();
        assert!(process.ended().unwrap().is_none());
    }
}
