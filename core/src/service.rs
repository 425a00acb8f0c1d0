//! The five verbs of the gateway: their wire types, and the trait that a gateway serves (docs/link-protocol.md, section 8).
