//! A real Chromium, driven by Playwright: one fresh browser per run of a scenario.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::dirs::{self, RunDir, workspace};
use crate::install::{ensure_chromium, ensure_node_packages};
use crate::openbao::blocking;
use crate::process;

/// Starts Chromium for scenarios, which are modules in `testbed/browser/scenarios` (see `testbed/browser/run.mjs`).
#[derive(Debug, Clone)]
pub struct Browser {
    executable: PathBuf,
    driver: PathBuf,
    deadline: Duration,
    screen: Screen,
}

/// What a page is shown on (see `testbed/browser/screen.mjs`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Screen {
    /// Wide, with a mouse.
    Desktop,
    /// Small, with a finger.
    Phone,
}

impl Screen {
    /// Both: whoever has one of them must get as far as with the other.
    pub const ALL: [Self; 2] = [Self::Desktop, Self::Phone];
}

/// What a run of a scenario brought.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// What the scenario returned.
    #[serde(default)]
    pub result: Value,
    /// What pages wrote to the console: `{type, text}`.
    pub console: Vec<Value>,
    /// Uncaught errors of pages.
    pub page_errors: Vec<String>,
    /// Every request that the browser made.
    pub requests: Vec<Request>,
    ok: bool,
    error: Option<String>,
}

/// A request of the browser.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Request {
    /// GET, POST, …
    pub method: String,
    /// Without the fragment, which no request carries.
    pub url: String,
    /// `None` if there was no answer.
    pub status: Option<u16>,
}

impl Browser {
    /// Finds or installs Chromium and its driver.
    ///
    /// # Errors
    /// If they can't be had.
    pub async fn find() -> Result<Self> {
        blocking(|| {
            let driver = ensure_node_packages("testbed/browser")?.join("run.mjs");
            Ok(Self {
                executable: ensure_chromium()?,
                driver,
                deadline: Duration::from_secs(60),
                screen: Screen::Desktop,
            })
        })
        .await
    }

    /// The same browser with another time limit per run (one minute if not said).
    #[must_use]
    pub fn with_deadline(self, deadline: Duration) -> Self {
        Self { deadline, ..self }
    }

    /// The same browser on another screen (a desktop if not said).
    #[must_use]
    pub fn on(self, screen: Screen) -> Self {
        Self { screen, ..self }
    }

    /// Runs a scenario, by its name (`selftest`) or the path of its module, in a fresh Chromium.
    ///
    /// # Errors
    /// If the scenario throws, with its stack and where the last page's picture is; or is not done in time.
    pub async fn run(&self, scenario: &str, args: Value) -> Result<Report> {
        let profile = RunDir::new("chromium")?;
        self.run_in(scenario, args, profile.path()).await
    }

    /// As [`Browser::run`], in a profile folder that stays: the same person comes back later.
    ///
    /// # Errors
    /// See [`Browser::run`].
    pub async fn run_in(&self, scenario: &str, args: Value, profile: &Path) -> Result<Report> {
        let module = if scenario.contains('/') {
            PathBuf::from(scenario)
        } else {
            workspace().join("testbed/browser/scenarios").join(format!("{scenario}.mjs"))
        };
        let picture = dirs::new_log("browser")?.with_extension("png");
        let input = json!({
            "args": args,
            "screen": self.screen,
            "userDataDir": profile,
            "executable": self.executable,
            "screenshot": picture,
        });
        let mut command = Command::new("node");
        command.arg(&self.driver).arg(&module).env("HOME", profile);
        let (input, deadline) = (serde_json::to_vec(&input)?, self.deadline);
        let (output, log) = blocking(move || {
            let (_, output, process) = process::run_unchecked("browser", command, &input, deadline)?;
            Ok((output, process.log_tail()))
        })
        .await?;
        let report: Report = serde_json::from_str(&output).with_context(|| format!("the driver failed:\n{log}"))?;
        if !report.ok {
            let error = report.error.unwrap_or_default();
            let console = &report.console;
            let screen = self.screen;
            bail!(
                "scenario {scenario} on a {screen:?}: {error}\nconsole: {console:?}\npicture: {}\n{log}",
                picture.display()
            );
        }
        Ok(report)
    }
}
