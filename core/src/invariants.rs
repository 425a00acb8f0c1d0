//! The numbered invariants of the whole system. Comments elsewhere say "invariant N" and mean these.
//!
//! The text is the design's. `checked_by` says where a machine looks: a simulated world of two operators runs the real
//! controller and checks what it can see of them after each step; what it can't see has a test of its own.

use std::fmt;

/// One of the numbered invariants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Invariant {
    /// Plaintext is never at rest, never in a log, a status, an event, a metric, an error or a panic message. It exists
    /// inside one act, in types that wipe themselves and cannot be printed.
    PlaintextInOneAct = 1,
    /// `S`, the key material of a link, is stored nowhere: no spool, no ledger, no lease. It leaves in the mail and is
    /// forgotten.
    KeyIsForgotten = 2,
    /// A link is claimed by at most one claimant, who may repeat the claim until it acknowledges or the window ends. Then
    /// the ciphertext is erased and a tombstone stays.
    OneClaimant = 3,
    /// Nothing that a mail scanner or a link preview does consumes, declines or locks a link: what changes something needs
    /// a proof derived from the fragment and a code that a person types.
    ScannersChangeNothing = 4,
    /// Intent is persisted before any outside effect, as a compare-and-swap; whoever supersedes an attempt first puts a
    /// tombstone under its record's id. At most one live link per delivery; a half-issued link is never reused.
    IntentFirst = 5,
    /// Once a trigger has fired, rotation succeeds in the end, or the delivery is stalled and a person is told. The
    /// obligation lives in the ledger.
    RotationIsOwed = 6,
    /// "Rotated" only with evidence that the delivered value is dead, and with the scope that the evidence reaches.
    EvidenceOnly = 7,
    /// Applying the same manifest again, a re-sync, or a restore never sends again. Sending again is asked for explicitly.
    SentOnce = 8,
    /// The process that faces the internet can touch link records only, and the operator believes a claim or a decline
    /// only by a preimage that the gateway cannot make.
    GatewayIsNotBelieved = 9,
    /// Every change of state yields one audit event with a derived id, written at least once, in a hash chain.
    EveryChangeIsAudited = 10,
    /// A tenant can deliver only what its own Vault identity may read, to recipients that a policy allows.
    TenantsStayApart = 11,
}

impl Invariant {
    /// All of them, in order.
    pub const ALL: [Self; 11] = [
        Self::PlaintextInOneAct,
        Self::KeyIsForgotten,
        Self::OneClaimant,
        Self::ScannersChangeNothing,
        Self::IntentFirst,
        Self::RotationIsOwed,
        Self::EvidenceOnly,
        Self::SentOnce,
        Self::GatewayIsNotBelieved,
        Self::EveryChangeIsAudited,
        Self::TenantsStayApart,
    ];

    /// Its number, as comments and the design use it.
    #[must_use]
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// Where a machine looks at it.
    #[must_use]
    pub const fn checked_by(self) -> &'static str {
        match self {
            Self::PlaintextInOneAct | Self::KeyIsForgotten => {
                "the simulated world at rest; the canary search over real processes"
            }
            Self::OneClaimant => "link::rules' random commands; the store's racers; the simulated world",
            Self::ScannersChangeNothing => "link::rules' tests; the gateway's tests of its verbs",
            Self::IntentFirst | Self::RotationIsOwed | Self::EvidenceOnly | Self::SentOnce => {
                "the simulated world after each step and at rest; failpoints of real processes"
            }
            Self::GatewayIsNotBelieved => "link::check's tests; a taken-over gateway in the simulated world",
            Self::EveryChangeIsAudited => "the simulated world at rest; offline verification of the trail",
            Self::TenantsStayApart => "the tests of the roles that the charts grant",
        }
    }
}

impl fmt::Display for Invariant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "invariant {}", self.number())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_count_from_one_without_gaps() {
        let numbers: Vec<u8> = Invariant::ALL.iter().map(|i| i.number()).collect();
        assert_eq!(numbers, (1..=11).collect::<Vec<u8>>());
        assert_eq!(Invariant::SentOnce.to_string(), "invariant 8");
    }
}
