//! 64 claims of one link at once, through the rules.

use std::sync::Arc;

use ps_core::ids::{Digest, LinkId};
use ps_core::link::{Command, JournalEvent, Outcome, Proof, Record, State, apply};
use ps_core::ports::{CasError, LinkStore};
use ps_core::time::{Span, Timestamp};

use super::{Broken, Checked, Pair, ensure, id, must, preimage, present, same, sample};

const LINKS: u64 = 4;
const RACERS: u8 = 64;

/// Exactly one claim of each link wins, the record names the winner, and nobody but the winner may claim again.
pub(super) async fn one_claim_wins(pair: &Pair) -> Checked {
    let now = Timestamp::from_secs(1_000_000);
    let mut races = tokio::task::JoinSet::new();
    for number in 0..LINKS {
        let record = Record::Link(Box::new(sample(id(number), now, b"sealed")));
        must(pair.a.insert(&record).await, "insert")?;
        pair.settled(id(number)).await;
    }
    for racer in 0..RACERS {
        for number in 0..LINKS {
            let store = Arc::clone(if racer % 2 == 0 { &pair.a } else { &pair.b });
            races.spawn(async move {
                let command = Command::Claim {
                    access: preimage(id(number), "access"),
                    code: None,
                    proof: Proof(preimage(id(number), "proof")),
                    token_hash: Digest::of(&token(racer)),
                };
                let outcome = perform(store.as_ref(), id(number), &command, now).await?;
                Ok::<_, Broken>((number, racer, outcome))
            });
        }
    }
    let mut winners = std::collections::BTreeMap::new();
    while let Some(race) = races.join_next().await {
        let (number, racer, outcome) = race.map_err(|e| Broken(e.to_string()))??;
        if outcome == Outcome::Released {
            let first = winners.insert(number, racer).is_none();
            ensure(first, "two claims of one link won")?;
        }
    }
    same(&(winners.len() as u64), &LINKS, "one claim of each link wins")?;
    for (number, racer) in winners {
        pair.settled(id(number)).await;
        let record = present(pair.b.as_ref(), id(number)).await?.value;
        let link = record.link().ok_or_else(|| Broken("the link is gone".into()))?;
        same(&link.state, &State::Claimed, "the link is claimed")?;
        let claimant = link.claim.as_ref().map(|claim| claim.token_hash);
        same(&claimant, &Some(Digest::of(&token(racer))), "the record names the winner")?;
        let events: Vec<JournalEvent> = link.journal.iter().map(|entry| entry.event).collect();
        same(&events, &vec![JournalEvent::Claimed], "the journal tells of one claim")?;
        let later = now + Span::from_secs(1);
        for other in 0..RACERS {
            let again = Command::ClaimAgain {
                access: preimage(id(number), "access"),
                proof: Proof(preimage(id(number), "proof")),
                token: token(other),
            };
            let outcome = perform(pair.a.as_ref(), id(number), &again, later).await?;
            same(&(outcome == Outcome::Released), &(other == racer), "the claimant alone may repeat")?;
        }
    }
    Ok(())
}

fn token(racer: u8) -> [u8; 32] {
    [racer; 32]
}

/// Runs a command as gateway and operator do: read, apply, store if nobody was faster, and only then answer.
async fn perform(store: &dyn LinkStore, id: LinkId, command: &Command, now: Timestamp) -> Result<Outcome, Broken> {
    loop {
        let found = present(store, id).await?;
        let link = found.value.link().ok_or_else(|| Broken("the link is gone".into()))?;
        let step = apply(link, command, now);
        let Some(next) = step.next else {
            return Ok(step.outcome);
        };
        match store.replace(&Record::Link(Box::new(next)), found.version).await {
            Ok(_) => return Ok(step.outcome),
            Err(CasError::Conflict) => {}
            Err(e) => return Err(Broken(format!("replace: {e}"))),
        }
    }
}
