use std::collections::BTreeMap;

use ps_core::error::Class;
use ps_core::ports::CasError;
use serde_json::json;

use super::*;
use crate::fake::{Do, Fake};

fn table(fake: &Fake) -> SecretTable {
    SecretTable::new(fake.client(), "links", "passwordsender.io/test", BTreeMap::new())
}

fn row(name: &str, text: &str) -> Row {
    Row {
        name: name.to_owned(),
        annotations: [("passwordsender.io/key".to_owned(), text.to_owned())].into(),
        data: [("entry".to_owned(), text.as_bytes().to_vec())].into(),
    }
}

fn code<T: std::fmt::Debug>(result: Result<T, CasError>) -> String {
    match result {
        Err(CasError::Failed(fault)) => {
            assert!(!format!("{fault:?}").contains("hunter2"), "the server's text about a Secret is not quoted");
            fault.code
        }
        other => format!("{other:?}"),
    }
}

#[tokio::test]
async fn rows_are_compared_and_swapped() {
    let fake = Fake::default();
    let table = table(&fake);
    assert_eq!(table.get("a").await, Ok(None));
    let one = table.create(&row("a", "1")).await.unwrap();
    assert_eq!(table.get("a").await, Ok(Some((row("a", "1"), one))), "the mark is not shown");
    assert_eq!(table.create(&row("a", "1")).await, Err(CasError::AlreadyExists), "equal bytes of another call");
    let two = table.replace(&row("a", "2"), one).await.unwrap();
    for stale in [0, one, two + 1, u64::MAX] {
        assert_eq!(table.replace(&row("a", "3"), stale).await, Err(CasError::Conflict));
        assert_eq!(table.delete("a", stale).await, Err(CasError::Conflict));
    }
    assert_eq!(table.replace(&row("b", "1"), 1).await, Err(CasError::Conflict), "of nothing");
    table.delete("a", two).await.unwrap();
    assert_eq!(table.get("a").await, Ok(None));
    assert_eq!(table.delete("a", two).await, Err(CasError::Conflict));
    let new = table.create(&row("a", "2")).await.unwrap();
    assert_eq!(table.replace(&row("a", "3"), two).await, Err(CasError::Conflict), "made anew");
    assert!(new > two);
    assert_eq!((table.purge("a").await, table.purge("a").await), (Ok(true), Ok(false)));
}

/// Whatever happens to the answers, a write is told as done exactly if it is, or as unknown.
#[tokio::test]
async fn a_lost_answer_is_looked_up() {
    use Do::{DoneBut, DoneButDrop, Drop, Refuse, Serve};
    for plan in [
        &[DoneBut(500)][..],
        &[DoneButDrop],
        &[DoneBut(409)],
        &[Drop],
        &[Refuse(500)],
        &[Drop, Serve, Drop],
        &[DoneButDrop, Drop],
    ] {
        let fake = Fake::default();
        let table = table(&fake);
        fake.plan(plan);
        let one = table.create(&row("a", "1")).await.unwrap_or_else(|e| panic!("create {plan:?}: {e}"));
        assert_eq!(table.get("a").await.unwrap().unwrap().1, one, "{plan:?}");
        fake.plan(plan);
        let two = table.replace(&row("a", "2"), one).await.unwrap_or_else(|e| panic!("replace {plan:?}: {e}"));
        assert_eq!(table.get("a").await, Ok(Some((row("a", "2"), two))), "{plan:?}");
        if plan != [DoneBut(409)] {
            fake.plan(plan);
            table.delete("a", two).await.unwrap_or_else(|e| panic!("delete {plan:?}: {e}"));
            assert_eq!(table.get("a").await, Ok(None), "{plan:?}");
        }
    }
}

#[tokio::test]
async fn what_nobody_knows_is_not_told_as_a_conflict() {
    let fake = Fake::default();
    let table = table(&fake);
    let one = table.create(&row("a", "1")).await.unwrap();
    // It was done, the answer was lost, and somebody else changed the row before the lookup.
    fake.plan(&[Do::DoneThenMeddled]);
    assert_eq!(code(table.replace(&row("a", "2"), one).await), "kubernetes-unreachable");
    assert_eq!(fake.asked(), "PUT GET");
    // The server is gone altogether.
    fake.plan(&[Do::Drop; 20]);
    assert_eq!(code(table.replace(&row("a", "3"), 2).await), "kubernetes-unreachable");
    fake.plan(&[Do::Refuse(503); 20]);
    assert_eq!(code(table.create(&row("b", "3")).await), "kubernetes-failed");
}

#[tokio::test]
async fn a_clear_refusal_is_told_at_once() {
    let fake = Fake::default();
    let table = table(&fake);
    for (status, expected) in [
        (403, "kubernetes-denied"),
        (401, "kubernetes-unauthenticated"),
        (422, "kubernetes-invalid"),
        (413, "object-too-large"),
        (429, "kubernetes-busy"),
    ] {
        fake.plan(&[Do::Refuse(status)]);
        assert_eq!(code(table.create(&row("a", "hunter2")).await), expected);
        assert_eq!(fake.asked(), "POST");
    }
    fake.plan(&[Do::Refuse(403)]);
    let Err(CasError::Failed(fault)) = table.get("a").await else { panic!("refused") };
    assert_eq!(fault.class, Class::Denied);
    assert!(fault.remedy.contains("Role in namespace links") && fault.remedy.contains("verbs: [get]"), "{fault}");
}

#[tokio::test]
async fn what_is_not_ours_is_a_fault_and_stays() {
    let fake = Fake::default();
    let table = table(&fake);
    fake.edit("a", |secret| secret["type"] = json!("Opaque"));
    assert_eq!(code(table.get("a").await), "kubernetes-foreign-object");
    assert_eq!(code(table.create(&row("a", "1")).await), "kubernetes-foreign-object");
    assert_eq!(code(table.purge("a").await), "kubernetes-foreign-object");
    fake.edit("b", |secret| {
        *secret = json!({"metadata": {"name": "b"}, "type": "passwordsender.io/test", "data": {"entry": "%%%"}});
    });
    assert_eq!(code(table.get("b").await), "kubernetes-answer", "data that is no base64");
    assert_eq!(table.purge("b").await, Ok(true));
    assert_eq!(code(table.get("../x").await), "kubernetes-invalid");
}

#[tokio::test]
async fn a_finalizer_keeps_no_row() {
    let fake = Fake::default();
    let table = table(&fake);
    for purge in [true, false] {
        let version = table.create(&row("a", "1")).await.unwrap();
        fake.edit("a", |secret| secret["metadata"]["finalizers"] = json!(["evil.example/stay"]));
        if purge {
            assert_eq!(table.purge("a").await, Ok(true));
        } else {
            table.delete("a", version + 1).await.unwrap();
        }
        assert_eq!(table.get("a").await, Ok(None));
    }
}

#[tokio::test]
async fn a_row_that_somebody_writes_again_and_again_is_purged_and_not_its_successor() {
    let fake = Fake::default();
    let table = table(&fake);
    let version = table.create(&row("a", "1")).await.unwrap();
    fake.plan(&[Do::Serve, Do::Meddled]);
    assert_eq!(table.purge("a").await, Ok(true));
    assert_eq!((fake.asked().as_str(), fake.see("a")), ("GET DELETE", serde_json::Value::Null));
    // A deletion of what was read is of that only.
    table.create(&row("a", "1")).await.unwrap();
    fake.plan(&[Do::Meddled]);
    assert_eq!(table.delete("a", version).await, Err(CasError::Conflict));
    assert!(table.get("a").await.unwrap().is_some());
}

/// Whoever may update a row can't keep us from replacing it.
#[tokio::test]
async fn a_row_that_was_made_unreplaceable_is_made_anew() {
    let fake = Fake::default();
    let table = table(&fake);
    type Attack = fn(&mut serde_json::Value);
    let immutable: Attack = |secret| secret["immutable"] = json!(true);
    let going: Attack = |secret| {
        secret["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        secret["metadata"]["finalizers"] = json!(["evil.example/stay"]);
    };
    for (attack, asked) in [(immutable, "PUT GET DELETE POST"), (going, "PUT POST")] {
        table.purge("a").await.unwrap();
        table.create(&row("a", "1")).await.unwrap();
        fake.edit("a", attack);
        let version = table.get("a").await.unwrap().unwrap().1;
        for stale in [version - 1, version + 1] {
            assert_eq!(table.replace_or_remake(&row("a", "2"), stale).await, Err(CasError::Conflict));
        }
        fake.plan(&[]);
        let new = table.replace_or_remake(&row("a", "2"), version).await.unwrap();
        assert_eq!(fake.asked(), asked);
        assert_eq!(table.get("a").await, Ok(Some((row("a", "2"), new))));
        assert!(new > version && fake.see("a")["immutable"].is_null());
    }
    // A plain replacement takes off what others have put on, and is told of what it can't do.
    fake.edit("a", |secret| {
        secret["metadata"]["ownerReferences"] = json!([{"uid": "x"}]);
        secret["metadata"]["finalizers"] = json!(["evil.example/stay"]);
        secret["metadata"]["annotations"]["evil.example/x"] = json!("y");
    });
    let version = table.get("a").await.unwrap().unwrap().1;
    table.replace_or_remake(&row("a", "3"), version).await.unwrap();
    let metadata = fake.see("a")["metadata"].clone();
    assert!(metadata["ownerReferences"].is_null() && metadata["finalizers"].is_null(), "{metadata}");
    assert!(metadata["annotations"]["evil.example/x"].is_null(), "{metadata}");
    let version = table.get("a").await.unwrap().unwrap().1;
    fake.plan(&[Do::Refuse(422)]);
    assert_eq!(code(table.replace_or_remake(&row("a", "4"), version).await), "kubernetes-invalid");
    assert_eq!(fake.asked(), "PUT GET", "what is refused for another reason is not deleted");
}

/// Whoever may update a row can fill it: it is not held in memory, and it can be got rid of.
#[tokio::test]
async fn a_row_that_was_filled_is_a_fault_and_can_be_purged() {
    let fake = Fake::default();
    let table = table(&fake);
    let version = table.create(&row("a", "1")).await.unwrap();
    let fill = |secret: &mut serde_json::Value| secret["metadata"]["ownerReferences"] = json!(["x".repeat(3 << 20)]);
    fake.edit("a", fill);
    assert_eq!(code(table.get("a").await), "object-too-large");
    table.replace(&row("a", "2"), version + 1).await.unwrap();
    assert!(table.get("a").await.unwrap().is_some(), "a replacement empties it");
    fake.edit("a", fill);
    assert_eq!(table.purge("a").await, Ok(true));
    assert_eq!(table.get("a").await, Ok(None));
}

#[tokio::test]
async fn sizes_are_checked_before_anything_is_sent() {
    let fake = Fake::default();
    let table = table(&fake);
    fake.plan(&[]);
    let large = Row { data: [("entry".to_owned(), vec![0; MAX_DATA + 1])].into(), ..row("a", "") };
    assert_eq!(code(table.create(&large).await), "object-too-large");
    let wide = Row { annotations: [("a".to_owned(), "x".repeat(MAX_ANNOTATIONS))].into(), ..row("a", "") };
    assert_eq!(code(table.replace(&wide, 1).await), "object-too-large");
    assert_eq!(fake.asked(), "");
}

#[test]
fn data_does_not_print() {
    let row = row("a", "public");
    let row = Row { data: [("entry".to_owned(), b"hunter2".to_vec())].into(), ..row };
    let text = format!("{row:?}");
    assert!(text.contains("\"entry\": 7") && !text.contains("hunter2") && !text.contains("104"), "{text}");
}
