//! Waiting for a condition, with a deadline.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

const PAUSE: Duration = Duration::from_millis(10);

/// Asks `probe` again and again until it answers `Some`.
///
/// # Errors
/// Once `deadline` is over, naming `what` was waited for.
pub async fn wait_until<T, F>(what: &str, deadline: Duration, mut probe: F) -> Result<T>
where
    F: AsyncFnMut() -> Option<T>,
{
    let start = Instant::now();
    loop {
        if let Some(value) = probe().await {
            return Ok(value);
        }
        if start.elapsed() > deadline {
            bail!("waited {deadline:?} in vain for: {what}");
        }
        tokio::time::sleep(PAUSE).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_ends_with_the_value_or_names_what_it_waited_for() {
        let mut calls = 0;
        let third = wait_until("the third call", Duration::from_secs(5), async || {
            calls += 1;
            (calls == 3).then_some(calls)
        });
        assert_eq!(third.await.unwrap(), 3);
        let never = wait_until("godot", Duration::from_millis(1), async || None::<()>).await;
        assert!(never.unwrap_err().to_string().contains("godot"));
    }
}
