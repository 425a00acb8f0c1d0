//! Which failpoints of a story are tried here.

use std::collections::BTreeMap;

use crate::story::{Point, Story};

/// The failpoints of a recorded run that are tried in this story, each as its name and which time it was passed. What
/// is the same in several stories is tried in one of them: a start that begins with nothing, the way of a KV secret to
/// its first mail, what follows once a restore is accepted, and what follows the mail of a role that was rotated first.
pub fn points(story: Story, recorded: &'static [String]) -> Vec<Point> {
    let begins = recorded.iter().position(|name| name == "ledger.insert.before").unwrap_or(recorded.len());
    let mailed = recorded.iter().position(|name| name == "mailer.send_link.before").unwrap_or_default();
    let begins_with_nothing = !matches!(story, Story::Forgotten | Story::Restored);
    let mut times = BTreeMap::new();
    let mut points = Vec::new();
    for (at, name) in recorded.iter().enumerate() {
        let nth = times.entry(name).or_insert(0);
        *nth += 1;
        let of_the_start = name.starts_with("lease.") || name.starts_with("ledger.common.");
        let tried = match story {
            Story::Restored => at < begins && !name.starts_with("notes."),
            Story::Role | Story::Forgotten => true,
            Story::Kv => !of_the_start,
            Story::Fresh => (begins..=mailed).contains(&at),
            Story::Removed | Story::Shared | Story::Checked => !of_the_start && at >= mailed,
        };
        // Time alone renews the lease and moves the audit head on, again and again, also when all is over.
        let by_time = (name.starts_with("lease.renew.") && *nth > 2)
            || (name.starts_with("ledger.replace_common.") && (begins_with_nothing || *nth > 1));
        if tried && !by_time {
            points.push(Point { name, nth: *nth });
        }
    }
    points
}
