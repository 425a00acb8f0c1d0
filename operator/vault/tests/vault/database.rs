//! Static roles, on a real OpenBao and a real PostgreSQL.
use crate::support::{Bench, assert_dead, assert_fault, role};
use ps_core::delivery::{Identity, Strategy};
use ps_core::error::Class;
use ps_core::ports::Vault;
use ps_core::rotation::{Scope, Verdict};
use ps_core::time::Span;
use ps_testbed::{Testbed, unique};
use serde_json::json;

#[tokio::test]
async fn the_old_password_dies_at_the_database() {
    let testbed = Testbed::connect_or_start().unwrap();
    let (bao, postgres) = (testbed.bao().await.unwrap(), testbed.postgres().await.unwrap());
    let (mount, user) = (unique("db"), unique("app"));
    postgres.create_user(&user, "first").await.unwrap();
    bao.database_config(&mount, "pg", postgres).await.unwrap();
    bao.static_role(&mount, "app", "pg", &user, "24h").await.unwrap();
    let bench = Bench::new();
    let policy = format!(
        r#"path "{mount}/static-creds/app" {{ capabilities = ["read"] }}
           path "{mount}/rotate-role/app" {{ capabilities = ["update"] }}"#
    );
    let at = bench.with_policy(bao, &policy).await;
    let source = role(&mount, "app");
    bench.vault.check_rights(&at, &source, Strategy::RotateRole).await.unwrap();
    let handed = bench.deliver(&at, &source, &["password"]).await;
    assert_eq!(handed.field("username"), user);
    assert!(matches!(handed.identity, Identity::Static { .. }));
    assert_eq!(handed.reading.period, Some(Span::from_secs(86_400)));
    let left = handed.reading.rotates_in.unwrap();
    assert!(left > Span::from_secs(86_000) && left <= Span::from_secs(86_400), "{left}");
    let old = handed.field("password").to_owned();
    assert!(postgres.can_login(&user, &old).await.unwrap());

    let (steps, verdict) = bench.drive(&at, &source, &handed, Strategy::RotateRole, None).await;
    assert_eq!(steps, ["rotate-role"]);
    assert_dead(&verdict, Scope::Target);
    assert!(!postgres.can_login(&user, &old).await.unwrap());
    let fresh = bench.deliver(&at, &source, &["password"]).await;
    assert!(postgres.can_login(&user, fresh.field("password")).await.unwrap());
    // look-up and capabilities once; read, observe, rotate, observe; read again.
    assert_eq!(bench.all_requests(), 7);
}

#[tokio::test]
async fn a_database_that_is_away_keeps_the_obligation_open() {
    let testbed = Testbed::connect_or_start().unwrap();
    let (bao, postgres) = (testbed.bao().await.unwrap(), testbed.postgres().await.unwrap());
    let (mount, user) = (unique("db"), unique("app"));
    postgres.create_user(&user, "first").await.unwrap();
    bao.database_config(&mount, "pg", postgres).await.unwrap();
    bao.static_role(&mount, "app", "pg", &user, "24h").await.unwrap();
    let bench = Bench::new();
    let at = bench.by_token(bao.address(), bao.root_token());
    let source = role(&mount, "app");
    let handed = bench.deliver(&at, &source, &["password"]).await;
    postgres.sql(&format!("DROP ROLE {user};")).await.unwrap();
    let outcome = bench.vault.rotate(&at, &source, &ps_core::rotation::Step::RotateRole).await;
    let fault = assert_fault(outcome, "vault-rotation-unfinished", Class::Transient, &["goes on trying"]);
    assert!(!fault.to_string().contains(handed.field("password")));
    let verdict = bench.look(&at, &source, &handed, Strategy::RotateRole, None).await;
    assert!(matches!(verdict, Verdict::Alive(Some(_))), "{verdict:?}");
}

#[tokio::test]
async fn roles_that_are_missing_or_not_allowed_are_named() {
    let testbed = Testbed::connect_or_start().unwrap();
    let (bao, postgres) = (testbed.bao().await.unwrap(), testbed.postgres().await.unwrap());
    let (mount, user) = (unique("db"), unique("app"));
    postgres.create_user(&user, "first").await.unwrap();
    bao.database_config(&mount, "pg", postgres).await.unwrap();
    bao.static_role(&mount, "app", "pg", &user, "24h").await.unwrap();
    let bench = Bench::new();
    let at = bench.by_token(bao.address(), bao.root_token());
    let handed = bench.deliver(&at, &role(&mount, "app"), &["password"]).await;

    let missing = role(&mount, "nobody");
    let outcome = bench.vault.read(&at, &missing).await;
    let fault =
        assert_fault(outcome, "vault-role-not-found", Class::Misconfigured, &["static role nobody", "static-roles"]);
    assert_eq!(fault.field.as_deref(), Some("spec.source.vault.database.staticRole"));
    let outcome = bench.vault.rotate(&at, &missing, &ps_core::rotation::Step::RotateRole).await;
    assert_fault(outcome, "vault-role-not-found", Class::Misconfigured, &["nobody"]);
    let outcome = bench.vault.read(&at, &role(&unique("no"), "app")).await;
    let fault = assert_fault(outcome, "vault-mount-not-found", Class::Misconfigured, &[]);
    assert_eq!(fault.field.as_deref(), Some("spec.source.vault.database.mount"));

    // A role that went proves nothing about its last password.
    bao.call("DELETE", &format!("{mount}/static-roles/app"), None).await.unwrap();
    let verdict = bench.look(&at, &role(&mount, "app"), &handed, Strategy::RotateRole, None).await;
    assert_eq!(verdict, Verdict::Alive(None));
    assert!(postgres.can_login(&user, handed.field("password")).await.unwrap());

    bao.static_role(&mount, "app", "pg", &user, "24h").await.unwrap();
    let narrowed =
        json!({"allowed_roles": "other", "plugin_name": "postgresql-database-plugin", "verify_connection": false});
    bao.call("POST", &format!("{mount}/config/pg"), Some(&narrowed)).await.unwrap();
    let outcome = bench.vault.read(&at, &role(&mount, "app")).await;
    assert_fault(outcome, "vault-role-not-allowed", Class::Misconfigured, &["allowed_roles"]);
}
