//! Lanes, timers and budgets.

use super::*;

fn key(name: &str) -> Key {
    Key::new("default", name)
}

#[tokio::test]
async fn a_flood_of_changes_does_not_keep_a_timer_from_its_time() {
    let queue = Queue::default();
    queue.push(&key("due"));
    let first = queue.next(|| Timestamp::from_secs(1)).await;
    queue.done(&first.unwrap(), Some(Timestamp::from_secs(5)));
    for n in 0..5 {
        queue.push(&key(&format!("fresh-{n}")));
    }
    assert_eq!(queue.next(|| Timestamp::from_secs(4)).await, Some(key("fresh-0")), "not due yet");
    assert_eq!(queue.next(|| Timestamp::from_secs(9)).await, Some(key("due")));
    assert_eq!(queue.next(|| Timestamp::from_secs(9)).await, Some(key("fresh-1")));
}

#[tokio::test]
async fn a_change_during_work_brings_it_again_and_only_once() {
    let queue = Queue::default();
    queue.push(&key("a"));
    let a = queue.next(|| Timestamp::EPOCH).await.unwrap();
    queue.push(&a);
    queue.push(&a);
    assert_eq!(queue.depth(), (0, 0), "busy keys are not handed out twice");
    queue.done(&a, None);
    assert_eq!(queue.depth(), (1, 0));
}

#[tokio::test]
async fn closing_ends_every_waiter() {
    let queue = std::sync::Arc::new(Queue::default());
    let waiters: Vec<_> = (0..3)
        .map(|_| {
            let queue = queue.clone();
            tokio::spawn(async move { queue.next(|| Timestamp::EPOCH).await })
        })
        .collect();
    tokio::task::yield_now().await;
    queue.close();
    for waiter in waiters {
        assert_eq!(waiter.await.unwrap(), None);
    }
}

const NOON: Timestamp = Timestamp::from_secs(1000);

async fn next(queue: &Queue) -> Option<String> {
    let key = tokio::time::timeout(std::time::Duration::from_millis(20), queue.next(|| NOON)).await.ok().flatten();
    key.map(|k| k.name)
}

#[tokio::test]
async fn what_happened_goes_before_what_rests_and_what_rests_is_not_forgotten() {
    let queue = Queue::default();
    for n in 0..4 {
        queue.look(&key(&format!("rests-{n}")));
    }
    for n in 0..20 {
        queue.push(&key(&format!("new-{n}")));
    }
    let mut order = Vec::new();
    for _ in 0..24 {
        order.extend(next(&queue).await);
    }
    let place = |name: &str| order.iter().position(|n| n == name).unwrap();
    assert_eq!(order.len(), 24);
    assert!(place("new-5") < place("rests-0"), "{order:?}");
    assert!(place("rests-0") < place("new-19") && place("rests-3") > place("new-19"), "{order:?}");
}

#[tokio::test]
async fn one_that_rests_moves_up_when_something_happens_to_it() {
    let queue = Queue::default();
    queue.look(&key("a"));
    queue.look(&key("b"));
    queue.push(&key("b"));
    queue.push(&key("b"));
    assert_eq!(queue.depth(), (2, 0));
    assert_eq!(
        [next(&queue).await, next(&queue).await, next(&queue).await],
        [Some("b".into()), Some("a".into()), None]
    );
    // In work: urgent wins, whatever comes after.
    queue.push(&key("b"));
    queue.look(&key("b"));
    queue.look(&key("c"));
    queue.done(&key("b"), None);
    assert_eq!(next(&queue).await, Some("b".into()));
}

#[tokio::test]
async fn due_rotations_go_before_due_looks() {
    let queue = Queue::default();
    for name in ["looked-at", "owed"] {
        queue.push(&key(name));
        next(&queue).await.unwrap();
    }
    queue.rest(&key("looked-at"), None, Timestamp::from_secs(10), Timestamp::from_secs(9), 0);
    queue.done(&key("owed"), Some(Timestamp::from_secs(20)));
    assert_eq!([next(&queue).await, next(&queue).await], [Some("owed".into()), Some("looked-at".into())]);
    assert_eq!(next(&queue).await, None);
}

#[test]
fn looks_are_spread_and_never_come_early() {
    let queue = Queue::default();
    let now = Timestamp::from_secs(0);
    let mut times = Vec::new();
    for (n, jitter) in [0, u16::MAX / 2, u16::MAX].into_iter().enumerate() {
        let key = key(&n.to_string());
        queue.rest(&key, None, Timestamp::from_secs(800), now, jitter);
        times.push(queue.state().due[&key].look.unwrap().as_millis() / 1000);
    }
    assert_eq!(times, [800, 849, 900]);
    queue.rest(&key("far"), None, Timestamp::from_secs(1_000_000), now, u16::MAX);
    assert_eq!(queue.state().due[&key("far")].look, Some(Timestamp::from_secs(1_000_300)));
}

/// The next key at a time, without waiting.
fn taken(queue: &Queue, at: Timestamp) -> Option<String> {
    match queue.take(at) {
        Taken::Key(key) => Some(key.name),
        Taken::Wait(_) | Taken::Closed => None,
    }
}

#[tokio::test]
async fn what_is_due_does_not_wait_behind_looks() {
    let queue = Queue::default();
    let at = Timestamp::from_secs;
    for name in ["a", "b", "owed"] {
        queue.push(&key(name));
        next(&queue).await.unwrap();
    }
    for name in ["a", "b"] {
        queue.rest(&key(name), None, at(10), at(9), 0);
    }
    // It is to be looked at after them, and is due while it waits for that.
    queue.rest(&key("owed"), Some(at(20)), at(11), at(9), 0);
    assert_eq!(taken(&queue, at(12)), Some("a".into()));
    assert_eq!(taken(&queue, at(20)), Some("owed".into()));
    queue.done(&key("owed"), None);
    assert_eq!([taken(&queue, at(20)), taken(&queue, at(20))], [Some("b".into()), None]);
    assert_eq!(queue.depth(), (0, 0), "no timer is left of one that was given back without");
}

#[tokio::test]
async fn one_connection_gets_no_more_than_its_share_of_workers() {
    let queue = Queue::with_budget(|key| {
        key.name.split_once('-').map(|(group, _)| Share { group: group.to_owned(), most: 2 }).into_iter().collect()
    });
    for name in ["slow-1", "slow-2", "slow-3", "slow-4", "quick-1", "free"] {
        queue.push(&key(name));
    }
    let mut taken = Vec::new();
    while let Some(name) = next(&queue).await {
        taken.push(name);
    }
    assert_eq!(taken, ["slow-1", "slow-2", "quick-1", "free"]);
    assert_eq!(queue.depth(), (2, 0), "those that wait for their group are seen");
    queue.push(&key("slow-3"));
    assert_eq!(queue.depth(), (2, 0), "and not queued twice");
    queue.done(&key("slow-1"), Some(Timestamp::from_secs(5000)));
    assert_eq!([next(&queue).await, next(&queue).await], [Some("slow-3".into()), None]);
    queue.push(&key("slow-2"));
    queue.done(&key("slow-2"), None);
    assert_eq!(
        [next(&queue).await, next(&queue).await],
        [Some("slow-4".into()), None],
        "its own repetition waits behind"
    );
    queue.done(&key("slow-3"), None);
    queue.done(&key("slow-4"), None);
    assert_eq!([next(&queue).await, next(&queue).await], [Some("slow-2".into()), None]);
    queue.done(&key("slow-2"), None);
    assert!(queue.state().working.keys().all(|group| group == "quick"), "counts end with the work");
}

#[tokio::test]
async fn a_timer_that_comes_due_while_its_group_is_full_is_not_lost() {
    let queue = Queue::with_budget(|_| vec![Share { group: "g".into(), most: 1 }]);
    queue.push(&key("a"));
    next(&queue).await.unwrap();
    queue.done(&key("a"), Some(Timestamp::from_secs(500)));
    queue.push(&key("b"));
    // `b` and the due `a` take turns; whichever is second waits for the first.
    let first = next(&queue).await.unwrap();
    assert_eq!(next(&queue).await, None);
    queue.done(&key(&first), None);
    let second = next(&queue).await.unwrap();
    assert_ne!(first, second);
    queue.done(&key(&second), None);
    assert_eq!((next(&queue).await, queue.depth()), (None, (0, 0)));
}

/// One that has to wait for its slow connection leaves its namespace's place to the next.
#[tokio::test]
async fn a_place_is_not_kept_for_one_that_cannot_take_it() {
    let queue = Queue::with_budget(|key| {
        let connection = key.name.split('-').next().unwrap_or_default().to_owned();
        let most = if connection == "slow" { 1 } else { 2 };
        vec![Share { group: connection, most }, Share { group: key.namespace.clone(), most: 2 }]
    });
    for name in ["quick-1", "quick-2", "slow-1", "slow-2", "free-1"] {
        queue.push(&key(name));
    }
    let some = |name: &str| Some(name.to_owned());
    assert_eq!([next(&queue).await, next(&queue).await], [some("quick-1"), some("quick-2")]);
    assert_eq!(next(&queue).await, None, "the namespace has its share");
    queue.done(&key("quick-1"), None);
    assert_eq!(next(&queue).await, some("slow-1"));
    queue.done(&key("quick-2"), None);
    assert_eq!([next(&queue).await, next(&queue).await], [some("free-1"), None]);
    queue.done(&key("slow-1"), None);
    assert_eq!([next(&queue).await, next(&queue).await], [some("slow-2"), None]);
}

/// A namespace has its share, however many connections it has; and a full group holds up nobody else's.
#[tokio::test]
async fn a_namespace_with_many_connections_gets_no_more_than_its_share() {
    let queue = Queue::with_budget(|key| {
        let connection = key.name.split('-').next().unwrap_or_default().to_owned();
        let share = |group: String, most| Share { group, most };
        vec![share(format!("{}/{connection}", key.namespace), 2), share(key.namespace.clone(), 3)]
    });
    let key = |namespace: &str, name: &str| Key::new(namespace, name);
    let all = ["a-1", "a-2", "a-3", "b-1", "b-2", "c-1"];
    all.iter().for_each(|name| queue.push(&key("greedy", name)));
    queue.push(&key("other", "a-1"));
    let taken = async || {
        let mut taken = Vec::new();
        while let Ok(Some(key)) =
            tokio::time::timeout(std::time::Duration::from_millis(20), queue.next(|| Timestamp::from_secs(1))).await
        {
            taken.push(key.to_string());
        }
        taken
    };
    assert_eq!(taken().await, ["greedy/a-1", "greedy/a-2", "greedy/b-1", "other/a-1"]);
    // One of each that goes lets one more in, until all had their turn.
    let mut working: VecDeque<Key> = ["a-1", "a-2", "b-1"].map(|name| key("greedy", name)).into();
    let mut had = working.len();
    while let Some(done) = working.pop_front() {
        queue.done(&done, None);
        let next = taken().await;
        had += next.len();
        working.extend(next.iter().map(|name| key("greedy", name.split_once('/').unwrap().1)));
        assert!(working.len() <= 3, "{working:?}");
        let left = all.len() - had;
        assert_eq!(working.len(), 3.min(working.len() + left), "no worker is kept idle while {left} wait: {working:?}");
    }
    assert_eq!((had, queue.depth()), (all.len(), (0, 0)));
}
