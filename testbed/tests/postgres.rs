//! PostgreSQL, for real.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a panic in a test is the failure report"
)]

use ps_testbed::{Testbed, unique};

#[tokio::test]
async fn a_login_takes_the_right_password() {
    let postgres = Testbed::connect_or_start().unwrap().postgres().await.unwrap();
    let (user, database) = (unique("user"), unique("db"));
    postgres.create_user(&user, "it's right").await.unwrap();
    postgres.create_database(&database).await.unwrap();
    assert!(postgres.can_login(&user, "it's right").await.unwrap());
    assert!(!postgres.can_login(&user, "wrong").await.unwrap());
    assert!(!postgres.can_login(&unique("nobody"), "x").await.unwrap());
    postgres.sql(&format!("ALTER ROLE {user} PASSWORD 'other';")).await.unwrap();
    assert!(!postgres.can_login(&user, "it's right").await.unwrap());
    let stored = postgres.sql(&format!("SELECT rolpassword FROM pg_authid WHERE rolname = '{user}';")).await.unwrap();
    assert!(stored.starts_with("SCRAM-SHA-256$"));
    let names = postgres.sql("SELECT datname FROM pg_database;").await.unwrap();
    assert!(names.lines().any(|name| name == database));
}

#[tokio::test]
async fn odd_names_and_bad_statements_fail() {
    let postgres = Testbed::connect_or_start().unwrap().postgres().await.unwrap();
    assert!(postgres.create_user("a; DROP", "x").await.is_err());
    let error = postgres.sql("SELEC 1;").await.unwrap_err();
    assert!(format!("{error:#}").contains("syntax error"), "{error:#}");
}
