//! When an account's address is the recipient's.

/// Whether two addresses are one: the domain in any case of ASCII letters, the part before the last `@` exactly. Mail
/// servers may tell `Alice` from `alice`, so a provider's `ALICE@…` is not taken for somebody else.
pub(crate) fn same(account: &str, recipient: &str) -> bool {
    match (account.rsplit_once('@'), recipient.rsplit_once('@')) {
        (Some((name, domain)), Some((wanted, of))) => {
            !name.is_empty() && !domain.is_empty() && name == wanted && domain.eq_ignore_ascii_case(of)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_domain_in_any_case_the_rest_exactly() {
        for same_one in ["alice@vendor.example", "alice@VENDOR.Example"] {
            assert!(same(same_one, "alice@vendor.example"), "{same_one}");
        }
        for other in [
            "Alice@vendor.example",
            "alice@vendor.example ",
            "alice@vendor.example.",
            "alice+x@vendor.example",
            "x@alice@vendor.example",
            "alice@vendor.exampl",
            "alice",
            "@vendor.example",
            "",
        ] {
            assert!(!same(other, "alice@vendor.example"), "{other}");
        }
        assert!(!same("@", "@") && !same("", ""));
    }
}
