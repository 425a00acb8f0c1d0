//! Which failpoints are tried, and which there are.
//!
//! Two stories are tried at every passing of every failpoint: `Kv`, and `Removed` from its mail on. Of each other one, only
//! the stretch that it is there for is tried, at the first passing of each failpoint in it (`Role`: at every one). What comes
//! before and after is a KV secret's way too, but for the engine, and that is tried at every passing in `../crash`.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::case::What;
use crate::effects::effects;
use crate::story::{Point, Story};

/// `PASSWORD_SENDER_POINTS=all` tries every passing in every story.
const VARIABLE: &str = "PASSWORD_SENDER_POINTS";

/// Effects that an operator with a Kubernetes API never has: notes of manifests belong to a folder of them.
const NEVER: &str = "notes.";

/// The failpoints of a recorded run that are tried, in the order in which they are passed.
pub fn points(story: Story, recorded: &'static [String], what: impl Fn(Point) -> What) -> Vec<Point> {
    let all = std::env::var(VARIABLE).is_ok_and(|value| value == "all");
    let stretch = if all { 0..recorded.len() } else { stretch(story, recorded) };
    let each = all || matches!(story, Story::Kv | Story::Removed | Story::Role);
    let mut times = BTreeMap::new();
    let (mut points, mut seen): (Vec<Point>, Vec<&str>) = (Vec::new(), Vec::new());
    for (at, name) in recorded.iter().enumerate() {
        let nth = times.entry(name).or_insert(0);
        *nth += 1;
        // Time alone renews the lease and moves the audit head on, again and again, also when all is over.
        let again = *nth > 1 && ["lease.renew.", "ledger.replace_common."].iter().any(|start| name.starts_with(start));
        let point = Point { name, nth: *nth };
        if stretch.contains(&at) && !again && (each || !seen.contains(&name.as_str())) && is_tried(story, what(point)) {
            seen.push(name);
            points.push(point);
        }
    }
    points
}

/// What a story is there for.
fn stretch(story: Story, recorded: &[String]) -> Range<usize> {
    let first = |name: &str| recorded.iter().position(|passed| passed == name).unwrap_or(recorded.len());
    let (end, mailed, rotated) = (recorded.len(), first("mailer.send_link.after"), first("vault.rotate.before"));
    // The write that says that a rotation begins.
    let begun = recorded[..rotated].iter().rposition(|passed| passed == "ledger.replace.before").unwrap_or(end);
    match story {
        Story::Kv => 0..end,
        // Until its mail, a link that is withdrawn later has the same story as any other.
        Story::Removed => mailed + 1..end,
        // The engine rotates, and asks the target for a proof.
        Story::Role => begun..end,
        // The same before anything is sent.
        Story::Fresh => begun..mailed,
        // Codes and sign-ins, until all are passed.
        Story::Checked => mailed + 1..begun,
        // One rotation ends another link.
        Story::Shared => first("vault.rotate.after")..end,
        // What nobody needs any more is forgotten.
        Story::Forgotten => first("store.delete.before").min(first("store.purge.before"))..end,
        // It is noticed at the start.
        Story::Restored => first("ledger.replace_common.before")..first("ledger.replace_common.after") + 1,
    }
}

fn is_tried(story: Story, what: What) -> bool {
    let name = match what {
        What::Nothing => return false,
        What::Kill(point) | What::Stop(point) | What::Both(point) => point.name,
    };
    // Who leads, who answers gateways, what the trail and the sender are told, is the same in any story.
    let elsewhere: &[&str] = match story {
        Story::Kv => &[],
        Story::Removed => &["lease."],
        Story::Restored => &["lease.", "fence."],
        _ => &["lease.", "fence.", "ledger.replace_common.", "audit.", "mailer.send_notice."],
    };
    happens(what, name) && !elsewhere.iter().any(|start| name.starts_with(start))
}

/// Without a lease, nobody takes one.
fn happens(what: What, name: &str) -> bool {
    match what {
        What::Nothing => false,
        What::Kill(_) | What::Stop(_) => true,
        What::Both(_) => !name.starts_with("lease."),
    }
}

/// Every failpoint at which an operator must come to harm in some story.
pub fn required(what: impl Fn(Point) -> What) -> Vec<String> {
    let pairs = effects().into_iter().flat_map(|effect| [format!("{effect}.before"), format!("{effect}.after")]);
    // Only a cluster has a fence.
    let names = pairs.chain(["fence.answer.before".to_owned()]);
    let sort = what(Point { name: "", nth: 1 });
    names.filter(|name| !name.starts_with(NEVER) && happens(sort, name)).collect()
}
