//! A real PostgreSQL, with SCRAM logins over TCP.

use std::fs;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::unistd::{Uid, User};

use crate::dirs::{self, RunDir};
use crate::install::ensure_postgres;
use crate::openbao::blocking;
use crate::ports::free_port;
use crate::process::{self, Process, Signal};
use crate::shared::PostgresAddress;

const START: Duration = Duration::from_secs(60);
const QUERY: Duration = Duration::from_secs(30);
const TRIES: u32 = 3;
const ADMIN: &str = "admin";

/// A running PostgreSQL. Names of users and databases are lower case letters, digits and `_`
/// (see [`crate::unique`]).
#[derive(Debug)]
pub struct Postgres {
    port: u16,
    admin_password: String,
    programs: PathBuf,
    // The process before its folder: fields drop in this order.
    process: Option<Process>,
    _folder: Option<RunDir>,
}

impl Postgres {
    /// A new, empty cluster. Ready in about a second.
    ///
    /// # Errors
    /// If it can't be installed or started.
    pub async fn start() -> Result<Self> {
        blocking(Self::start_blocking).await
    }

    fn start_blocking() -> Result<Self> {
        let programs = ensure_postgres()?;
        // Its data must be reachable by the user postgres, which a folder below somebody's home is not.
        let folder = RunDir::in_temp("postgres")?;
        let owner = server_user()?;
        if let Some(owner) = &owner {
            chown(folder.path(), Some(owner.uid.as_raw()), Some(owner.gid.as_raw()))?;
        }
        let admin_password = dirs::unique("pg");
        init(&programs, folder.path(), owner.as_ref(), &admin_password)?;
        let mut attempt = 1;
        loop {
            let port = free_port()?;
            let process = serve(&programs, folder.path(), owner.as_ref(), port)?;
            let folder_path = folder.path().to_owned();
            let server = Self {
                port,
                admin_password: admin_password.clone(),
                programs: programs.clone(),
                process: Some(process),
                _folder: None,
            };
            match server.wait_ready(&folder_path) {
                Ok(()) => {
                    return Ok(Self { _folder: Some(folder), ..server });
                }
                Err(error) if attempt < TRIES && error.to_string().contains("ddress already in use") => attempt += 1,
                Err(error) => return Err(error),
            }
        }
    }

    /// One that another process runs.
    pub(crate) fn connect(at: &PostgresAddress) -> Result<Self> {
        let programs = ensure_postgres()?;
        Ok(Self { port: at.port, admin_password: at.admin_password.clone(), programs, process: None, _folder: None })
    }

    pub(crate) fn environment(&self) -> PostgresAddress {
        PostgresAddress { port: self.port, admin_user: ADMIN.to_owned(), admin_password: self.admin_password.clone() }
    }

    /// Its port on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The superuser's name.
    #[must_use]
    pub fn admin_user(&self) -> &'static str {
        ADMIN
    }

    /// The superuser's password.
    #[must_use]
    pub fn admin_password(&self) -> &str {
        &self.admin_password
    }

    /// Makes a user that can log in.
    ///
    /// # Errors
    /// If the name is odd or taken.
    pub async fn create_user(&self, name: &str, password: &str) -> Result<()> {
        let literal = password.replace('\'', "''");
        let statement = format!("CREATE ROLE {} LOGIN PASSWORD '{literal}';", plain(name)?);
        self.sql(&statement).await.map(drop)
    }

    /// Makes a database.
    ///
    /// # Errors
    /// If the name is odd or taken.
    pub async fn create_database(&self, name: &str) -> Result<()> {
        self.sql(&format!("CREATE DATABASE {};", plain(name)?)).await.map(drop)
    }

    /// Runs SQL as the superuser, and gives what it prints, one row a line.
    ///
    /// # Errors
    /// If a statement fails.
    pub async fn sql(&self, statements: &str) -> Result<String> {
        let command = self.psql(ADMIN, &self.admin_password);
        let input = statements.as_bytes().to_vec();
        blocking(move || process::run("psql", command, &input, QUERY)).await
    }

    /// Whether this password logs this user in, over TCP, now.
    ///
    /// # Errors
    /// If it fails for another reason than the password.
    pub async fn can_login(&self, user: &str, password: &str) -> Result<bool> {
        let command = self.psql(user, password);
        blocking(move || {
            let (status, _, process) = process::run_unchecked("psql-login", command, b"SELECT 1;", QUERY)?;
            let said = process.log_text()?;
            if !status.success() && !said.contains("password authentication failed") {
                bail!("logging in failed for another reason: {said}");
            }
            Ok(status.success())
        })
        .await
    }

    fn psql(&self, user: &str, password: &str) -> Command {
        let mut psql = Command::new(self.programs.join("psql"));
        psql.args(["--no-psqlrc", "--no-password", "--quiet", "--tuples-only", "--no-align"])
            .args(["--set=ON_ERROR_STOP=1", "--host=127.0.0.1", "--dbname=postgres"])
            .arg(format!("--port={}", self.port))
            .arg(format!("--username={user}"))
            .env("PGPASSWORD", password)
            .env("PGCONNECT_TIMEOUT", "10");
        psql
    }

    /// The server writes "ready" into its pid file once it takes logins.
    fn wait_ready(&self, folder: &Path) -> Result<()> {
        let start = Instant::now();
        let pid_file = folder.join("data/postmaster.pid");
        let process = self.process.as_ref().context("no process")?;
        loop {
            process.must_live()?;
            let lines = fs::read_to_string(&pid_file).unwrap_or_default();
            if lines.lines().nth(7).is_some_and(|state| state.trim() == "ready") {
                return Ok(());
            }
            if start.elapsed() > START {
                bail!("PostgreSQL is not ready after {START:?}:\n{}", process.log_tail());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// PostgreSQL refuses to run as root; as anybody else it runs as that person.
fn server_user() -> Result<Option<User>> {
    if !Uid::effective().is_root() {
        return Ok(None);
    }
    let user = User::from_name("postgres")?;
    Ok(Some(
        user.context("PostgreSQL refuses to run as root, and there is no user postgres: apt-get install postgresql")?,
    ))
}

fn as_user(command: &mut Command, owner: Option<&User>, folder: &Path) {
    command.current_dir(folder).env("HOME", folder).env("LC_ALL", "C");
    for name in ["PGDATA", "PGPORT", "PGHOST", "PGUSER", "PGPASSWORD"] {
        command.env_remove(name);
    }
    if let Some(owner) = owner {
        command.uid(owner.uid.as_raw()).gid(owner.gid.as_raw());
    }
}

fn init(programs: &Path, folder: &Path, owner: Option<&User>, password: &str) -> Result<()> {
    let password_file = folder.join("pw");
    fs::write(&password_file, password)?;
    if let Some(owner) = owner {
        chown(&password_file, Some(owner.uid.as_raw()), Some(owner.gid.as_raw()))?;
    }
    let mut initdb = Command::new(programs.join("initdb"));
    initdb
        .args(["--no-sync", "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C"])
        .arg(format!("--username={ADMIN}"))
        .arg(format!("--pwfile={}", password_file.display()))
        .arg(format!("--pgdata={}", folder.join("data").display()));
    as_user(&mut initdb, owner, folder);
    process::run("initdb", initdb, b"", START)?;
    Ok(())
}

fn serve(programs: &Path, folder: &Path, owner: Option<&User>, port: u16) -> Result<Process> {
    let mut server = Command::new(programs.join("postgres"));
    server.arg("-D").arg(folder.join("data"));
    for setting in [
        "listen_addresses=127.0.0.1",
        "fsync=off",
        "synchronous_commit=off",
        "full_page_writes=off",
        "max_connections=100",
        "shared_buffers=16MB",
        &format!("port={port}"),
        &format!("unix_socket_directories={}", folder.display()),
    ] {
        server.arg("-c").arg(setting);
    }
    as_user(&mut server, owner, folder);
    // SIGQUIT is PostgreSQL's immediate shutdown: it ends its own children and gives its shared memory back.
    Process::spawn_with_stop_signal("postgres", server, Signal::SIGQUIT)
}

fn plain(name: &str) -> Result<&str> {
    let fine = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    ensure!(!name.is_empty() && name.chars().all(fine), "not a plain name: {name:?}");
    Ok(name)
}
