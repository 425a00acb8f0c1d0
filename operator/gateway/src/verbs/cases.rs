//! The cases: every row of the table of refusals, the order of checks, repeats, races.

use std::fmt::Debug;
use std::sync::Arc;

use ps_core::link::{State, Verification};
use ps_core::service::{ClaimAnswer, CodeStep, LinkService, LookupAnswer, Refusal, Sealed, StateAnswer};
use ps_core::time::{Span, Timestamp};
use tokio::task::JoinSet;

use super::requests::WRONG_CODE;
use super::{Bench, Broken, CIPHERTEXT, Holder, PREVIEW, Sample, TTL, WINDOW};

/// When every sample is put.
const T: Timestamp = Timestamp::from_secs(1_800_000_000);
const MS: Span = Span::from_millis(1);
/// Longer than any wait that wrong input causes.
const REST: Span = Span::from_secs(31);

type Case = Result<(), Broken>;

pub(super) async fn run(bench: &dyn Bench) -> Case {
    strangers(bench).await?;
    lookup(bench).await?;
    wrong_codes(bench).await?;
    wrong_proofs(bench).await?;
    order(bench).await?;
    repeats(bench).await?;
    windows(bench).await?;
    endings(bench).await?;
    declines(bench).await?;
    race(bench).await
}

fn same<T: PartialEq + Debug>(what: &str, got: T, wanted: T) -> Case {
    if got == wanted { Ok(()) } else { Err(Broken(format!("{what}: got {got:?}, wanted {wanted:?}"))) }
}

async fn put(bench: &dyn Bench, seed: &str, kinds: &[Verification]) -> Result<(Holder, Arc<dyn LinkService>), Broken> {
    let Sample { holder, link } = Sample::new(seed, kinds, T);
    bench.put(link).await?;
    Ok((holder, bench.service()))
}

fn slow(seconds: i64) -> Refusal {
    Refusal::SlowDown { retry_after: Span::from_secs(seconds) }
}

fn wrong_code(seconds: i64) -> Refusal {
    Refusal::WrongCode { retry_after: Span::from_secs(seconds) }
}

fn wrong_proof(attempts_left: u32, seconds: i64) -> Refusal {
    Refusal::WrongProof { attempts_left, retry_after: Span::from_secs(seconds) }
}

fn state(state: State) -> Result<StateAnswer, Refusal> {
    Ok(StateAnswer { state })
}

fn opened(at: Timestamp) -> Result<ClaimAnswer, Refusal> {
    Ok(ClaimAnswer {
        ciphertext: Sealed(CIPHERTEXT.to_vec()),
        not_after: T + TTL + WINDOW,
        claimed_at: at,
        window_ends_at: at + WINDOW,
        r: None,
    })
}

/// An unknown id and a wrong `access` get equal bytes from each verb, and count for nothing.
async fn strangers(bench: &dyn Bench) -> Case {
    let (holder, s) = put(bench, "strangers", &[]).await?;
    let unknown = Holder::new("nobody's");
    for caller in [&unknown, &holder.without_access(), &holder.without_access().typing(Some(WRONG_CODE)).mistyped()] {
        same("lookup by a stranger", s.lookup(&caller.lookup(), T).await, Err(Refusal::NotFound))?;
        same("claim by a stranger", s.claim(&caller.claim(), T).await, Err(Refusal::NotFound))?;
        same("repeat by a stranger", s.claim(&caller.claim_again(), T).await, Err(Refusal::NotFound))?;
        same("acknowledge by a stranger", s.acknowledge(&caller.acknowledge(), T).await, Err(Refusal::NotFound))?;
        same("decline by a stranger", s.decline(&caller.not_mine(), T).await, Err(Refusal::NotFound))?;
    }
    let status = holder.code(CodeStep::Status);
    same("a code of a link that demands none", s.code(&status, T).await, Err(Refusal::NotAvailable))?;
    same("a claim after strangers", s.claim(&holder.claim(), T).await, opened(T))?;
    // Not even what time would have changed.
    same(
        "a stranger when time is up",
        s.lookup(&holder.without_access().lookup(), T + TTL).await,
        Err(Refusal::NotFound),
    )
}

/// A lookup shows all that a client needs, and changes nothing however often.
async fn lookup(bench: &dyn Bench) -> Case {
    let (holder, s) = put(bench, "lookup", &[]).await?;
    let wanted = LookupAnswer {
        state: State::Open,
        expires_at: T + TTL,
        not_after: T + TTL + WINDOW,
        claim_window: WINDOW,
        preview: Some(Sealed(PREVIEW.to_vec())),
        kinds: Vec::new(),
        kdf: None,
        opening_code: true,
        window_ends_at: None,
        oidc: None,
    };
    for _ in 0..3 {
        same("lookup", s.lookup(&holder.lookup(), T).await, Ok(wanted.clone()))?;
    }
    let over = LookupAnswer { state: State::Expired, preview: None, ..wanted.clone() };
    same("lookup when time is up", s.lookup(&holder.lookup(), T + TTL).await, Ok(over))?;
    same("lookup with an earlier clock", s.lookup(&holder.lookup(), T).await, Ok(wanted.clone()))?;
    same("claim after lookups", s.claim(&holder.claim(), T + MS).await, opened(T + MS))?;
    let claimed = LookupAnswer { state: State::Claimed, window_ends_at: Some(T + MS + WINDOW), ..wanted };
    same("lookup of a claimed link", s.lookup(&holder.lookup(), T + TTL).await.map(|a| a.state), Ok(State::Retrieved))?;
    same("lookup of a claimed link", s.lookup(&holder.lookup(), T + MS).await, Ok(claimed))
}

/// Wrong opening codes slow the link down, double the wait, and never lock.
async fn wrong_codes(bench: &dyn Bench) -> Case {
    let (holder, s) = put(bench, "wrong codes", &[]).await?;
    let wrong = holder.typing(Some(WRONG_CODE));
    same("first wrong code", s.claim(&wrong.claim(), T).await, Err(wrong_code(1)))?;
    same("right code too soon", s.claim(&holder.claim(), T).await, Err(slow(1)))?;
    same("a decline too soon", s.decline(&holder.not_mine(), T).await, Err(slow(1)))?;
    let mut now = T + Span::from_secs(1);
    for seconds in [2, 4, 8, 16, 30, 30, 30, 30, 30, 30, 30, 30] {
        same("wrong code", s.claim(&wrong.claim(), now).await, Err(wrong_code(seconds)))?;
        now = now + Span::from_secs(seconds);
    }
    same("no code", s.claim(&holder.typing(None).claim(), now).await, Err(wrong_code(30)))?;
    same("right code in time", s.claim(&holder.claim(), now + REST).await, opened(now + REST))
}

/// With a passphrase no opening code is due, until three were wrong. Ten wrong proofs lock; lookups still answer.
async fn wrong_proofs(bench: &dyn Bench) -> Case {
    let (holder, s) = put(bench, "wrong proofs", &[Verification::Passphrase]).await?;
    let (with_code, mut holder) = (holder.clone(), holder.typing(None));
    let shown = s.lookup(&holder.lookup(), T).await.map(|a| (a.opening_code, a.kdf.is_some(), a.kinds));
    same("facts of a passphrase", shown, Ok((false, true, vec![Verification::Passphrase])))?;
    let mut now = T;
    for (left, seconds) in [(9, 1), (8, 2), (7, 4), (6, 8), (5, 16), (4, 30), (3, 30), (2, 30), (1, 30)] {
        if left == 6 {
            let shown = s.lookup(&holder.lookup(), now).await.map(|a| a.opening_code);
            same("the code is due after three", shown, Ok(true))?;
            same("passphrase without it", s.claim(&holder.claim(), now).await, Err(wrong_code(1)))?;
            now = now + Span::from_secs(1);
            holder = with_code.clone();
        }
        same("wrong passphrase", s.claim(&holder.mistyped().claim(), now).await, Err(wrong_proof(left, seconds)))?;
        same("right passphrase too soon", s.claim(&holder.claim(), now).await, Err(slow(seconds)))?;
        now = now + Span::from_secs(seconds);
    }
    same("the tenth", s.claim(&holder.mistyped().claim(), now).await, Err(Refusal::Gone(State::Locked)))?;
    same("after the lock", s.claim(&holder.claim(), now + REST).await, Err(Refusal::Gone(State::Locked)))?;
    let shown = s.lookup(&holder.lookup(), now).await.map(|a| (a.state, a.preview));
    same("lookup of a locked link", shown, Ok((State::Locked, None)))
}

/// Access, state, waiting time, opening code, proof.
async fn order(bench: &dyn Bench) -> Case {
    let (holder, s) = put(bench, "order", &[]).await?;
    let all_wrong = holder.typing(Some(WRONG_CODE)).mistyped();
    same("access first", s.claim(&all_wrong.without_access().claim(), T).await, Err(Refusal::NotFound))?;
    same("code before proof", s.claim(&all_wrong.claim(), T).await, Err(wrong_code(1)))?;
    same("waiting before code", s.claim(&all_wrong.claim(), T).await, Err(slow(1)))?;
    let now = T + REST;
    same("proof after code", s.claim(&holder.mistyped().claim(), now).await, Err(wrong_proof(9, 1)))?;
    let now = now + REST;
    same("repeat before a claim", s.claim(&holder.claim_again(), now).await, Err(Refusal::BadRequest))?;
    same("acknowledge before a claim", s.acknowledge(&holder.acknowledge(), now).await, Err(Refusal::BadRequest))?;
    same("claim", s.claim(&holder.claim(), now).await, opened(now))?;
    same("state before code", s.claim(&all_wrong.elsewhere(1).claim(), now).await, Err(Refusal::Claimed))?;
    same("state before waiting", s.claim(&all_wrong.claim(), T).await, Err(Refusal::Claimed))?;
    same("time before state", s.claim(&all_wrong.claim(), now + WINDOW).await, Err(Refusal::Gone(State::Retrieved)))
}

/// The claimant repeats until it acknowledges; nobody else ever gets it.
async fn repeats(bench: &dyn Bench) -> Case {
    let (holder, s) = put(bench, "repeats", &[Verification::Passphrase]).await?;
    let other = holder.elsewhere(1);
    same("claim", s.claim(&holder.claim(), T).await, opened(T))?;
    for _ in 0..3 {
        same("repeat", s.claim(&holder.claim_again(), T + MS).await, opened(T))?;
        same("another's claim", s.claim(&other.claim(), T).await, Err(Refusal::Claimed))?;
        same("another's repeat", s.claim(&other.claim_again(), T).await, Err(Refusal::Claimed))?;
        same("another's acknowledgement", s.acknowledge(&other.acknowledge(), T).await, Err(Refusal::Claimed))?;
        // The claimant may mistype: not counted, no wait.
        same("repeat, mistyped", s.claim(&holder.mistyped().claim_again(), T).await, Err(wrong_proof(10, 0)))?;
    }
    same("the first form once more", s.claim(&holder.claim(), T).await, Err(Refusal::Claimed))?;
    for _ in 0..2 {
        same("acknowledge", s.acknowledge(&holder.acknowledge(), T + MS).await, state(State::Retrieved))?;
    }
    let gone = Err(Refusal::Gone(State::Retrieved));
    same("repeat after it", s.claim(&holder.claim_again(), T + MS).await, gone.clone())?;
    same("claim after it", s.claim(&other.claim(), T + MS).await, gone)?;
    same("another's late acknowledgement", s.acknowledge(&other.acknowledge(), T).await, Err(Refusal::Claimed))
}

/// The right to repeat ends with the window, to the millisecond.
async fn windows(bench: &dyn Bench) -> Case {
    let (holder, s) = put(bench, "windows", &[]).await?;
    let late = T + TTL - MS;
    same("claim in the last moment", s.claim(&holder.claim(), late).await, opened(late))?;
    let end = late + WINDOW;
    same("repeat in the last moment", s.claim(&holder.claim_again(), end - MS).await, opened(late))?;
    same("repeat too late", s.claim(&holder.claim_again(), end).await, Err(Refusal::Gone(State::Retrieved)))?;
    same("no way back", s.claim(&holder.claim_again(), end - MS).await, Err(Refusal::Gone(State::Retrieved)))?;
    let shown = s.lookup(&holder.lookup(), end).await.map(|a| (a.state, a.preview, a.window_ends_at));
    same("lookup", shown, Ok((State::Retrieved, None, None)))?;
    same("late acknowledgement", s.acknowledge(&holder.acknowledge(), end).await, state(State::Retrieved))
}

/// Expired and revoked links refuse each verb and say how they ended.
async fn endings(bench: &dyn Bench) -> Case {
    let (holder, s) = put(bench, "expired", &[]).await?;
    let gone = Refusal::Gone(State::Expired);
    same("claim too late", s.claim(&holder.claim(), T + TTL).await, Err(gone))?;
    same("decline too late", s.decline(&holder.not_mine(), T + TTL).await, Err(gone))?;
    same("acknowledge", s.acknowledge(&holder.acknowledge(), T + TTL).await, Err(gone))?;
    same("expired for good", s.claim(&holder.claim(), T).await, Err(gone))?;

    let gone = Refusal::Gone(State::Revoked);
    for claimed in [false, true] {
        let (holder, s) = put(bench, if claimed { "revoked late" } else { "revoked" }, &[]).await?;
        if claimed {
            same("claim", s.claim(&holder.claim(), T).await, opened(T))?;
        }
        bench.revoke(holder.id, T).await?;
        same("claim of a revoked link", s.claim(&holder.claim(), T).await, Err(gone))?;
        same("repeat", s.claim(&holder.claim_again(), T).await, Err(gone))?;
        same("acknowledge", s.acknowledge(&holder.acknowledge(), T).await, Err(gone))?;
        same("decline", s.decline(&holder.not_mine(), T).await, Err(gone))?;
        let shown = s.lookup(&holder.lookup(), T).await.map(|a| (a.state, a.preview));
        same("lookup", shown, Ok((State::Revoked, None)))?;
    }
    Ok(())
}

/// A decline needs the code, also beside a passphrase, and its preimage. After retrieval it is a dispute.
async fn declines(bench: &dyn Bench) -> Case {
    for kinds in [&[][..], &[Verification::Passphrase]] {
        let (holder, s) = put(bench, &format!("declines {}", kinds.len()), kinds).await?;
        let forged = Holder { decline: [0; 32], ..holder.clone() };
        let wrong = holder.typing(Some(WRONG_CODE));
        same("decline without a code", s.decline(&holder.typing(None).not_mine(), T).await, Err(wrong_code(1)))?;
        let now = T + REST;
        same("decline with a wrong code", s.decline(&wrong.not_mine(), now).await, Err(wrong_code(2)))?;
        let now = now + REST;
        same("decline without preimage", s.decline(&forged.not_mine(), now).await, Err(Refusal::BadRequest))?;
        for _ in 0..2 {
            same("decline", s.decline(&holder.not_mine(), now).await, state(State::Declined))?;
        }
        same("claim of a declined link", s.claim(&holder.claim(), now).await, Err(Refusal::Gone(State::Declined)))?;
    }
    let (holder, s) = put(bench, "declined while claimed", &[]).await?;
    same("claim", s.claim(&holder.claim(), T).await, opened(T))?;
    same("decline", s.decline(&holder.not_mine(), T).await, state(State::Declined))?;
    same("repeat", s.claim(&holder.claim_again(), T).await, Err(Refusal::Gone(State::Declined)))?;

    let (holder, s) = put(bench, "disputed", &[]).await?;
    same("claim", s.claim(&holder.claim(), T).await, opened(T))?;
    same("acknowledge", s.acknowledge(&holder.acknowledge(), T).await, state(State::Retrieved))?;
    for _ in 0..2 {
        same("dispute", s.decline(&holder.not_mine(), T).await, state(State::Retrieved))?;
    }
    Ok(())
}

/// Of many claims at the same time exactly one wins, and its repeat works.
async fn race(bench: &dyn Bench) -> Case {
    let (holder, s) = put(bench, "race", &[]).await?;
    let mut racers = JoinSet::new();
    for browser in 0..64 {
        let (racer, s) = (holder.elsewhere(browser), s.clone());
        racers.spawn(async move {
            let answer = s.claim(&racer.claim(), T).await;
            (racer, answer)
        });
    }
    let mut winners = Vec::new();
    while let Some(racer) = racers.join_next().await {
        let (racer, answer) = racer.map_err(|e| Broken(e.to_string()))?;
        if answer == opened(T) {
            winners.push(racer);
        } else {
            same("a racer that lost", answer, Err(Refusal::Claimed))?;
        }
    }
    let [winner] = winners.as_slice() else {
        return Err(Broken(format!("{} racers won", winners.len())));
    };
    same("the winner's repeat", s.claim(&winner.claim_again(), T).await, opened(T))
}
