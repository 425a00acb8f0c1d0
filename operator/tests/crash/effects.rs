//! Which failpoints there are.

use std::collections::BTreeSet;

use ps_operator::failpoints::Own;

/// Every effect that there is: of the ports, as the macro that hooks them is told, and those past the ports. A status is
/// a projection: putting one is no failpoint, and it is erased instead.
pub fn effects() -> BTreeSet<String> {
    let mut effects: BTreeSet<String> = Own::ALL.iter().map(|(port, method)| format!("{port}.{method}")).collect();
    let mut port = None;
    for line in include_str!("../../controller/src/hooks.rs").lines() {
        if let Some(rest) = line.strip_prefix("hooked!(") {
            port = rest.split('"').nth(1);
        } else if let Some(method) = line.trim().strip_prefix("effect ") {
            effects.insert(format!("{}.{}", port.unwrap(), method.split('(').next().unwrap()));
        }
    }
    assert!(effects.remove("manifests.put_status") && effects.len() > Own::ALL.len() + 8, "{effects:?}");
    effects
}
