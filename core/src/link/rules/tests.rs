//! Every row of the transition diagram, the order of checks, and random commands.

use proptest::prelude::*;

use super::super::sample::*;
use super::super::verification::{Ask, JudgeKey, Verdict};
use super::super::{JournalEvent, Link, Record, Release, State, Verification, check};
use super::{Command, Outcome, Proof, Refusal, Step, apply};
use crate::entry::ReleaseKey;
use crate::ids::Digest;

fn outcome(link: &Link, command: &Command, secs: i64) -> Outcome {
    apply(link, command, at(secs)).outcome
}

fn gone(state: State) -> Outcome {
    Outcome::Refused(Refusal::Gone(state))
}

fn claimed() -> Link {
    history(&[(claim(), 1100)])
}

#[test]
fn open_becomes_claimed_by_a_claim_and_keeps_the_proof() {
    let open = link(&[]);
    let step = apply(&open, &claim(), at(1100));
    assert_eq!(step.outcome, Outcome::Released);
    let next = step.next.unwrap();
    assert_eq!(next.state, State::Claimed);
    let kept = next.claim.clone().unwrap();
    assert_eq!((kept.proof, kept.at), (PROOF, at(1100)));
    assert!(kept.token_hash.matches(&TOKEN));
    assert!(next.ciphertext.is_some(), "the claimant may repeat");
    assert_eq!(next.next_change(), Some(at(1200)));
}

#[test]
fn claimed_becomes_retrieved_by_acknowledgement_or_when_the_window_is_over() {
    let acknowledged = after(&claimed(), &acknowledge(), 1150);
    assert_eq!((acknowledged.state, acknowledged.acknowledged_at), (State::Retrieved, Some(at(1150))));
    let over = after(&claimed(), &Command::Settle, 1200);
    assert_eq!((over.state, over.acknowledged_at), (State::Retrieved, None));
    assert_eq!(after(&claimed(), &Command::Settle, 1199).state, State::Claimed, "not a moment before");
    let late = after(&over, &acknowledge(), 9000);
    assert_eq!((late.state, late.acknowledged_at), (State::Retrieved, Some(at(9000))), "late, but told");
    assert_eq!(after(&late, &acknowledge(), 9001), late, "idempotent");
}

#[test]
fn an_open_link_ends_as_expired_revoked_declined_or_locked() {
    let open = link(&[]);
    assert_eq!(after(&open, &Command::Settle, 2000).state, State::Expired);
    assert_eq!(after(&open, &Command::Settle, 1999).state, State::Open);
    assert_eq!(after(&open, &Command::Revoke, 1100).state, State::Revoked);
    assert_eq!(after(&open, &decline(), 1100).state, State::Declined);
    assert_eq!(locked().state, State::Locked);
}

fn wrong_proof() -> Command {
    Command::Claim { access: ACCESS, code: code(true), proof: Proof(WRONG), token_hash: Digest::of(&TOKEN) }
}

fn locked() -> Link {
    (0..10).fold(link(&[]), |link, n| after(&link, &wrong_proof(), 1000 + n * 31))
}

#[test]
fn a_claimed_link_that_is_revoked_or_declined_is_erased_at_once_and_keeps_its_claim() {
    for (command, state) in [(Command::Revoke, State::Revoked), (decline(), State::Declined)] {
        let ended = after(&claimed(), &command, 1110);
        assert_eq!((ended.state, &ended.ciphertext), (state, &None));
        assert!(ended.claim.is_some(), "so that a rotation is due");
    }
}

#[test]
fn a_retrieved_link_can_be_disputed_once_and_stays_retrieved() {
    let retrieved = after(&claimed(), &Command::Settle, 1200);
    let disputed = after(&retrieved, &decline(), 5000);
    assert_eq!(disputed.state, State::Retrieved);
    assert_eq!(disputed.decline.as_ref().map(|d| d.at), Some(at(5000)));
    assert_eq!(disputed.journal.last().map(|j| j.event), Some(JournalEvent::Disputed));
    assert_eq!(after(&disputed, &decline(), 6000), disputed, "once");
}

#[test]
fn terminal_states_refuse_everything_and_hold_no_ciphertext() {
    let ends = [
        after(&link(&[]), &Command::Settle, 2000),
        after(&link(&[]), &Command::Revoke, 1100),
        after(&link(&[]), &decline(), 1100),
        locked(),
        after(&claimed(), &acknowledge(), 1110),
    ];
    for end in ends {
        assert_eq!((&end.ciphertext, &end.preview, &end.release), (&None, &None, &None), "{:?}", end.state);
        assert_eq!(outcome(&end, &claim(), 1120), gone(end.state));
        assert_eq!(outcome(&end, &claim_again(), 1120), gone(end.state));
        assert_eq!(outcome(&end, &lookup(), 1120), Outcome::Done(end.state));
        for command in [Command::Revoke, Command::Settle, Command::SetExpiry(at(2900)), claim()] {
            assert_eq!(after(&end, &command, 2500).state, end.state, "{command:?}");
        }
        assert_eq!(end.next_change(), None);
    }
}

#[test]
fn without_access_nothing_is_told_counted_or_changed() {
    let open = link(&[]);
    let strangers = [
        Command::Lookup { access: WRONG },
        Command::Claim { access: WRONG, code: code(false), proof: Proof(WRONG), token_hash: Digest::of(&TOKEN) },
        Command::ClaimAgain { access: WRONG, proof: Proof(PROOF), token: TOKEN },
        Command::Acknowledge { access: WRONG, token: TOKEN },
        Command::Decline { access: WRONG, code: code(true), preimage: DECLINE },
    ];
    for command in strangers {
        // Long after expiry: not even what time would have changed.
        for link in [&open, &claimed()] {
            let step = apply(link, &command, at(2500));
            assert_eq!(step.outcome, Outcome::Refused(Refusal::NotFound), "{command:?}");
            assert_eq!(step.next, None, "{command:?}");
        }
    }
}

#[test]
fn a_lookup_never_stores_anything() {
    for secs in [1000, 1999, 2000, 5000] {
        let step = apply(&link(&[]), &lookup(), at(secs));
        assert_eq!(step.next, None, "invariant 4");
        assert_eq!(step.outcome, Outcome::Done(if secs < 2000 { State::Open } else { State::Expired }));
    }
}

#[test]
fn time_acts_before_whatever_is_asked() {
    assert_eq!(outcome(&link(&[]), &claim(), 2000), gone(State::Expired));
    assert_eq!(after(&link(&[]), &claim(), 2000).state, State::Expired);
    assert_eq!(outcome(&claimed(), &claim_again(), 1199), Outcome::Released);
    assert_eq!(outcome(&claimed(), &claim_again(), 1200), gone(State::Retrieved));
}

#[test]
fn wrong_opening_codes_slow_down_and_never_lock() {
    let wrong =
        Command::Claim { access: ACCESS, code: code(false), proof: Proof(PROOF), token_hash: Digest::of(&TOKEN) };
    let missing = Command::Claim { access: ACCESS, code: None, proof: Proof(PROOF), token_hash: Digest::of(&TOKEN) };
    let mut now = 1000;
    let mut tried = link(&[]);
    let mut waits = Vec::new();
    for n in 0..25 {
        let step = apply(&tried, if n % 2 == 0 { &wrong } else { &missing }, at(now));
        tried = step.next.unwrap();
        let Outcome::Refused(Refusal::WrongCode(until)) = step.outcome else { panic!("{:?}", step.outcome) };
        waits.push(until.since(at(now)).as_millis() / 1000);
        // Meanwhile even the right code is not looked at, and nothing more is counted.
        assert_eq!(apply(&tried, &claim(), at(now)).next, None);
        assert_eq!(outcome(&tried, &claim(), now), Outcome::Refused(Refusal::SlowDown(until)));
        now = until.as_millis() / 1000;
    }
    assert_eq!(waits[..7], [1, 2, 4, 8, 16, 30, 30]);
    assert_eq!((tried.state, tried.tries.wrong_codes, tried.tries.wrong_proofs), (State::Open, 25, 0));
    assert_eq!(outcome(&tried, &claim(), now), Outcome::Released);
}

#[test]
fn wrong_proofs_lock_only_after_a_right_opening_code() {
    let neither =
        Command::Claim { access: ACCESS, code: code(false), proof: Proof(WRONG), token_hash: Digest::of(&TOKEN) };
    let tried = (0..20).fold(link(&[]), |link, n| after(&link, &neither, 1000 + n * 31));
    assert_eq!((tried.state, tried.tries.wrong_proofs), (State::Open, 0), "the code comes first");
    let nine = (0..9).fold(link(&[]), |link, n| after(&link, &wrong_proof(), 1000 + n * 31));
    assert_eq!((nine.state, nine.tries.wrong_proofs), (State::Open, 9));
    assert_eq!(outcome(&nine, &wrong_proof(), 1300), gone(State::Locked));
    assert_eq!(outcome(&nine, &claim(), 1300), Outcome::Released);
}

#[test]
fn with_a_passphrase_no_code_is_asked_for_a_claim_but_still_for_a_decline() {
    let phrase = link(&[Verification::Passphrase]);
    let claim = Command::Claim { access: ACCESS, code: None, proof: Proof(PROOF), token_hash: Digest::of(&TOKEN) };
    assert_eq!(outcome(&phrase, &claim, 1100), Outcome::Released);
    let no = Command::Decline { access: ACCESS, code: None, preimage: DECLINE };
    assert!(matches!(outcome(&phrase, &no, 1100), Outcome::Refused(Refusal::WrongCode(_))));
}

#[test]
fn after_three_wrong_passphrases_the_opening_code_is_due_too_so_that_the_link_alone_can_not_lock_it() {
    let phrase = link(&[Verification::Passphrase]);
    let guess = |code| Command::Claim { access: ACCESS, code, proof: Proof(WRONG), token_hash: Digest::of(&TOKEN) };
    let tried = (0..20).fold(phrase.clone(), |link, n| after(&link, &guess(None), 1000 + n * 31));
    assert_eq!((tried.state, tried.tries.wrong_proofs), (State::Open, 3));
    assert!(tried.claim_needs_code() && !phrase.claim_needs_code());
    let right = Command::Claim { access: ACCESS, code: None, proof: Proof(PROOF), token_hash: Digest::of(&TOKEN) };
    assert!(matches!(outcome(&tried, &right, 1650), Outcome::Refused(Refusal::WrongCode(_))));
    assert_eq!(outcome(&tried, &claim(), 1650), Outcome::Released);
    let with_mail = (0..7).fold(tried, |link, n| after(&link, &guess(code(true)), 1650 + n * 31));
    assert_eq!((with_mail.state, with_mail.tries.wrong_proofs), (State::Locked, 10), "whoever has the mail can");

    let mut codeless = phrase;
    codeless.sealed.code = None;
    let tried = (0..10).fold(codeless, |link, n| after(&link, &guess(None), 1000 + n * 31));
    assert_eq!(tried.state, State::Locked, "a link that no mail carries has no code");
}

#[test]
fn a_release_is_for_one_token_and_comes_before_the_proof() {
    let due = link(&[Verification::EmailCode]);
    assert_eq!(outcome(&due, &wrong_proof(), 1100), Outcome::Refused(Refusal::VerificationDue));
    assert_eq!(apply(&due, &wrong_proof(), at(1100)).next, None, "nothing is counted before");
    assert_eq!(
        outcome(&after(&due, &release_to(&WRONG), 1100), &claim(), 1101),
        Outcome::Refused(Refusal::VerificationDue)
    );
    assert_eq!(outcome(&after(&due, &release_to(&TOKEN), 1100), &claim(), 1101), Outcome::Released);
}

#[test]
fn another_token_neither_repeats_nor_acknowledges_nor_locks() {
    let other = Command::ClaimAgain { access: ACCESS, proof: Proof(PROOF), token: WRONG };
    let saved = Command::Acknowledge { access: ACCESS, token: WRONG };
    let second =
        Command::Claim { access: ACCESS, code: code(true), proof: Proof(PROOF), token_hash: Digest::of(&WRONG) };
    let guess = Command::ClaimAgain { access: ACCESS, proof: Proof(WRONG), token: TOKEN };
    for (command, refusal) in
        [(other, Refusal::Claimed), (saved, Refusal::Claimed), (second, Refusal::Claimed), (guess, Refusal::Invalid)]
    {
        let step = apply(&claimed(), &command, at(1110));
        assert_eq!((step.outcome, step.next), (Outcome::Refused(refusal), None), "invariant 3: {command:?}");
    }
}

#[test]
fn a_decline_needs_code_and_preimage() {
    let code_only = Command::Decline { access: ACCESS, code: code(true), preimage: WRONG };
    assert_eq!(outcome(&link(&[]), &code_only, 1100), Outcome::Refused(Refusal::Invalid));
    let preimage_only = Command::Decline { access: ACCESS, code: code(false), preimage: DECLINE };
    assert!(matches!(outcome(&link(&[]), &preimage_only, 1100), Outcome::Refused(Refusal::WrongCode(_))));
}

#[test]
fn the_expiry_moves_up_to_not_after_and_only_while_open() {
    assert_eq!(after(&link(&[]), &Command::SetExpiry(at(9999)), 1100).expires_at, at(3000));
    assert_eq!(after(&link(&[]), &Command::SetExpiry(at(1050)), 1100).state, State::Expired);
    assert_eq!(after(&claimed(), &Command::SetExpiry(at(2900)), 1110).expires_at, at(2000));
}

const JUDGE: JudgeKey = JudgeKey([8; 32]);
const R: ReleaseKey = ReleaseKey([7; 32]);

/// The operator's release of `R` to a token.
fn release_to(token: &[u8; 32]) -> Command {
    let token_hash = Digest::of(token);
    let mac = Digest([0; 32]);
    let verdict = Verdict { answered: 1, email_code: None, sign_in: None, released: Some(token_hash), mac };
    Command::Judge { verdict: Box::new(verdict.signed(ID, &JUDGE)), release: Some(Release { r: R.0, token_hash }) }
}

fn command() -> impl Strategy<Value = Command> {
    let access = prop_oneof![9 => Just(ACCESS), 1 => Just(WRONG)];
    let proof = prop_oneof![3 => Just(Proof(PROOF)), 1 => Just(Proof(WRONG))];
    let token = prop_oneof![3 => Just(TOKEN), 1 => Just(WRONG)];
    let typed = prop_oneof![3 => Just(code(true)), 1 => Just(code(false)), 1 => Just(None)];
    let preimage = prop_oneof![3 => Just(DECLINE), 1 => Just(WRONG)];
    let asked = prop_oneof![
        Just(Ask::Mail),
        Just(Ask::Code(Digest([9; 32]))),
        Just(Ask::SignIn { code: "code".into(), verifier: "v".repeat(43) }),
        Just(Ask::SignIn { code: "two words".into(), verifier: String::new() }),
    ];
    (0..12_u8, access, proof, token, typed, preimage, 0_i64..4000, asked).prop_map(
        |(verb, access, proof, token, code, preimage, secs, ask)| match verb {
            0 | 1 => Command::Claim { access, code, proof, token_hash: Digest::of(&token) },
            2 => Command::ClaimAgain { access, proof, token },
            3 => Command::Acknowledge { access, token },
            4 => Command::Decline { access, code, preimage },
            5 => Command::Lookup { access },
            6 => Command::Settle,
            7 if secs < 300 => Command::Revoke,
            7 => Command::SetExpiry(at(secs)),
            8 | 9 => Command::Ask { access, code, token_hash: Digest::of(&token), ask },
            // As rarely as it is revoked: what is over tells little.
            10 if secs < 300 => Command::Lock,
            10 => Command::Settle,
            _ => release_to(&token),
        },
    )
}

fn rank(state: State) -> u8 {
    match state {
        State::Open => 0,
        State::Claimed => 1,
        _ => 2,
    }
}

proptest! {
    #[test]
    fn whatever_is_asked_in_whatever_order(
        commands in proptest::collection::vec((command(), 0_i64..120), 1..60),
        mail_code: bool,
    ) {
        let kinds: &[Verification] = if mail_code { &[Verification::EmailCode] } else { &[] };
        let mut link = link(kinds);
        let digest = link.sealed.digest();
        let (mut now, mut revoked, mut released) = (1000, false, None);
        for (command, pause) in commands {
            now += pause;
            let Step { next, outcome } = apply(&link, &command, at(now));
            if matches!(command, Command::Lookup { .. }) {
                prop_assert!(next.is_none(), "invariant 4");
            }
            // Whatever is asked for, the operator judges: it opens nothing, ends nothing and counts no proof.
            if let (Command::Ask { .. }, Some(next)) = (&command, &next) {
                let time_did = apply(&link, &Command::Settle, at(now)).next.map_or(link.state, |l| l.state);
                prop_assert_eq!(next.state, time_did);
                prop_assert_eq!(&next.release, &link.release.clone().filter(|_| next.state.is_live()));
                prop_assert_eq!(next.tries.wrong_proofs, link.tries.wrong_proofs);
            }
            if matches!(command, Command::Lock) && link.state == State::Open {
                let state = next.as_ref().map(|n| n.state);
                prop_assert!(matches!(state, Some(State::Locked | State::Expired)), "{:?}", state);
            }
            revoked |= matches!(command, Command::Revoke);
            if outcome == Outcome::Released {
                // Invariant 3: always the same token.
                let state = next.as_ref().unwrap_or(&link);
                prop_assert!(state.ciphertext.is_some());
                let hash = state.claim.as_ref().map(|c| c.token_hash);
                prop_assert_eq!(*released.get_or_insert(hash), hash);
            }
            let Some(next) = next else { continue };
            prop_assert!(rank(next.state) >= rank(link.state), "{:?} came back as {:?}", link.state, next.state);
            if rank(link.state) == 2 {
                prop_assert_eq!(link.state, next.state);
            }
            prop_assert_eq!(next.sealed.digest(), digest);
            prop_assert_eq!(next.ciphertext.is_some(), next.state.is_live());
            prop_assert_eq!(next.preview.is_some(), next.state.is_live());
            prop_assert!(next.expires_at <= next.sealed.not_after);
            prop_assert!(next.journal.len() <= 5 && next.journal.starts_with(&link.journal));
            prop_assert!(link.claim.is_none() || next.claim == link.claim, "a claim is kept");
            prop_assert!(next.request.is_none() || next.state == State::Open, "nothing is asked of what is over");
            let asked = next.request.as_ref().map_or(0, |r| r.seq);
            prop_assert!(next.request.is_none() || asked >= link.request.as_ref().map_or(0, |r| r.seq));
            // What the honest rules write is believed, and survives storage.
            let record = Record::Link(Box::new(next));
            let tokens = [Digest::of(&TOKEN), Digest::of(&WRONG)];
            let judge = check::Judge { keys: Some((&JUDGE, &R)), released: &tokens };
            let judge = Some(judge);
            let expected = check::Expected { digest, put_at: at(1000), revoke_ordered: revoked, journal_read: 0, judge };
            prop_assert_eq!(check::check(Some(&record), &expected, at(now)), Ok(()));
            let text = serde_json::to_string(&record).unwrap();
            let back: Record = serde_json::from_str(&text).unwrap();
            prop_assert_eq!(&back, &record);
            let Record::Link(back) = back else { unreachable!() };
            link = *back;
        }
    }
}
