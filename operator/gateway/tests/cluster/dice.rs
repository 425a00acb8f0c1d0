//! Chance that can be had again: who dies next, and when.

use std::time::SystemTime;

/// `PASSWORD_SENDER_SEED` repeats a run as far as the machine lets it.
const SEED: &str = "PASSWORD_SENDER_SEED";

/// SplitMix64 (Steele, Lea and Flood, 2014): even enough for a test, and nothing that a secret could depend on.
pub(crate) struct Dice(u64);

impl Dice {
    /// Prints its seed.
    #[allow(clippy::print_stderr, reason = "a failure must be had again")]
    pub(crate) fn new() -> Self {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        let any = u64::try_from(since.as_nanos() % u128::from(u64::MAX)).unwrap();
        let seed = std::env::var(SEED).map_or(any, |text| text.parse().unwrap());
        eprintln!("{SEED}={seed}");
        Self(seed)
    }

    /// A number from 0 up to, but not including, `end`.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % end
    }
}
