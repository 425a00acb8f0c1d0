//! How much memory the system's allocator holds on to. (Fewer arenas, `M_ARENA_MAX`, gain next to nothing once free memory
//! is given back.)

/// Gives free memory back to the system. Takes some milliseconds for each hundred megabytes that were in use: call it
/// after a burst of work, not within one. Returns whether there was some.
pub fn give_back() -> bool {
    #[cfg(target_env = "gnu")]
    {
        // SAFETY: it takes any number, locks what it touches, and gives back free pages only.
        #[allow(unsafe_code, reason = "there is no safe form of it")]
        let given = unsafe { libc::malloc_trim(0) };
        given == 1
    }
    #[cfg(not(target_env = "gnu"))]
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Resident anonymous memory in KiB.
    fn resident() -> u64 {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
        line.trim().trim_end_matches("kB").trim().parse().unwrap()
    }

    #[test]
    #[cfg_attr(not(target_env = "gnu"), ignore = "only the GNU C library can")]
    fn what_a_burst_has_freed_goes_back_to_the_system() {
        let mut blocks: Vec<Vec<u8>> = (0..80_000).map(|n| vec![1; 512 + n % 64]).collect();
        // One of a thousand stays, so that the heap's end does not fall by itself.
        let mut n = 0;
        blocks.retain(|_| {
            n += 1;
            n % 1000 == 0
        });
        let before = resident();
        assert!(give_back());
        let after = resident();
        assert!(after + 20_000 < before, "{before} KiB before, {after} KiB after");
        assert_eq!(blocks.len(), 80);
    }
}
